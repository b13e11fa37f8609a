import { APP_LABELS, type KubeObject } from '../objects.ts';
import {
  type Component,
  PROXY_UID,
  ROOT_FILE,
  renderDeployment,
  renderDisruptionBudget,
  renderServiceAccount,
  TOKEN_FILE,
} from '../pod.ts';
import type { GatewayValues, InstallValues } from '../values.ts';
import { addressOfCa } from './ca.ts';
import { nameOfControlPlaneService } from './control-plane.ts';
import { addressOfTelemetry } from './telemetry.ts';

/** Which of the two gateways: names and labels are Istio's, so that Gateways of any example select them. */
export interface GatewayIdentity {
  readonly name: 'istio-ingressgateway' | 'istio-egressgateway';
  readonly istio: 'ingressgateway' | 'egressgateway';
}

export const INGRESS: GatewayIdentity = { name: 'istio-ingressgateway', istio: 'ingressgateway' };
export const EGRESS: GatewayIdentity = { name: 'istio-egressgateway', istio: 'egressgateway' };

export function renderGateway(identity: GatewayIdentity, gateway: GatewayValues, values: InstallValues): KubeObject[] {
  const component = describe(identity, gateway, values);
  return [
    renderServiceAccount(identity.name, values),
    secretReaderRole(identity, values),
    secretReaderBinding(identity, values),
    renderGatewayService(component, gateway, values),
    renderDeployment(component, gateway, values),
    renderDisruptionBudget(component, values),
  ];
}

function describe({ name, istio }: GatewayIdentity, gateway: GatewayValues, values: InstallValues): Component {
  return {
    name,
    image: 'ingress-gateway',
    serviceAccount: name,
    selector: { app: name, istio },
    labels: {
      ...(gateway.labels as Readonly<Record<string, string>>),
      'service.istio.io/canonical-name': name,
      'service.istio.io/canonical-revision': 'latest',
      'app.kubernetes.io/component': 'gateway',
    },
    uid: PROXY_UID,
    env: {
      MIZZEN_SERVICE_ACCOUNT: name,
      MIZZEN_WORKLOAD_NAME: name,
      MIZZEN_LABELS_FILE: '/etc/istio/pod/labels',
      MIZZEN_CLUSTER_ID: values.clusterId,
      MIZZEN_TRUST_DOMAIN: values.trustDomain,
      MIZZEN_XDS_ADDRESS: `${nameOfControlPlaneService(values)}.${values.namespace}.svc:15012`,
      MIZZEN_CA_ADDRESS: addressOfCa(values),
      MIZZEN_CA_ROOT: ROOT_FILE,
      MIZZEN_JOIN_TOKEN_FILE: TOKEN_FILE,
      MIZZEN_TELEMETRY_ADDRESS: addressOfTelemetry(values),
      MIZZEN_ADMIN_PORT: '15000',
      MIZZEN_STATUS_PORT: '15020',
      MIZZEN_READINESS_PORT: '15021',
      MIZZEN_METRICS_PORT: '15090',
      MIZZEN_OWNER: `kubernetes://apis/apps/v1/namespaces/${values.namespace}/deployments/${name}`,
      // It ends as soon as its callers have left, 5 s after the Service did; terminationGracePeriodSeconds is the limit.
      EXIT_ON_ZERO_ACTIVE_CONNECTIONS: 'true',
      MINIMUM_DRAIN_DURATION: '5s',
    },
    ports: [
      ...gateway.containerPorts,
      { name: 'status-port', containerPort: 15021, protocol: 'TCP' },
      { name: 'http-envoy-prom', containerPort: 15090, protocol: 'TCP' },
    ],
    metricsPort: 15020,
    metricsPath: '/stats/prometheus',
    readiness: { path: '/healthz/ready', port: 15021 },
    usesApi: false,
    hasIdentity: true,
    strategy: gateway.strategy,
    volumes: [
      {
        name: 'istio-podinfo',
        downwardAPI: {
          items: [
            { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
            { path: 'annotations', fieldRef: { fieldPath: 'metadata.annotations' } },
          ],
        },
      },
    ],
    volumeMounts: [{ name: 'istio-podinfo', mountPath: '/etc/istio/pod', readOnly: true }],
    // Longer than most load balancers take to notice that a pod is going.
    terminationGracePeriodSeconds: 60,
    startupSeconds: 120,
  };
}

function renderGatewayService({ name, selector }: Component, { service }: GatewayValues, values: InstallValues): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name,
      namespace: values.namespace,
      labels: { ...selector, ...APP_LABELS },
      annotations: service.annotations as Readonly<Record<string, string>>,
    },
    spec: { type: service.type, selector, ports: service.ports, ...service.spec },
  };
}

/** The control plane gives a gateway the Secrets of its namespace only if the gateway itself might read them, as in Istio. */
function secretReaderRole({ name }: GatewayIdentity, values: InstallValues): KubeObject {
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    metadata: { name: `${name}-sds`, namespace: values.namespace, labels: APP_LABELS },
    rules: [{ apiGroups: [''], resources: ['secrets'], verbs: ['get', 'watch', 'list'] }],
  };
}

function secretReaderBinding({ name }: GatewayIdentity, values: InstallValues): KubeObject {
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: { name: `${name}-sds`, namespace: values.namespace, labels: APP_LABELS },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: `${name}-sds` },
    subjects: [{ kind: 'ServiceAccount', name, namespace: values.namespace }],
  };
}
