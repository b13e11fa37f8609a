import { ClusterConfigSchema as AggregateClusterConfigSchema } from '@mizzen/xds-api/envoy/extensions/clusters/aggregate/v3/cluster';
import { ClusterConfigSchema as DynamicForwardProxyClusterSchema } from '@mizzen/xds-api/envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster';
import { ClusterProvidedSchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/cluster_provided/v3/cluster_provided';
import { LeastRequestSchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/least_request/v3/least_request';
import { MaglevSchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/maglev/v3/maglev';
import { PickFirstSchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/pick_first/v3/pick_first';
import { RandomSchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/random/v3/random';
import { RingHashSchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash';
import { RoundRobinSchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin';
import { SubsetSchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/subset/v3/subset';
import { WrrLocalitySchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality';
import { CaresDnsResolverConfigSchema } from '@mizzen/xds-api/envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver';
import { GetAddrInfoDnsResolverConfigSchema } from '@mizzen/xds-api/envoy/extensions/network/dns_resolver/getaddrinfo/v3/getaddrinfo_dns_resolver';
import { ProxyProtocolUpstreamTransportSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol';

/** Messages that stand in an Any of a cluster. */
export const CLUSTER_MESSAGES = [
  CaresDnsResolverConfigSchema,
  GetAddrInfoDnsResolverConfigSchema,
  DynamicForwardProxyClusterSchema,
  AggregateClusterConfigSchema,
  ClusterProvidedSchema,
  LeastRequestSchema,
  MaglevSchema,
  PickFirstSchema,
  ProxyProtocolUpstreamTransportSchema,
  RandomSchema,
  RingHashSchema,
  RoundRobinSchema,
  SubsetSchema,
  WrrLocalitySchema,
] as const;
