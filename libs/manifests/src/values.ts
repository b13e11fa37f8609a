/** Any YAML that is put into a manifest as it is. */
export type Yaml = Readonly<Record<string, unknown>>;

export interface ComponentValues {
  readonly enabled: boolean;
  readonly replicas: number;
  /** `resources` of the container. */
  readonly resources: Yaml;
}

export interface GatewayValues extends ComponentValues {
  /** Labels of the pods beside `app` and `istio`: what Gateways select. */
  readonly labels: Yaml;
  /** `strategy` of the Deployment; with host ports a new pod has to wait until the old one has left its node. */
  readonly strategy: Yaml;
  /** Ports of the container; a `hostPort` makes the gateway reachable on its node. */
  readonly containerPorts: readonly Yaml[];
  readonly service: {
    /** LoadBalancer, NodePort or ClusterIP. */
    readonly type: string;
    readonly annotations: Yaml;
    /** Ports of the Service, as Kubernetes writes them. */
    readonly ports: readonly Yaml[];
    /** Further fields of the Service: externalTrafficPolicy, loadBalancerIP, ipFamilyPolicy, … */
    readonly spec: Yaml;
  };
}

/** Everything that an installation may say. Profiles are sets of them. */
export interface InstallValues {
  /** The namespace of the mesh's own components, and of mesh-wide resources. */
  readonly namespace: string;
  /** Where the images come from: `mizzen` or `registry.example.com/mizzen`. */
  readonly hub: string;
  readonly tag: string;
  readonly imagePullPolicy: string;
  readonly imagePullSecrets: readonly Yaml[];
  /** `default`, or a name that is put behind the names of control plane and injector, so that two can run side by side. */
  readonly revision: string;
  /** Authority in the identities of workloads. */
  readonly trustDomain: string;
  /** Name of this cluster in telemetry and in localities. */
  readonly clusterId: string;
  readonly logLevel: string;
  readonly priorityClassName: string;
  readonly nodeSelector: Yaml;
  readonly tolerations: readonly Yaml[];
  readonly nodeAffinity: Yaml;
  /** Pod security of the namespace: `restricted`; gateways with host ports need `privileged`. */
  readonly podSecurity: string;
  readonly networkPolicies: { readonly enabled: boolean };
  /** MeshConfig, in the ConfigMap `istio`; changes are taken up live. */
  readonly meshConfig: Yaml;
  readonly meshNetworks: Yaml;
  /** Values of the injection: see libs/injection. */
  readonly injection: Yaml;
  /** Templates of one's own, by name: see libs/injection. */
  readonly injectionTemplates: Yaml;
  readonly controlPlane: ComponentValues;
  readonly ca: ComponentValues;
  readonly injector: ComponentValues;
  readonly telemetry: ComponentValues;
  /** One pod, since its counters are in its memory. */
  readonly rateLimit: Omit<ComponentValues, 'replicas'>;
  readonly ingressGateway: GatewayValues;
  readonly egressGateway: GatewayValues;
}

/** The version of the images and of the manifests. */
export const VERSION = '0.1.0';

const PROFILE_NAMES = ['default', 'minimal', 'demo', 'empty', 'revision'] as const;
export type Profile = (typeof PROFILE_NAMES)[number];
export const PROFILES: readonly Profile[] = PROFILE_NAMES;

/** A strategy of Deployments: as many new pods as there are, before the first old one goes. */
export const WITHOUT_A_GAP: Yaml = { type: 'RollingUpdate', rollingUpdate: { maxSurge: '100%', maxUnavailable: 0 } };

const DEFAULTS: InstallValues = {
  namespace: 'istio-system',
  hub: 'mizzen',
  tag: VERSION,
  imagePullPolicy: 'IfNotPresent',
  imagePullSecrets: [],
  revision: 'default',
  trustDomain: 'cluster.local',
  clusterId: 'Kubernetes',
  logLevel: 'info',
  priorityClassName: '',
  nodeSelector: {},
  tolerations: [],
  nodeAffinity: {},
  podSecurity: 'restricted',
  networkPolicies: { enabled: true },
  meshConfig: { accessLogFile: '' },
  meshNetworks: {},
  injection: {},
  injectionTemplates: {},
  controlPlane: { enabled: true, replicas: 2, resources: resources('100m', '256Mi', '1Gi') },
  ca: { enabled: true, replicas: 2, resources: resources('50m', '96Mi', '256Mi') },
  injector: { enabled: true, replicas: 2, resources: resources('50m', '96Mi', '256Mi') },
  telemetry: { enabled: true, replicas: 1, resources: resources('50m', '128Mi', '512Mi') },
  rateLimit: { enabled: false, resources: resources('50m', '96Mi', '256Mi') },
  ingressGateway: gateway('LoadBalancer', {
    enabled: true,
    ports: [
      { name: 'status-port', port: 15021, targetPort: 15021, protocol: 'TCP' },
      { name: 'http2', port: 80, targetPort: 8080, protocol: 'TCP' },
      { name: 'https', port: 443, targetPort: 8443, protocol: 'TCP' },
    ],
  }),
  egressGateway: gateway('ClusterIP', {
    enabled: false,
    ports: [
      { name: 'http2', port: 80, targetPort: 8080, protocol: 'TCP' },
      { name: 'https', port: 443, targetPort: 8443, protocol: 'TCP' },
    ],
  }),
};

const ONE = { replicas: 1 };
const OFF = { enabled: false };

/** What each profile changes of the defaults. */
const CHANGES: Readonly<Record<Profile, Yaml>> = {
  default: {},
  minimal: { telemetry: OFF, ingressGateway: OFF, injection: { telemetryAddress: '' } },
  demo: {
    meshConfig: { accessLogFile: '/dev/stdout', defaultConfig: { tracing: { sampling: 100 } } },
    controlPlane: ONE,
    ca: ONE,
    injector: ONE,
    ingressGateway: ONE,
    egressGateway: { enabled: true, ...ONE },
  },
  empty: { controlPlane: OFF, ca: OFF, injector: OFF, telemetry: OFF, ingressGateway: OFF },
  // A second control plane and injector beside an installation: CA, telemetry and gateways are that one's.
  revision: { ca: OFF, telemetry: OFF, ingressGateway: OFF },
};

/** Maps whose keys are Kubernetes', MeshConfig's or the injector's, by the last part of their path. */
export const FREE_VALUES: ReadonlySet<string> = new Set(
  'annotations injection injectionTemplates labels meshConfig meshNetworks nodeAffinity nodeSelector resources spec strategy'.split(' '),
);

/** The values of a profile with changes on top: maps are merged, everything else is replaced. */
export function valuesOf(profile: Profile, ...changes: readonly Yaml[]): InstallValues {
  return [CHANGES[profile], ...changes].reduce<Yaml>(merge, DEFAULTS as unknown as Yaml) as unknown as InstallValues;
}

/** What a profile changes of the defaults, for values files. */
export function profileChanges(profile: Profile): Yaml {
  return CHANGES[profile];
}

/** `under` with `over` on top, map by map. Null takes a key out, as in Helm. */
export function merge(under: Yaml, over: Yaml): Yaml {
  const merged: Record<string, unknown> = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const present = merged[key];
    if (value === null) delete merged[key];
    else merged[key] = isMap(present) && isMap(value) ? merge(present, value) : value;
  }
  return merged;
}

export function isMap(value: unknown): value is Yaml {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function gateway(type: string, { enabled, ports }: { enabled: boolean; ports: readonly Yaml[] }): GatewayValues {
  return {
    enabled,
    replicas: 2,
    resources: resources('100m', '128Mi', '1Gi'),
    labels: {},
    strategy: WITHOUT_A_GAP,
    containerPorts: [
      { name: 'http2', containerPort: 8080, protocol: 'TCP' },
      { name: 'https', containerPort: 8443, protocol: 'TCP' },
    ],
    service: { type, annotations: {}, ports, spec: {} },
  };
}

// No limit of CPU: throttling a process of one thread costs latency and saves nothing.
function resources(cpu: string, memory: string, memoryLimit: string): Yaml {
  return { requests: { cpu, memory }, limits: { memory: memoryLimit } };
}
