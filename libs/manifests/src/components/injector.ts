import { revisionSuffix } from '@mizzen/injection';
import { renderNetworkPolicy } from '../network-policies.ts';
import type { KubeObject } from '../objects.ts';
import { type Component, renderDeployment, renderDisruptionBudget, renderService, SERVICE_UID } from '../pod.ts';
import type { InstallValues } from '../values.ts';

/** Deployment, Service and ServiceAccount of the injector; the webhooks lead to the Service. */
export function nameOfInjector(values: InstallValues): string {
  return `mizzen-injector${revisionSuffix(values.revision)}`;
}

export function renderInjector(values: InstallValues): KubeObject[] {
  const component = describe(values);
  const ports = [{ name: 'https-webhook', port: 443, targetPort: 15017, protocol: 'TCP' }];
  return [
    renderService({ name: component.name, selector: component.selector, ports }, values),
    renderDeployment(component, values.injector, values),
    renderDisruptionBudget(component, values),
    renderNetworkPolicy(component, values),
  ];
}

function describe(values: InstallValues): Component {
  const name = nameOfInjector(values);
  return {
    name,
    image: 'injector',
    serviceAccount: name,
    selector: { app: name },
    labels: { istio: 'sidecar-injector', 'app.kubernetes.io/component': 'injector' },
    uid: SERVICE_UID,
    env: { MIZZEN_REVISION: values.revision, MIZZEN_SERVICE_NAME: name },
    ports: [
      { name: 'https-webhook', containerPort: 15017, protocol: 'TCP' },
      { name: 'http-monitoring', containerPort: 15014, protocol: 'TCP' },
    ],
    metricsPort: 15014,
    readiness: { path: '/ready', port: 15014 },
    usesApi: true,
    hasIdentity: false,
    terminationGracePeriodSeconds: 30,
    startupSeconds: 60,
  };
}
