import { renderNetworkPolicy } from '../network-policies.ts';
import type { KubeObject } from '../objects.ts';
import { type Component, renderDeployment, renderDisruptionBudget, renderService, renderServiceAccount, SERVICE_UID } from '../pod.ts';
import type { InstallValues } from '../values.ts';

const NAME = 'mizzen-telemetry';

/** Where proxies send metrics and spans; they go on without it. */
export function addressOfTelemetry(values: InstallValues): string {
  return `${NAME}.${values.namespace}.svc:4317`;
}

export function renderTelemetry(values: InstallValues): KubeObject[] {
  const component = describe();
  const ports = [
    { name: 'grpc-otlp', port: 4317, targetPort: 4317, protocol: 'TCP' },
    { name: 'http-otlp', port: 4318, targetPort: 4318, protocol: 'TCP' },
    { name: 'http-console', port: 20001, targetPort: 20001, protocol: 'TCP' },
  ];
  return [
    renderServiceAccount(NAME, values),
    renderService({ name: NAME, selector: component.selector, ports }, values),
    renderDeployment(component, values.telemetry, values),
    renderDisruptionBudget(component, values),
    renderNetworkPolicy(component, values),
  ];
}

function describe(): Component {
  return {
    name: NAME,
    image: 'telemetry',
    serviceAccount: NAME,
    selector: { app: NAME },
    labels: { 'app.kubernetes.io/component': 'telemetry' },
    uid: SERVICE_UID,
    env: { MIZZEN_LISTEN_ADDRESS: '0.0.0.0' },
    ports: [
      { name: 'grpc-otlp', containerPort: 4317, protocol: 'TCP' },
      { name: 'http-otlp', containerPort: 4318, protocol: 'TCP' },
      { name: 'http-console', containerPort: 20001, protocol: 'TCP' },
    ],
    metricsPort: 20001,
    readiness: { path: '/healthz', port: 20001 },
    usesApi: false,
    hasIdentity: false,
    terminationGracePeriodSeconds: 30,
    startupSeconds: 60,
  };
}
