import { LocalRateLimitSchema as ListenerLocalRateLimitSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/local_ratelimit/v3/local_ratelimit';
import { OriginalSrcSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/original_src/v3/original_src';
import { ProxyProtocolSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol';
import { ConnectionLimitSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/connection_limit/v3/connection_limit';
import { LocalRateLimitSchema as NetworkLocalRateLimitSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/local_ratelimit/v3/local_rate_limit';
import { ConfigSchema as NetworkSetFilterStateSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/set_filter_state/v3/set_filter_state';
import { SniClusterSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/sni_cluster/v3/sni_cluster';
import { FilterConfigSchema as SniDynamicForwardProxySchema } from '@mizzen/xds-api/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3/sni_dynamic_forward_proxy';
import { DownstreamConnectionsConfigSchema } from '@mizzen/xds-api/envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections';
import { MetadataExchangeSchema } from '@mizzen/xds-api/envoy/tcp/metadataexchange/config/metadata_exchange';

/** Messages of listener filters, network filters and limits of connections, for the registry. */
export const CONNECTION_MESSAGES = [
  NetworkSetFilterStateSchema,
  SniDynamicForwardProxySchema,
  ConnectionLimitSchema,
  DownstreamConnectionsConfigSchema,
  ListenerLocalRateLimitSchema,
  MetadataExchangeSchema,
  NetworkLocalRateLimitSchema,
  OriginalSrcSchema,
  ProxyProtocolSchema,
  SniClusterSchema,
];
