import type { JsonObject } from '@bufbuild/protobuf';
import { errorMessage, MizzenError } from '@mizzen/core';
import { describePeerNode, type PeerMetadata } from '@mizzen/telemetry';
import { unpackAny } from '@mizzen/xds-api';
import type { Bootstrap } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { SinkConfigSchema } from '@mizzen/xds-api/envoy/extensions/stat_sinks/open_telemetry/v3/open_telemetry';

export interface LocalNode {
  readonly nodeId: string;
  readonly meshId: string;
  readonly isRouter: boolean;
  readonly metadata: PeerMetadata;
}

/** What the node of a bootstrap tells of the workload. Source: istio pkg/model/proxy.go NodeMetadata (1.32). */
export function describeNode(node: Node | undefined): LocalNode {
  const metadata: JsonObject = node?.metadata ?? {};
  const text = (value: unknown): string => (typeof value === 'string' ? value : '');
  const labels =
    typeof metadata['LABELS'] === 'object' && metadata['LABELS'] !== null && !Array.isArray(metadata['LABELS']) ? metadata['LABELS'] : {};
  return {
    nodeId: node?.id ?? '',
    meshId: text(metadata['MESH_ID']),
    isRouter: node?.id.startsWith('router~') ?? false,
    metadata: describePeerNode({
      workload: text(metadata['WORKLOAD_NAME']),
      namespace: text(metadata['NAMESPACE']),
      clusterId: text(metadata['CLUSTER_ID']),
      labels: Object.fromEntries(Object.entries(labels).map(([name, value]) => [name, text(value)])),
    }),
  };
}

/** The cluster that metrics are sent to, or undefined. Throws MIZZEN_BOOTSTRAP for a sink that this proxy does not have. */
export function statsSinkCluster(bootstrap: Bootstrap): string | undefined {
  const [sink] = bootstrap.statsSinks;
  if (sink === undefined) return undefined;
  const refuse = (reason: string): MizzenError =>
    new MizzenError('MIZZEN_BOOTSTRAP', `the bootstrap cannot be used: stats_sinks[0].typed_config: ${reason}`);
  try {
    const target = unpackAny(sink.configType.value, SinkConfigSchema)?.protocolSpecifier.value?.targetSpecifier;
    if (bootstrap.statsSinks.length === 1 && target?.case === 'envoyGrpc') return target.value.clusterName;
  } catch (thrown) {
    throw refuse(errorMessage(thrown));
  }
  throw refuse('only one sink is supported: envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig with grpc_service.envoy_grpc');
}
