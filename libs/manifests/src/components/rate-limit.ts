import { renderNetworkPolicy } from '../network-policies.ts';
import type { KubeObject } from '../objects.ts';
import { type Component, renderDeployment, renderDisruptionBudget, renderService, renderServiceAccount, SERVICE_UID } from '../pod.ts';
import type { InstallValues } from '../values.ts';

/** The name that proxies ask by, in the namespace of the mesh. */
const NAME = 'mizzen-rate-limit';
const PORT = 8081;
const HTTP_PORT = 15_095;

/** The service that GLOBAL rules of RateLimits are counted by. One pod: its counters are in its memory. */
export function renderRateLimit(values: InstallValues): KubeObject[] {
  const component = describe();
  const ports = [{ name: 'grpc', port: PORT, targetPort: PORT, protocol: 'TCP' }];
  return [
    renderServiceAccount(NAME, values),
    renderService({ name: NAME, selector: component.selector, ports }, values),
    renderDeployment(component, { ...values.rateLimit, replicas: 1 }, values),
    renderDisruptionBudget(component, values),
    renderNetworkPolicy(component, values),
  ];
}

function describe(): Component {
  return {
    name: NAME,
    image: 'rate-limit',
    serviceAccount: NAME,
    selector: { app: NAME },
    labels: { 'app.kubernetes.io/component': 'rate-limit' },
    uid: SERVICE_UID,
    env: { MIZZEN_LISTEN_ADDRESS: '0.0.0.0' },
    ports: [
      { name: 'grpc', containerPort: PORT, protocol: 'TCP' },
      { name: 'http-metrics', containerPort: HTTP_PORT, protocol: 'TCP' },
    ],
    metricsPort: HTTP_PORT,
    readiness: { path: '/ready', port: HTTP_PORT },
    usesApi: false,
    hasIdentity: false,
    terminationGracePeriodSeconds: 30,
    startupSeconds: 60,
  };
}
