import { isIP } from 'node:net';
import { create } from '@bufbuild/protobuf';
import { MizzenError, splitHostPort } from '@mizzen/core';
import { packAny } from '@mizzen/xds-api';
import { type Bootstrap, BootstrapSchema } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { type Cluster, Cluster_DiscoveryType, ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { type Address, AddressSchema } from '@mizzen/xds-api/envoy/config/core/v3/address';
import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  ApiConfigSource_ApiType,
  ApiVersion,
  type ConfigSource,
  ConfigSourceSchema,
} from '@mizzen/xds-api/envoy/config/core/v3/config_source';
import { SinkConfigSchema } from '@mizzen/xds-api/envoy/extensions/stat_sinks/open_telemetry/v3/open_telemetry';
import { HttpProtocolOptionsSchema } from '@mizzen/xds-api/envoy/extensions/upstreams/http/v3/http_protocol_options';

export interface BootstrapInput {
  readonly node: Node;
  readonly adminHost: string;
  readonly adminPort: number;
  readonly xdsAddress: string;
  readonly telemetryAddress: string | undefined;
}

const XDS_CLUSTER = 'xds-grpc';
/** Where spans and metrics go; tracing configuration of the control plane refers to it by this name. */
export const TELEMETRY_CLUSTER = 'otlp-collector';

// Labels under the names that Istio's dashboards use. Source: istio tools/packaging/common/envoy_bootstrap.json (1.32 dev).
const STATS_TAGS: readonly (readonly [name: string, regex: string])[] = [
  ['cluster_name', '^cluster\\.((.+?(\\..+?\\.svc\\.cluster\\.local)?)\\.)'],
  ['tcp_prefix', '^tcp\\.((.*?)\\.)\\w+?$'],
  ['response_code', '_rq(_(\\d{3}))$'],
  ['response_code_class', '_rq(_(\\dxx))$'],
  ['http_conn_manager_prefix', '^http\\.(((outbound_)?[^.]*)\\.)'],
  ['listener_address', '^listener\\.((.+?)\\.)'],
];

/** What the proxy starts with: who it is, its admin port, where configuration comes from and where telemetry goes. */
export function buildBootstrap(input: BootstrapInput): Bootstrap {
  const { telemetryAddress } = input;
  const clusters = [buildGrpcCluster(XDS_CLUSTER, input.xdsAddress)];
  if (telemetryAddress !== undefined) clusters.push(buildGrpcCluster(TELEMETRY_CLUSTER, telemetryAddress));
  return create(BootstrapSchema, {
    node: input.node,
    admin: { address: socketAddress(input.adminHost, input.adminPort) },
    dynamicResources: {
      cdsConfig: fromAds(),
      ldsConfig: fromAds(),
      adsConfig: {
        apiType: ApiConfigSource_ApiType.DELTA_GRPC,
        transportApiVersion: ApiVersion.V3,
        grpcServices: [{ targetSpecifier: { case: 'envoyGrpc', value: { clusterName: XDS_CLUSTER } } }],
      },
    },
    staticResources: { clusters },
    statsConfig: {
      useAllDefaultTags: false,
      statsTags: STATS_TAGS.map(([tagName, value]) => ({ tagName, tagValue: { case: 'regex' as const, value } })),
    },
    statsSinks:
      telemetryAddress === undefined
        ? []
        : [{ name: 'envoy.stat_sinks.open_telemetry', configType: { case: 'typedConfig', value: otlpSink() } }],
  });
}

function otlpSink(): ReturnType<typeof packAny> {
  const grpcService = { targetSpecifier: { case: 'envoyGrpc' as const, value: { clusterName: TELEMETRY_CLUSTER } } };
  return packAny(
    SinkConfigSchema,
    create(SinkConfigSchema, { protocolSpecifier: { case: 'grpcService', value: grpcService }, emitTagsAsAttributes: true }),
  );
}

function fromAds(): ConfigSource {
  return create(ConfigSourceSchema, { configSourceSpecifier: { case: 'ads', value: {} }, resourceApiVersion: ApiVersion.V3 });
}

function buildGrpcCluster(name: string, address: string): Cluster {
  const { host, port } = splitHostPort(address) ?? {};
  if (host === undefined || port === undefined) throw new MizzenError('MIZZEN_ADDRESS', `"${address}" is not an address: give host:port`);
  const http2 = create(HttpProtocolOptionsSchema, {
    upstreamProtocolOptions: {
      case: 'explicitHttpConfig',
      value: { protocolConfig: { case: 'http2ProtocolOptions', value: {} } },
    },
  });
  return create(ClusterSchema, {
    name,
    clusterDiscoveryType: { case: 'type', value: isIP(host) === 0 ? Cluster_DiscoveryType.STRICT_DNS : Cluster_DiscoveryType.STATIC },
    connectTimeout: { seconds: 1n, nanos: 0 },
    typedExtensionProtocolOptions: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': packAny(HttpProtocolOptionsSchema, http2) },
    loadAssignment: {
      clusterName: name,
      endpoints: [{ lbEndpoints: [{ hostIdentifier: { case: 'endpoint', value: { address: socketAddress(host, port) } } }] }],
    },
  });
}

function socketAddress(host: string, port: number): Address {
  return create(AddressSchema, {
    address: { case: 'socketAddress', value: { address: host, portSpecifier: { case: 'portValue', value: port } } },
  });
}
