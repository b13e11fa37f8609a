import { create, type JsonObject } from '@bufbuild/protobuf';
import { joinHostPort } from '@mizzen/core';
import { type Node, NodeSchema } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { type AgentOptions, DEFAULT_HOST, type PodOptions } from './options.ts';

/** The ports that a node announces: what the control plane makes listeners of. */
export interface AnnouncedPorts {
  /** By the service's port. */
  readonly inbound: ReadonlyMap<number, number>;
  readonly httpProxy: number | undefined;
  readonly admin: number;
  readonly status: number;
}

// The release whose behaviour is matched.
const ISTIO_VERSION = '1.32.0';
const TLS_MODE_LABEL = 'security.istio.io/tlsMode';
const USER_AGENT_VERSION = { majorNumber: 0, minorNumber: 1, patch: 0 };
const LOCAL_CLUSTER_ID = 'local';
// Istio's name for a cluster that nobody named. Source: istio pkg/config/constants DefaultClusterName (1.32).
const POD_CLUSTER_ID = 'Kubernetes';

/**
 * How the proxy introduces itself to the control plane. With `isRegistering` false it asks for its configuration only: the workload joins
 * no WorkloadGroup, so that nobody is sent to it. Source of id and metadata names: istio pkg/bootstrap/config.go (1.32). */
export function buildNode(options: AgentOptions, ports: AnnouncedPorts, { isRegistering } = { isRegistering: true }): Node {
  const { workload, proxyType } = options;
  const { instance, namespace, labels } = workload;
  const app = labels['app'] ?? labels['service.istio.io/canonical-name'] ?? workload.name;
  return create(NodeSchema, {
    id: `${proxyType}~${addressOf(options)}~${instance}.${namespace}~${namespace}.svc.cluster.local`,
    cluster: `${app}.${namespace}`,
    metadata: {
      ...buildMetadata(options, ports),
      ...(isRegistering && workload.workloadGroup !== undefined && { AUTO_REGISTER_GROUP: workload.workloadGroup }),
    },
    userAgentName: 'mizzen',
    userAgentVersionType: { case: 'userAgentBuildVersion', value: { version: USER_AGENT_VERSION } },
  });
}

/** Where others reach the workload. */
export function addressOf({ pod, host = DEFAULT_HOST }: Pick<AgentOptions, 'pod' | 'host'>): string {
  return pod?.addresses[0] ?? host;
}

function buildMetadata(options: AgentOptions, ports: AnnouncedPorts): JsonObject {
  const { workload, pod, host = DEFAULT_HOST } = options;
  return {
    NAMESPACE: workload.namespace,
    SERVICE_ACCOUNT: workload.serviceAccount,
    LABELS: buildLabels(options),
    WORKLOAD_NAME: workload.name,
    INSTANCE_NAME: workload.instance,
    CLUSTER_ID: pod === undefined ? LOCAL_CLUSTER_ID : (pod.clusterId ?? POD_CLUSTER_ID),
    MESH_ID: options.trustDomain,
    INSTANCE_IPS: pod?.addresses.join(',') ?? host,
    INTERCEPTION_MODE: pod?.interceptionMode ?? 'NONE',
    ISTIO_VERSION,
    ADMIN_ADDRESS: joinHostPort(host, ports.admin),
    STATUS_PORT: String(ports.status),
    ...(pod === undefined ? {} : buildPodMetadata(pod)),
    ...(ports.httpProxy === undefined ? {} : { HTTP_PROXY_PORT: String(ports.httpProxy) }),
    // With capture the control plane knows the ports from the services that select the workload.
    ...(options.inbound.length === 0 || pod?.interceptionMode === 'REDIRECT' ? {} : { INBOUND: buildInbound(options, ports) }),
    ...(options.portMap.size === 0 ? {} : { PORT_MAP: Object.fromEntries([...options.portMap].map(([from, to]) => [String(from), to])) }),
  };
}

// Without an identity nothing can answer mutual TLS: callers must not be told to use it.
function buildLabels({ workload, identity }: AgentOptions): JsonObject {
  return identity === undefined ? { ...workload.labels, [TLS_MODE_LABEL]: 'disabled' } : { ...workload.labels };
}

function buildPodMetadata(pod: PodOptions): JsonObject {
  return {
    // Istio's is the text of the JSON, not the JSON.
    ...(pod.ports.length === 0 ? {} : { POD_PORTS: JSON.stringify(pod.ports) }),
    ...(pod.dns === undefined ? {} : { DNS_CAPTURE: 'true' }),
    ...(pod.nodeName === undefined ? {} : { NODE_NAME: pod.nodeName }),
    ...(pod.owner === undefined ? {} : { OWNER: pod.owner }),
  };
}

function buildInbound(options: AgentOptions, ports: AnnouncedPorts): JsonObject[] {
  const bind = addressOf(options);
  return options.inbound.map(({ port, endpoint }) => ({ port, bind, listenPort: ports.inbound.get(port) ?? 0, defaultEndpoint: endpoint }));
}
