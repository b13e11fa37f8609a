import { create, type JsonObject } from '@bufbuild/protobuf';
import { joinHostPort } from '@mizzen/core';
import { type Node, NodeSchema } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { type AgentOptions, DEFAULT_HOST } from './options.ts';

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
const USER_AGENT_VERSION = { majorNumber: 0, minorNumber: 1, patch: 0 };
const CLUSTER_ID = 'local';

/**
 * How the proxy introduces itself to the control plane. With `isRegistering` false it asks for its configuration only: the workload joins
 * no WorkloadGroup, so that nobody is sent to it. Source of id and metadata names: istio pkg/bootstrap/config.go (1.32). */
export function buildNode(options: AgentOptions, ports: AnnouncedPorts, { isRegistering } = { isRegistering: true }): Node {
  const { workload, proxyType, host = DEFAULT_HOST } = options;
  const { instance, namespace, labels } = workload;
  const app = labels['app'] ?? labels['service.istio.io/canonical-name'] ?? workload.name;
  return create(NodeSchema, {
    id: `${proxyType}~${host}~${instance}.${namespace}~${namespace}.svc.cluster.local`,
    cluster: `${app}.${namespace}`,
    metadata: {
      ...buildMetadata(options, ports),
      ...(isRegistering && workload.workloadGroup !== undefined && { AUTO_REGISTER_GROUP: workload.workloadGroup }),
    },
    userAgentName: 'mizzen',
    userAgentVersionType: { case: 'userAgentBuildVersion', value: { version: USER_AGENT_VERSION } },
  });
}

function buildMetadata(options: AgentOptions, ports: AnnouncedPorts): JsonObject {
  const { workload, host = DEFAULT_HOST } = options;
  return {
    NAMESPACE: workload.namespace,
    SERVICE_ACCOUNT: workload.serviceAccount,
    LABELS: { ...workload.labels },
    WORKLOAD_NAME: workload.name,
    INSTANCE_NAME: workload.instance,
    CLUSTER_ID,
    MESH_ID: options.trustDomain,
    INSTANCE_IPS: host,
    INTERCEPTION_MODE: 'NONE',
    ISTIO_VERSION,
    ADMIN_ADDRESS: joinHostPort(host, ports.admin),
    STATUS_PORT: String(ports.status),
    ...(ports.httpProxy === undefined ? {} : { HTTP_PROXY_PORT: String(ports.httpProxy) }),
    ...(options.inbound.length === 0 ? {} : { INBOUND: buildInbound(options, ports) }),
    ...(options.portMap.size === 0 ? {} : { PORT_MAP: Object.fromEntries([...options.portMap].map(([from, to]) => [String(from), to])) }),
  };
}

function buildInbound({ inbound, host = DEFAULT_HOST }: AgentOptions, ports: AnnouncedPorts): JsonObject[] {
  return inbound.map(({ port, endpoint }) => ({ port, bind: host, listenPort: ports.inbound.get(port) ?? 0, defaultEndpoint: endpoint }));
}
