import { isOwnKind, KIND_NAMES, KINDS, type Kind } from '@mizzen/mesh-api';
import { APP_LABELS, type KubeObject } from '../objects.ts';
import { type JsonSchema, type StructuralSchema, structuralSchema } from './structural-schema.ts';

interface Column {
  readonly name: string;
  readonly jsonPath: string;
  readonly type: 'string' | 'date';
  readonly description: string;
}

interface About {
  readonly description: string;
  /** Columns of `kubectl get`, as Istio's; every kind has its age besides. */
  readonly columns?: readonly Column[];
}

const ABOUT: Readonly<Record<Kind, About>> = {
  VirtualService: {
    description: 'How requests to hosts are routed: matches, weights, rewrites, retries, faults.',
    columns: [
      column('Gateways', '.spec.gateways', 'The names of gateways and sidecars that should apply these routes'),
      column('Hosts', '.spec.hosts', 'The destination hosts to which traffic is being sent'),
    ],
  },
  DestinationRule: {
    description: 'What happens after routing: load balancing, connection pools, outlier detection, TLS, subsets.',
    columns: [column('Host', '.spec.host', 'The name of a service from the service registry')],
  },
  Gateway: { description: 'Ports and hosts at the edge of the mesh.' },
  ServiceEntry: {
    description: 'A service that no other registry knows.',
    columns: [
      column('Hosts', '.spec.hosts', 'The hosts associated with the ServiceEntry'),
      column('Location', '.spec.location', 'Whether the service is external to the mesh or part of the mesh'),
      column('Resolution', '.spec.resolution', 'Service resolution mode for the hosts'),
    ],
  },
  WorkloadEntry: {
    description: 'One workload that is no pod.',
    columns: [column('Address', '.spec.address', 'Address associated with the network endpoint.')],
  },
  WorkloadGroup: { description: 'What the workloads that register themselves have in common.' },
  Sidecar: { description: 'What a proxy listens to and which services it knows.' },
  EnvoyFilter: { description: 'Changes to the xDS resources that are generated.' },
  ProxyConfig: { description: 'Settings of proxies.' },
  PeerAuthentication: {
    description: 'Whether workloads take plaintext, mTLS or both.',
    columns: [column('Mode', '.spec.mtls.mode', 'Defines the mTLS mode used for peer authentication.')],
  },
  RequestAuthentication: { description: 'Which JWTs workloads accept.' },
  AuthorizationPolicy: {
    description: 'Who may call what.',
    columns: [column('Action', '.spec.action', 'The operation to take.')],
  },
  Telemetry: { description: 'Metrics, access logs and tracing of workloads.' },
  WasmPlugin: { description: 'A WebAssembly filter in the proxies.' },
  TrafficExtension: { description: 'A WebAssembly or Lua filter in the proxies.' },
  RateLimit: { description: 'How many requests workloads and gateways take, each proxy for itself or the whole mesh together.' },
};

// Istio stores Telemetry in its old version still. Source: Istio's CRDs, 1.32 dev.
const STORAGE_VERSION: Partial<Record<Kind, string>> = { Telemetry: 'v1alpha1' };

const AGE: Column = {
  name: 'Age',
  jsonPath: '.metadata.creationTimestamp',
  type: 'date',
  description: 'When this object was created.',
};

/** The CustomResourceDefinitions of all kinds. */
export function renderCrds(): readonly KubeObject[] {
  return KIND_NAMES.map(renderCrd);
}

/** The CustomResourceDefinition of a kind: every version served with the same schema, stored in Istio's storage version. */
export function renderCrd(kind: Kind): KubeObject {
  const { group, versions, plural, singular, shortNames, schema } = KINDS[kind];
  const storage = STORAGE_VERSION[kind] ?? versions[0];
  const openAPIV3Schema = rootSchema(kind, schema as unknown as JsonSchema);
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      name: `${plural}.${group}`,
      labels: { ...APP_LABELS, 'app.kubernetes.io/component': 'crds' },
      annotations: { 'helm.sh/resource-policy': 'keep' },
    },
    spec: {
      group,
      names: {
        categories: [...(isOwnKind(kind) ? [] : ['istio-io']), group.replaceAll('.', '-')],
        kind,
        listKind: `${kind}List`,
        plural,
        ...(shortNames.length > 0 ? { shortNames: [...shortNames] } : {}),
        singular,
      },
      scope: 'Namespaced',
      versions: versions.map((name) => ({
        name,
        served: true,
        storage: name === storage,
        subresources: { status: {} },
        additionalPrinterColumns: [...(ABOUT[kind].columns ?? []), AGE],
        schema: { openAPIV3Schema },
      })),
    },
  };
}

function rootSchema(kind: Kind, spec: JsonSchema): StructuralSchema {
  const specSchema = structuralSchema(kind, spec);
  return {
    type: 'object',
    description: ABOUT[kind].description,
    properties: { spec: specSchema, status: STATUS },
    ...(specSchema.required ? { required: ['spec'] } : {}),
  };
}

const text = (description: string): StructuralSchema => ({ type: 'string', description });
const time = (description: string): StructuralSchema => ({ type: 'string', format: 'date-time', description });
// 64 bits, which protobuf's JSON writes as text.
const generation: StructuralSchema = { anyOf: [{ type: 'integer' }, { type: 'string' }], 'x-kubernetes-int-or-string': true };

/** `IstioStatus`. Source: istio.io/api meta/v1alpha1/status.proto. */
const STATUS: StructuralSchema = {
  type: 'object',
  'x-kubernetes-preserve-unknown-fields': true,
  properties: {
    conditions: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          lastProbeTime: time('When the condition was looked at last.'),
          lastTransitionTime: time('When the condition changed last.'),
          message: text('Details for a person.'),
          observedGeneration: generation,
          reason: text('Why, in one word.'),
          status: text('True, False or Unknown.'),
          type: text('Which condition.'),
        },
      },
    },
    observedGeneration: generation,
    validationMessages: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          documentationUrl: text('Where more is said.'),
          level: { type: 'string', enum: ['UNKNOWN', 'ERROR', 'WARNING', 'INFO'] },
          message: text('What is wrong, and at which field.'),
          type: { type: 'object', properties: { code: text('Identifies the kind of message.'), name: text('Its name for a person.') } },
        },
      },
    },
  },
};

function column(name: string, jsonPath: string, description: string): Column {
  return { name, jsonPath, type: 'string', description };
}
