import { renderNetworkPolicy } from '../network-policies.ts';
import type { KubeObject } from '../objects.ts';
import { type Component, renderDeployment, renderDisruptionBudget, renderService, SERVICE_UID } from '../pod.ts';
import type { InstallValues } from '../values.ts';

const NAME = 'mizzen-ca';

export function addressOfCa(values: InstallValues): string {
  return `${NAME}.${values.namespace}.svc:15013`;
}

export function renderCa(values: InstallValues): KubeObject[] {
  const component = describe(values);
  const ports = [{ name: 'grpc-ca', port: 15013, targetPort: 15013, protocol: 'TCP', appProtocol: 'tls' }];
  return [
    renderService({ name: NAME, selector: component.selector, ports }, values),
    renderDeployment(component, values.ca, values),
    renderDisruptionBudget(component, values),
    renderNetworkPolicy(component, values),
  ];
}

function describe(values: InstallValues): Component {
  return {
    name: NAME,
    image: 'ca',
    serviceAccount: NAME,
    selector: { app: NAME },
    labels: { 'app.kubernetes.io/component': 'ca' },
    uid: SERVICE_UID,
    env: {
      MIZZEN_KUBERNETES: 'true',
      MIZZEN_CA_HOST: '0.0.0.0',
      MIZZEN_TRUST_DOMAIN: values.trustDomain,
    },
    ports: [
      { name: 'grpc-ca', containerPort: 15013, protocol: 'TCP' },
      { name: 'http-monitoring', containerPort: 15093, protocol: 'TCP' },
    ],
    metricsPort: 15093,
    readiness: { path: '/ready', port: 15093 },
    usesApi: true,
    hasIdentity: false,
    terminationGracePeriodSeconds: 30,
    startupSeconds: 60,
  };
}
