import { APP_LABELS, type KubeObject } from './objects.ts';
import type { Component } from './pod.ts';
import type { InstallValues, Yaml } from './values.ts';

/**
 * Who may connect to a component: anyone to the ports that it serves the mesh on, nobody to any other. Proxies are in every namespace and
 * prove who they are by TLS, and API servers call webhooks from addresses that no selector names; so the rules are about ports.
 * What a component itself may reach is not limited: the API server's address differs from cluster to cluster.
 */
export function renderNetworkPolicy({ name, selector, ports }: Component, values: InstallValues): KubeObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace: values.namespace, labels: APP_LABELS },
    spec: {
      podSelector: { matchLabels: selector },
      policyTypes: ['Ingress'],
      ingress: [{ ports: ports.map(({ containerPort, protocol }: Yaml) => ({ port: containerPort, protocol })) }],
    },
  };
}
