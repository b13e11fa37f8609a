import { X509Certificate } from 'node:crypto';
import { create, toJsonString } from '@bufbuild/protobuf';
import { durationFromMs, timestampFromMs } from '@bufbuild/protobuf/wkt';
import { xdsRegistry } from '@mizzen/xds-api';
import { CertificatesSchema } from '@mizzen/xds-api/envoy/admin/v3/certs';
import { ClustersSchema } from '@mizzen/xds-api/envoy/admin/v3/clusters';
import { ListenersSchema } from '@mizzen/xds-api/envoy/admin/v3/listeners';
import { MemorySchema } from '@mizzen/xds-api/envoy/admin/v3/memory';
import { SimpleMetric_Type } from '@mizzen/xds-api/envoy/admin/v3/metrics';
import { ServerInfo_State, ServerInfoSchema } from '@mizzen/xds-api/envoy/admin/v3/server_info';
import type { Bootstrap } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { type Address, AddressSchema } from '@mizzen/xds-api/envoy/config/core/v3/address';
import { RoutingPriority } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { HealthStatus } from '@mizzen/xds-api/envoy/config/core/v3/health_check';
import { RE2JS } from 're2js';
import type { LiveCluster } from '../cluster/cluster.ts';
import type { ClusterManager } from '../cluster/cluster-manager.ts';
import type { Endpoint } from '../cluster/endpoint.ts';
import { addressText } from '../config/values.ts';
import type { SocketAddress } from '../contract.ts';
import type { LiveListener } from '../listener/listener.ts';
import type { ListenerManager } from '../listener/listener-manager.ts';
import type { SecretStore } from '../tls/secret-store.ts';
import { parseSubjectAltNames } from '../tls/subject-alt-names.ts';
import type { ProxyResources } from '../xds/proxy-resources.ts';

const JSON_OPTIONS = { registry: xdsRegistry, useProtoFieldName: true, prettySpaces: 1 } as const;
const DAY_MS = 86_400_000;

interface ClusterSources {
  readonly clusters: ClusterManager;
  readonly resources: ProxyResources;
}

/** The clusters whose name a filter (RE2) is found in; undefined for a filter that does not compile. */
export function describeClusters(from: ClusterSources, options: { readonly isJson: boolean; readonly filter: string }): string | undefined {
  let clusters = [...from.clusters.all()];
  try {
    const pattern = options.filter === '' ? undefined : RE2JS.compile(options.filter);
    if (pattern !== undefined) clusters = clusters.filter(({ name }) => pattern.matcher(name).find());
  } catch {
    return undefined;
  }
  return options.isJson ? clustersJson(clusters, from.resources) : clustersText(clusters, from.resources);
}

/** As Envoy's /clusters prints them: one fact a line. */
function clustersText(clusters: readonly LiveCluster[], resources: ProxyResources): string {
  let text = '';
  for (const cluster of clusters) {
    const { name, config, limits } = cluster;
    const isStatic = resources.kinds.cluster.get(name)?.isStatic ?? false;
    text += `${name}::observability_name::${cluster.observabilityName}\n`;
    if (config.discovery.kind === 'eds') text += `${name}::eds_service_name::${config.discovery.serviceName}\n`;
    for (const [priority, of] of [
      ['default_priority', limits],
      ['high_priority', config.circuitBreakers.high.limits],
    ] as const) {
      text += `${name}::${priority}::max_connections::${of.maxConnections}\n`;
      text += `${name}::${priority}::max_pending_requests::${of.maxPendingRequests}\n`;
      text += `${name}::${priority}::max_requests::${of.maxRequests}\n`;
      text += `${name}::${priority}::max_retries::${of.maxRetries}\n`;
    }
    text += `${name}::added_via_api::${!isStatic}\n`;
    for (const { endpoint, locality, priority } of endpointsOf(cluster)) {
      const line = (fact: string, value: string | number | boolean): string => `${name}::${endpoint.addressText}::${fact}::${value}\n`;
      const [region = '', zone = '', subZone = ''] = locality.split('/');
      const { stats } = endpoint;
      const rates = cluster.outliers?.successRateOf(endpoint) ?? { external: -1, localOrigin: -1 };
      text +=
        line('cx_active', stats.connectionsActive) +
        line('cx_connect_fail', stats.connectFailures) +
        line('cx_total', stats.connectionsTotal);
      text +=
        line('rq_active', endpoint.activeRequests) +
        line('rq_error', stats.requestsError) +
        line('rq_success', stats.requestsSuccess) +
        line('rq_timeout', stats.requestsTimeout) +
        line('rq_total', stats.requestsTotal);
      text += line('hostname', endpoint.hostname) + line('health_flags', healthFlags(endpoint)) + line('weight', endpoint.weight);
      text += line('region', region) + line('zone', zone) + line('sub_zone', subZone) + line('canary', false) + line('priority', priority);
      text += line('success_rate', rates.external) + line('local_origin_success_rate', rates.localOrigin);
    }
  }
  return text;
}

function clustersJson(clusters: readonly LiveCluster[], resources: ProxyResources): string {
  const clusterStatuses = clusters.map((cluster) => ({
    name: cluster.name,
    observabilityName: cluster.observabilityName,
    edsServiceName: cluster.config.discovery.kind === 'eds' ? cluster.config.discovery.serviceName : '',
    addedViaApi: !(resources.kinds.cluster.get(cluster.name)?.isStatic ?? false),
    circuitBreakers: {
      thresholds: [
        thresholds(cluster.limits),
        { ...thresholds(cluster.config.circuitBreakers.high.limits), priority: RoutingPriority.HIGH },
      ],
    },
    hostStatuses: endpointsOf(cluster).map(({ endpoint, locality, priority }) => {
      const [region = '', zone = '', subZone = ''] = locality.split('/');
      return {
        address: addressMessage(endpoint.address),
        stats: hostStats(endpoint),
        healthStatus: {
          edsHealthStatus: { healthy: HealthStatus.HEALTHY, degraded: HealthStatus.DEGRADED, unhealthy: HealthStatus.UNHEALTHY }[
            endpoint.health
          ],
          failedOutlierCheck: endpoint.isEjected,
          failedActiveHealthCheck: endpoint.checkResult === 'unhealthy' || endpoint.checkResult === 'pending',
          pendingActiveHc: endpoint.checkResult === 'pending',
          failedActiveDegradedCheck: endpoint.checkResult === 'degraded',
        },
        weight: endpoint.weight,
        hostname: endpoint.hostname,
        priority,
        locality: { region, zone, subZone },
      };
    }),
  }));
  return toJsonString(ClustersSchema, create(ClustersSchema, { clusterStatuses }), JSON_OPTIONS);
}

function thresholds({ maxConnections, maxPendingRequests, maxRequests, maxRetries }: LiveCluster['limits']) {
  return { maxConnections, maxPendingRequests, maxRequests, maxRetries };
}

function endpointsOf(cluster: LiveCluster): readonly { endpoint: Endpoint; locality: string; priority: number }[] {
  return cluster.localities.flatMap(({ endpoints, locality, priority }) => endpoints.map((endpoint) => ({ endpoint, locality, priority })));
}

function healthFlags(endpoint: Endpoint): string {
  const { checkResult } = endpoint;
  const flags = [
    checkResult === 'unhealthy' || checkResult === 'pending' ? '/failed_active_hc' : '',
    endpoint.isEjected ? '/failed_outlier_check' : '',
    endpoint.health === 'unhealthy' ? '/failed_eds_health' : '',
    checkResult === 'degraded' ? '/degraded_active_hc' : '',
    endpoint.health === 'degraded' ? '/degraded_eds_health' : '',
    checkResult === 'pending' ? '/pending_active_hc' : '',
  ];
  return flags.join('') || 'healthy';
}

function hostStats(endpoint: Endpoint) {
  const { stats } = endpoint;
  const counter = (name: string, value: number) => ({ name, value: BigInt(value), type: SimpleMetric_Type.COUNTER });
  const gauge = (name: string, value: number) => ({ name, value: BigInt(value), type: SimpleMetric_Type.GAUGE });
  return [
    counter('cx_connect_fail', stats.connectFailures),
    counter('cx_total', stats.connectionsTotal),
    counter('rq_error', stats.requestsError),
    counter('rq_success', stats.requestsSuccess),
    counter('rq_timeout', stats.requestsTimeout),
    counter('rq_total', stats.requestsTotal),
    gauge('cx_active', stats.connectionsActive),
    gauge('rq_active', endpoint.activeRequests),
  ];
}

function addressMessage(address: SocketAddress): Address {
  if (address.kind === 'pipe') return create(AddressSchema, { address: { case: 'pipe', value: { path: address.path } } });
  return create(AddressSchema, {
    address: { case: 'socketAddress', value: { address: address.host, portSpecifier: { case: 'portValue', value: address.port } } },
  });
}

export function listenersText(from: { readonly listeners: ListenerManager }): string {
  return from.listeners
    .list()
    .map(({ name, live }) => {
      const address = shownAddress(live);
      return `${name}::${address === undefined ? `envoy://${name}/` : addressText(address)}\n`;
    })
    .join('');
}

/** One that is not bound shows the address that it is handed connections for. */
function shownAddress(live: LiveListener): SocketAddress | undefined {
  return live.address ?? live.version?.config.addresses[0];
}

export function listenersJson(from: { readonly listeners: ListenerManager }): string {
  const listenerStatuses = from.listeners
    .list()
    .map(({ name, live }) => ({ name, address: shownAddress(live) }))
    .map(({ name, address }) => ({ name, ...(address === undefined ? {} : { localAddress: addressMessage(address) }) }));
  return toJsonString(ListenersSchema, create(ListenersSchema, { listenerStatuses }), JSON_OPTIONS);
}

export function certsJson(from: { readonly secrets: SecretStore }): string {
  const certificates = from.secrets.entries().map(({ name, content }) => {
    const pem = content.kind === 'keyPair' ? content.keyPair.chain : content.trust.roots;
    const details = certificateDetails(pem ?? '', name);
    return content.kind === 'keyPair' ? { certChain: details } : { caCert: details };
  });
  return toJsonString(CertificatesSchema, create(CertificatesSchema, { certificates }), JSON_OPTIONS);
}

function certificateDetails(pem: string, path: string) {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => {
    const certificate = new X509Certificate(block);
    const names = parseSubjectAltNames(certificate.subjectAltName);
    return {
      path,
      serialNumber: certificate.serialNumber.toLowerCase(),
      subjectAltNames: [
        ...names.uris.map((uri) => ({ name: { case: 'uri' as const, value: uri } })),
        ...names.dns.map((dns) => ({ name: { case: 'dns' as const, value: dns } })),
        ...names.ips.map((ip) => ({ name: { case: 'ipAddress' as const, value: ip } })),
      ],
      daysUntilExpiration: BigInt(Math.max(0, Math.floor((Date.parse(certificate.validTo) - Date.now()) / DAY_MS))),
      validFrom: timestampFromMs(Date.parse(certificate.validFrom)),
      expirationTime: timestampFromMs(Date.parse(certificate.validTo)),
    };
  });
}

export function serverInfoJson(from: {
  readonly bootstrap: Bootstrap;
  readonly version: string;
  readonly state: () => keyof typeof ServerInfo_State | string;
  readonly startedMs: number;
  readonly firstStartedMs?: number | undefined;
  readonly clock: { now(): number };
  readonly hotRestartVersion: string;
  readonly logger: { readonly level: string };
  readonly drainTimeMs: number;
}): string {
  const uptime = durationFromMs(from.clock.now() - from.startedMs);
  const info = create(ServerInfoSchema, {
    version: `${from.version}/Clean/RELEASE/mizzen`,
    state:
      { LIVE: ServerInfo_State.LIVE, DRAINING: ServerInfo_State.DRAINING, INITIALIZING: ServerInfo_State.INITIALIZING }[from.state()] ??
      ServerInfo_State.PRE_INITIALIZING,
    uptimeCurrentEpoch: uptime,
    uptimeAllEpochs: durationFromMs(from.clock.now() - (from.firstStartedMs ?? from.startedMs)),
    hotRestartVersion: from.hotRestartVersion,
    commandLineOptions: {
      logLevel: from.logger.level,
      drainTime: durationFromMs(from.drainTimeMs),
      disableHotRestart: from.hotRestartVersion === 'disabled',
      serviceNode: from.bootstrap.node?.id ?? '',
      serviceCluster: from.bootstrap.node?.cluster ?? '',
    },
    ...(from.bootstrap.node === undefined ? {} : { node: from.bootstrap.node }),
  });
  return toJsonString(ServerInfoSchema, info, { ...JSON_OPTIONS, alwaysEmitImplicit: true });
}

export function memoryJson(): string {
  const { heapUsed, heapTotal, rss } = process.memoryUsage();
  return toJsonString(
    MemorySchema,
    create(MemorySchema, { allocated: BigInt(heapUsed), heapSize: BigInt(heapTotal), totalPhysicalBytes: BigInt(rss) }),
    { ...JSON_OPTIONS, alwaysEmitImplicit: true },
  );
}
