import { APP_LABELS, type KubeObject, REVISION_LABEL } from './objects.ts';
import { type ComponentValues, type InstallValues, WITHOUT_A_GAP, type Yaml } from './values.ts';

/** What tells one component of the mesh from another. */
export interface Component {
  /** Name of the Deployment. */
  readonly name: string;
  /** Name of the image, without the hub. */
  readonly image: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Pods are chosen by these; they never change between versions. */
  readonly selector: Readonly<Record<string, string>>;
  readonly uid: number;
  /** Settings of the process by their variables. Further variables come from the pod itself. */
  readonly env: Readonly<Record<string, string>>;
  readonly ports: readonly Yaml[];
  readonly metricsPort: number;
  readonly metricsPath?: string;
  readonly readiness: { readonly path: string; readonly port: number };
  /** It asks the API server. */
  readonly usesApi: boolean;
  /** It proves itself to the mesh's CA with the token of its service account. */
  readonly hasIdentity: boolean;
  /** How it is rolled; default without a gap. */
  readonly strategy?: Yaml;
  readonly volumes?: readonly Yaml[];
  readonly volumeMounts?: readonly Yaml[];
  readonly terminationGracePeriodSeconds: number;
  /** Seconds that a new process may take until it is ready before it is started anew. */
  readonly startupSeconds: number;
}

export const TOKEN_FILE = '/var/run/secrets/tokens/istio-token';
export const ROOT_FILE = '/var/run/secrets/istio/root-cert.pem';

/** The Deployment of a component: rolled without a gap, spread over nodes, without any privilege. */
export function renderDeployment(component: Component, { replicas, resources }: ComponentValues, values: InstallValues): KubeObject {
  const { name, selector } = component;
  const labels = { ...selector, ...component.labels, ...APP_LABELS, 'app.kubernetes.io/name': name, [REVISION_LABEL]: values.revision };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: values.namespace, labels },
    spec: {
      replicas,
      selector: { matchLabels: selector },
      strategy: component.strategy ?? WITHOUT_A_GAP,
      template: {
        metadata: { labels: { ...labels, 'sidecar.istio.io/inject': 'false' }, annotations: scrapeAnnotations(component) },
        spec: {
          serviceAccountName: component.serviceAccount,
          automountServiceAccountToken: component.usesApi,
          ...(values.priorityClassName !== '' && { priorityClassName: values.priorityClassName }),
          terminationGracePeriodSeconds: component.terminationGracePeriodSeconds,
          // The Service mizzen-ca would give every pod MIZZEN_CA_PORT, which is a setting of ours.
          enableServiceLinks: false,
          imagePullSecrets: values.imagePullSecrets,
          nodeSelector: values.nodeSelector,
          tolerations: values.tolerations,
          affinity: { nodeAffinity: values.nodeAffinity, podAntiAffinity: preferOtherNodes(selector) },
          topologySpreadConstraints: [spreadOver('topology.kubernetes.io/zone', selector)],
          securityContext: {
            runAsNonRoot: true,
            runAsUser: component.uid,
            runAsGroup: component.uid,
            fsGroup: component.uid,
            seccompProfile: { type: 'RuntimeDefault' },
          },
          containers: [container(component, resources, values)],
          volumes: [...(component.hasIdentity ? IDENTITY_VOLUMES : []), ...(component.volumes ?? [])],
        },
      },
    },
  };
}

function container(component: Component, resources: Yaml, values: InstallValues): Yaml {
  const probe = { httpGet: component.readiness };
  return {
    name: component.hasIdentity && component.uid === PROXY_UID ? 'istio-proxy' : component.image,
    image: `${values.hub}/${component.image}:${values.tag}`,
    imagePullPolicy: values.imagePullPolicy,
    env: [
      ...Object.entries({ MIZZEN_LOG_LEVEL: values.logLevel, ...component.env }).map(([name, value]) => ({ name, value })),
      fromPod('POD_NAME', 'metadata.name'),
      fromPod('POD_NAMESPACE', 'metadata.namespace'),
      fromPod('POD_IP', 'status.podIP'),
      fromPod('NODE_NAME', 'spec.nodeName'),
      ...(component.uid === PROXY_UID ? PROXY_ENV : []),
    ],
    ports: component.ports,
    resources,
    startupProbe: { ...probe, periodSeconds: 1, timeoutSeconds: 3, failureThreshold: component.startupSeconds },
    readinessProbe: { ...probe, periodSeconds: 5, timeoutSeconds: 3, failureThreshold: 3 },
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
      privileged: false,
    },
    volumeMounts: [...(component.hasIdentity ? IDENTITY_MOUNTS : []), ...(component.volumeMounts ?? [])],
  };
}

/** The user that the capture of pods leaves alone. */
export const PROXY_UID = 1337;
/** The user of every other image of the mesh. */
export const SERVICE_UID = 10_001;

// The agent reads what pods are told by the downward API under the names of its settings.
const PROXY_ENV = [
  fromPod('MIZZEN_INSTANCE', 'metadata.name'),
  fromPod('MIZZEN_NAMESPACE', 'metadata.namespace'),
  fromPod('MIZZEN_ADDRESS', 'status.podIP'),
  fromPod('MIZZEN_NODE_NAME', 'spec.nodeName'),
];

const IDENTITY_VOLUMES = [
  {
    name: 'istio-token',
    projected: { sources: [{ serviceAccountToken: { audience: 'istio-ca', expirationSeconds: 43_200, path: 'istio-token' } }] },
  },
  { name: 'istio-ca-root-cert', configMap: { name: 'istio-ca-root-cert' } },
];
const IDENTITY_MOUNTS = [
  { name: 'istio-token', mountPath: '/var/run/secrets/tokens', readOnly: true },
  { name: 'istio-ca-root-cert', mountPath: '/var/run/secrets/istio', readOnly: true },
];

/** At most one pod of the component at a time is evicted, so that a node can be drained whatever the number of replicas. */
export function renderDisruptionBudget({ name, selector }: Component, values: InstallValues): KubeObject {
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: {
      name,
      namespace: values.namespace,
      labels: { ...APP_LABELS, 'app.kubernetes.io/name': name, [REVISION_LABEL]: values.revision },
    },
    spec: { maxUnavailable: 1, selector: { matchLabels: selector } },
  };
}

export function renderServiceAccount(name: string, values: InstallValues): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name, namespace: values.namespace, labels: APP_LABELS },
    imagePullSecrets: values.imagePullSecrets,
    automountServiceAccountToken: false,
  };
}

interface ServiceOptions {
  readonly name: string;
  readonly selector: Readonly<Record<string, string>>;
  readonly ports: readonly Yaml[];
  readonly labels?: Readonly<Record<string, string>>;
}

export function renderService({ name, selector, ports, labels }: ServiceOptions, values: InstallValues): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: values.namespace, labels: { ...selector, ...labels, ...APP_LABELS } },
    spec: { type: 'ClusterIP', selector, ports },
  };
}

function scrapeAnnotations({ metricsPort, metricsPath = '/metrics' }: Component): Yaml {
  return { 'prometheus.io/scrape': 'true', 'prometheus.io/port': String(metricsPort), 'prometheus.io/path': metricsPath };
}

function fromPod(name: string, fieldPath: string): Yaml {
  return { name, valueFrom: { fieldRef: { fieldPath } } };
}

function preferOtherNodes(matchLabels: Yaml): Yaml {
  const podAffinityTerm = { labelSelector: { matchLabels }, topologyKey: 'kubernetes.io/hostname' };
  return { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, podAffinityTerm }] };
}

function spreadOver(topologyKey: string, matchLabels: Yaml): Yaml {
  return { maxSkew: 1, topologyKey, whenUnsatisfiable: 'ScheduleAnyway', labelSelector: { matchLabels } };
}
