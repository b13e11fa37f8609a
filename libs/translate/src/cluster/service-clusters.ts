import {
  type ClientKind,
  type DestinationRuleConfig,
  type Endpoint,
  hasEndpointsInCluster,
  type IpFamily,
  isHttp,
  isOfKubernetes,
  type OutboundScope,
  type Service,
  type ServiceEndpoints,
  type ServicePort,
  type Subset,
  selects,
} from '@mizzen/model';
import { Cluster_DiscoveryType, Cluster_DnsLookupFamily, ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { loadAssignment } from '../endpoint/load-assignment.ts';
import { IdentityMemo } from '../memo.ts';
import { ADS_SOURCE, duration, type Init, parseDuration } from '../messages.ts';
import { METADATA_EXCHANGE, metadataExchange } from '../metadata-exchange.ts';
import { configPath, outboundClusterName } from '../names.ts';
import { encodeResource, type TranslatedResource } from '../result.ts';
import { connectionPoolFields } from './connection-pool.ts';
import { isPassthrough, loadBalancerFields, originalDestinationFields } from './load-balancer.ts';
import { outlierDetectionFields } from './outlier-detection.ts';
import { type PortPolicy, policyFor } from './traffic-policy.ts';
import { upstreamTlsFields } from './upstream-tls.ts';

type ClusterInit = Init<typeof ClusterSchema>;

const DEFAULT_DNS_REFRESH_MS = 60_000;
const translated = new IdentityMemo<Map<string, readonly TranslatedResource[]>>();

interface ClusterContext {
  readonly service: Service;
  readonly rule: DestinationRuleConfig | undefined;
  readonly mesh: OutboundScope['mesh'];
  readonly client: ClientKind;
  readonly isCaptured: boolean;
  readonly ipFamily: IpFamily;
  /** Connections go to the address that the client wanted. */
  readonly isPassthrough: boolean;
  readonly identities: readonly string[];
  /** Ports of a service whose clients choose the endpoint, where all endpoints serve mutual TLS. */
  readonly mutualPorts: readonly number[];
  /** Only for services whose endpoints stand in the cluster. */
  readonly endpoints: ServiceEndpoints | undefined;
}

/** The clusters of a service: one for each port, and one for each port of each subset. Made once for the same inputs. */
export function serviceClusters(
  scope: OutboundScope,
  service: Service,
  endpoints: ServiceEndpoints | undefined,
): readonly TranslatedResource[] {
  const { mesh, client, isCaptured, ipFamily } = scope;
  const isPassthroughService = isWantedAddressUsed(scope, service);
  const rule = scope.destinationRule(service.host);
  const identities = scope.identitiesOf(service);
  const context: ClusterContext = {
    service,
    rule,
    mesh,
    client,
    isCaptured,
    ipFamily,
    isPassthrough: isPassthroughService,
    identities,
    mutualPorts: isPassthroughService ? service.ports.map(({ number }) => number).filter((port) => scope.isMutual(service, port)) : [],
    endpoints: hasEndpointsInCluster(service) ? endpoints : undefined,
  };
  const variants = translated.get([service, rule, mesh, identities, context.endpoints], () => new Map());
  const variant = `${client} ${isCaptured} ${ipFamily} ${isPassthroughService} ${context.mutualPorts.join()}`;
  let resources = variants.get(variant);
  if (resources === undefined) {
    resources = service.ports
      .filter((port) => port.protocol !== 'udp')
      .flatMap((port) => [undefined, ...(rule?.subsets ?? [])].map((subset) => cluster(context, port, subset)));
    variants.set(variant, resources);
  }
  return resources;
}

function cluster(context: ClusterContext, port: ServicePort, subset: Subset | undefined): TranslatedResource {
  const { service, rule, mesh, client } = context;
  const policy = policyFor(rule, port.number, subset);
  const { protocol } = port;
  const name = outboundClusterName({ host: service.host, port: port.number, subset: subset?.name });
  return encodeResource(ClusterSchema, name, {
    name,
    ...connectionPoolFields(policy.connectionPool, {
      protocol,
      meshConnectTimeout: mesh.connectTimeout,
      isCaptured: context.isCaptured,
    }),
    ...loadBalancerFields(policy),
    ...discoveryFields(context, { name, port, subset, policy }),
    ...outlierDetectionFields(policy.outlierDetection),
    ...upstreamTlsFields(policy.tls, {
      service,
      port: port.number,
      subset: subset?.name,
      protocol,
      client,
      identities: context.identities,
      isAutoMtls: mesh.enableAutoMtls ?? true,
      isPassthrough: context.isPassthrough,
      isMutual: context.mutualPorts.includes(port.number),
    }),
    // HTTP tells by headers.
    ...(client === 'mizzen' && !isHttp(protocol) && { filters: [{ name: METADATA_EXCHANGE, typedConfig: metadataExchange() }] }),
    metadata: { filterMetadata: { istio: clusterMetadata(context, subset) } },
  });
}

interface ClusterTarget {
  readonly name: string;
  readonly port: ServicePort;
  readonly subset: Subset | undefined;
  readonly policy: PortPolicy;
}

function discoveryFields(context: ClusterContext, target: ClusterTarget): ClusterInit {
  const { service } = context;
  if (context.isPassthrough || isPassthrough(target.policy))
    return originalDestinationFields(context.isCaptured, passthroughPort(service, target.port));
  if (!hasEndpointsInCluster(service)) {
    return {
      clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.EDS },
      edsClusterConfig: { edsConfig: ADS_SOURCE, serviceName: target.name },
    };
  }
  const endpoints = inlineEndpoints(context, target);
  // Envoy's LOGICAL_DNS takes exactly one name.
  const isLogical = service.resolution === 'dns-round-robin' && endpoints.length === 1;
  return {
    clusterDiscoveryType: { case: 'type', value: isLogical ? Cluster_DiscoveryType.LOGICAL_DNS : Cluster_DiscoveryType.STRICT_DNS },
    dnsLookupFamily: context.ipFamily === 'ipv6' ? Cluster_DnsLookupFamily.V6_ONLY : Cluster_DnsLookupFamily.V4_ONLY,
    dnsRefreshRate: duration(parseDuration(context.mesh.dnsRefreshRate) ?? DEFAULT_DNS_REFRESH_MS),
    respectDnsTtl: true,
    loadAssignment: loadAssignment(target.name, endpoints, ''),
  };
}

/**
 * The clients of a gateway want the gateway's own address: it balances over the endpoints of headless services.
 * Source: istio pilot/pkg/networking/core/cluster.go convertResolution (1.32 dev).
 */
function isWantedAddressUsed({ type }: OutboundScope, service: Service): boolean {
  const hasEndpoints = isOfKubernetes(service) || service.workloadSelector !== undefined;
  return service.resolution === 'passthrough' && !(type === 'router' && hasEndpoints);
}

// Source: istio pilot/pkg/model/service.go PassthroughTargetPorts (1.32 dev).
function passthroughPort(service: Service, { number, targetPort }: ServicePort): number | undefined {
  return isOfKubernetes(service) || targetPort === number ? undefined : targetPort;
}

// A Unix socket has no name to look up.
function inlineEndpoints(context: ClusterContext, { port, subset }: ClusterTarget): Endpoint[] {
  const all = context.endpoints?.byPort.get(port.number) ?? [];
  return all.filter((endpoint) => !endpoint.address.startsWith('unix://') && selects(subset?.labels, endpoint.labels));
}

/** What telemetry and people read from a cluster. Source: istio pilot/pkg/networking/util/util.go AddSubsetToMetadata, BuildConfigInfoMetadata (1.32 dev). */
function clusterMetadata({ service, rule }: ClusterContext, subset: Subset | undefined) {
  const [source] = rule?.sources ?? [];
  return {
    ...(source && { config: configPath('destination-rule', source.metadata) }),
    ...(service.isExternal && { external: true }),
    services: [{ host: service.host, name: service.name, namespace: service.namespace }],
    ...(subset && { subset: subset.name }),
  };
}
