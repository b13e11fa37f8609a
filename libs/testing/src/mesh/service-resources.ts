import { stringify } from 'yaml';
import type { ServiceOptions } from './options.ts';

export const HTTP_PORT = 9080;

/** One program of a service with its agent and proxy. */
export interface WorkloadPlan {
  /** `reviews-v1`: WorkloadGroup, instance and name at once. */
  readonly name: string;
  readonly service: string;
  readonly version: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly port: number;
  readonly options: ServiceOptions;
}

export function planWorkloads(services: Readonly<Record<string, ServiceOptions>>): WorkloadPlan[] {
  return Object.entries(services).flatMap(([service, options]) =>
    (options.versions ?? ['v1']).map((version) => ({
      name: `${service}-${version}`,
      service,
      version,
      namespace: options.namespace ?? 'default',
      serviceAccount: options.serviceAccount ?? service,
      port: options.port ?? HTTP_PORT,
      options,
    })),
  );
}

/** The resources that make services of the plans, as a user would write them. */
export function serviceResources(services: Readonly<Record<string, ServiceOptions>>): string {
  const plans = planWorkloads(services);
  const entries = Object.entries(services).map(([service, { namespace = 'default', port = HTTP_PORT, protocol = 'HTTP' }]) => ({
    apiVersion: 'networking.istio.io/v1',
    kind: 'ServiceEntry',
    metadata: { name: service, namespace },
    spec: {
      hosts: [`${service}.${namespace}.svc.cluster.local`],
      location: 'MESH_INTERNAL',
      resolution: 'STATIC',
      ports: [{ number: port, name: protocol.toLowerCase(), protocol }],
      workloadSelector: { labels: { app: service } },
    },
  }));
  const groups = plans.map(({ name, service, version, namespace, serviceAccount, port, options: { protocol = 'HTTP' } }) => ({
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadGroup',
    metadata: { name, namespace },
    spec: {
      metadata: { labels: { app: service, version } },
      template: { serviceAccount, ports: { [protocol.toLowerCase()]: port } },
    },
  }));
  return [...entries, ...groups].map((resource) => stringify(resource)).join('---\n');
}
