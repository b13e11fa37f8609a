import type { Resource } from '@mizzen/mesh-api';
import type { AllocatedAddress } from './address-allocation.ts';
import { type DestinationRuleConfig, findDestinationRule } from './destination-rule.ts';
import type { GatewayConfig } from './gateway.ts';
import { HostIndex, hostsOverlap, isHostWithin, resolveShortName } from './host.ts';
import { type Labels, selects } from './labels.ts';
import type { MeshSnapshot } from './mesh-snapshot.ts';
import { type Protocol, parseProtocol } from './protocol.ts';
import type { ClientKind, IpFamily, ProxyType } from './proxy-node.ts';
import { type RateLimitService, rateLimitService } from './rate-limit.ts';
import { isOfKubernetes, type Service } from './service.ts';
import { MESH_GATEWAY, type VirtualServiceConfig } from './virtual-service.ts';
import { isVisibleIn } from './visibility.ts';

/** A listener that a Sidecar asks for by `egress[].port`. Captured: it takes what the network leads to the port, and binds nothing. */
export interface EgressListener {
  readonly port: number;
  readonly protocol: Protocol;
  readonly bind: string;
  readonly isCaptured: boolean;
  readonly services: readonly Service[];
  readonly virtualServices: readonly VirtualServiceConfig[];
}

/**
 * Everything that proxies may call, and how. One object for all proxies that may see the same: same namespace, same Sidecar, same answer
 * to every selector that looks at the client. What is made from it can be shared between them.
 */
export interface OutboundScope {
  /** Equal keys, equal scopes (of one snapshot). */
  readonly key: string;
  readonly type: ProxyType;
  readonly client: ClientKind;
  /** The network leads connections to the proxy; otherwise applications name it (explicit proxy, listeners of their own). */
  readonly isCaptured: boolean;
  readonly ipFamily: IpFamily;
  readonly hasDnsCapture: boolean;
  readonly namespace: string;
  readonly domain: string;
  /** Labels of one of the proxies; only what the selectors that made the key ask for may be read from them. */
  readonly labels: Labels;
  readonly mesh: MeshSnapshot['mesh'];
  /** All services that have clusters, by host. */
  readonly services: readonly Service[];
  readonly servicesByHost: ReadonlyMap<string, Service>;
  /** Services of the listeners without a port of their own: the explicit proxy, and capture. */
  readonly defaultServices: readonly Service[];
  /** For the `mesh` gateway; the oldest where hosts are equal. */
  readonly virtualServices: HostIndex<VirtualServiceConfig>;
  readonly egressListeners: readonly EgressListener[];
  readonly isRegistryOnly: boolean;
  readonly identitiesOf: (service: Service) => readonly string[];
  /** Addresses (and CIDR ranges) that mean the service to these proxies: its own, or those that only the mesh knows. */
  readonly addressesOf: (service: Service) => readonly string[];
  /** Of a service whose clients choose the endpoint: all of them serve the mesh's mutual TLS at the port. */
  readonly isMutual: (service: Service, port: number) => boolean;
  readonly destinationRule: (host: string) => DestinationRuleConfig | undefined;
  /** Routers only: the Gateways served, oldest first, and the VirtualServices bound to each, by the Gateway's key. */
  readonly gateways: readonly GatewayConfig[];
  readonly virtualServicesByGateway: ReadonlyMap<string, readonly VirtualServiceConfig[]>;
  /** Routers only: the limits that their routes are to name. */
  readonly rateLimits: readonly Resource<'RateLimit'>[];
  /** Who counts for the whole mesh, where these proxies ask it; its cluster is there whatever a Sidecar lets in. */
  readonly rateLimitService: RateLimitService | undefined;
}

export interface ScopeQuery {
  readonly key: string;
  readonly type: ProxyType;
  readonly client: ClientKind;
  readonly isCaptured: boolean;
  readonly ipFamily: IpFamily;
  readonly hasDnsCapture: boolean;
  readonly namespace: string;
  readonly labels: Labels;
  readonly sidecar: Resource<'Sidecar'> | undefined;
  readonly gateways: readonly GatewayConfig[];
  readonly rateLimits: readonly Resource<'RateLimit'>[];
  readonly asksRateLimitService: boolean;
}

/** Builds the scope. Cost: one pass over the services and VirtualServices of the mesh. */
export function buildOutboundScope(snapshot: MeshSnapshot, query: ScopeQuery): OutboundScope {
  const { namespace } = query;
  const visible = visibleServices(snapshot, namespace);
  const meshRoutes = snapshot.virtualServices.filter(
    (virtualService) => virtualService.gateways.includes(MESH_GATEWAY) && isVisibleIn(virtualService.visibility, namespace),
  );
  const egress = query.type === 'sidecar' ? (query.sidecar?.spec.egress ?? []) : [];
  const imports = egress.map((listener) =>
    importHosts(listener, { namespace, visible, virtualServices: meshRoutes, domain: snapshot.domain }),
  );
  const open =
    egress.length === 0
      ? { services: visible, virtualServices: meshRoutes }
      : union(imports.filter((_, index) => egress[index]?.port === undefined));
  const egressListeners = egress.flatMap((listener, index) => egressListener(listener, imports[index], query.isCaptured) ?? []);
  const limiter = query.asksRateLimitService ? rateLimitService(snapshot) : undefined;
  const imported = egress.length === 0 ? visible : union(imports).services;
  const services = withHost(imported, { host: limiter?.host, visible });
  const servicesByHost = new Map(services.map((service) => [service.host, service]));
  const rules = new Map<string, DestinationRuleConfig | undefined>();
  const { endpoints } = snapshot;
  return {
    ...query,
    domain: snapshot.domain,
    mesh: snapshot.mesh,
    services,
    servicesByHost,
    defaultServices: open.services,
    virtualServices: indexByHost(open.virtualServices),
    egressListeners,
    isRegistryOnly: isRegistryOnly(snapshot, query),
    identitiesOf: (service) => endpoints.get(service)?.identities ?? [],
    addressesOf: (service) => serviceAddresses(service, snapshot.allocatedAddresses.get(service), query),
    isMutual: (service, port) => endpoints.get(service)?.mutualPorts.includes(port) ?? false,
    destinationRule: (host) => {
      if (!rules.has(host)) {
        const serviceNamespace = servicesByHost.get(host)?.namespace;
        rules.set(
          host,
          findDestinationRule(snapshot.destinationRules, {
            host,
            serviceNamespace,
            clientNamespace: namespace,
            clientLabels: query.labels,
          }),
        );
      }
      return rules.get(host);
    },
    virtualServicesByGateway: gatewayRoutes(snapshot, query),
    rateLimitService: limiter,
  };
}

/** With the service of that host, where there is one. */
function withHost(services: readonly Service[], wanted: { host: string | undefined; visible: readonly Service[] }): readonly Service[] {
  const { host, visible } = wanted;
  if (host === undefined || services.some((service) => service.host === host)) return services;
  const found = visible.filter((service) => service.host === host);
  return found.length === 0 ? services : [...services, ...found].sort((a, b) => (a.host < b.host ? -1 : 1));
}

/** An egress proxy is not supported yet: what is to leave through it only must not leave past it. */
function isRegistryOnly({ mesh }: MeshSnapshot, { sidecar }: ScopeQuery): boolean {
  const own = sidecar?.spec.outboundTrafficPolicy;
  return own?.egressProxy !== undefined || (own?.mode ?? mesh.outboundTrafficPolicy?.mode) === 'REGISTRY_ONLY';
}

/** Source: istio pilot/pkg/model/service.go getAllAddressesForProxy (1.32 dev). */
function serviceAddresses(
  service: Service,
  allocated: AllocatedAddress | undefined,
  { ipFamily, hasDnsCapture }: Pick<ScopeQuery, 'ipFamily' | 'hasDnsCapture'>,
): readonly string[] {
  if (allocated !== undefined && hasDnsCapture)
    return [...(ipFamily === 'ipv6' ? [] : [allocated.ipv4]), ...(ipFamily === 'ipv4' ? [] : [allocated.ipv6])];
  // What somebody wrote into a ServiceEntry is meant as it stands.
  if (!isOfKubernetes(service) || ipFamily === 'dual') return service.addresses;
  return service.addresses.filter((address) => address.includes(':') === (ipFamily === 'ipv6'));
}

/** One service per host, by host: Kubernetes' before that of the client's own namespace before the oldest. */
function visibleServices(snapshot: MeshSnapshot, namespace: string): Service[] {
  const services: Service[] = [];
  for (const sameHost of snapshot.services.values()) {
    const visible = sameHost.length === 1 ? sameHost : sameHost.filter((service) => isVisibleIn(service.visibility, namespace));
    const [first] = visible;
    const isOwned = first !== undefined && isOfKubernetes(first);
    const service = isOwned ? first : (visible.find((candidate) => candidate.namespace === namespace) ?? first);
    if (service !== undefined && isVisibleIn(service.visibility, namespace)) services.push(service);
  }
  return services;
}

export function indexByHost(virtualServices: readonly VirtualServiceConfig[]): HostIndex<VirtualServiceConfig> {
  const index = new HostIndex<VirtualServiceConfig>();
  for (const virtualService of virtualServices) for (const host of virtualService.hosts) index.add(host, virtualService);
  return index;
}

type Egress = NonNullable<Resource<'Sidecar'>['spec']['egress']>[number];

interface Imported {
  readonly services: readonly Service[];
  readonly virtualServices: readonly VirtualServiceConfig[];
}

interface ImportContext {
  readonly namespace: string;
  readonly visible: readonly Service[];
  readonly virtualServices: readonly VirtualServiceConfig[];
  readonly domain: string;
}

/**
 * What a Sidecar's egress hosts let in; services that an imported VirtualService leads to come with it. A `~` prefix takes out again.
 * Source: istio pilot/pkg/model/sidecar.go convertIstioListenerToWrapper, selectServices (1.32 dev).
 */
function importHosts(listener: Egress, context: ImportContext): Imported {
  const patterns = (listener.hosts ?? []).map((text) => parseEgressHost(text, context));
  const letsIn = (namespace: string, host: string, covers: (host: string, pattern: string) => boolean): boolean => {
    const matching = patterns.filter(
      (pattern) => (pattern.namespace === '*' || pattern.namespace === namespace) && covers(host, pattern.host),
    );
    return matching.length > 0 && !matching.some((pattern) => pattern.isExclusion);
  };
  const virtualServices = context.virtualServices.filter((virtualService) =>
    virtualService.hosts.some((host) => letsIn(virtualService.namespace, host, hostsOverlap)),
  );
  const services = new Set(context.visible.filter((service) => letsIn(service.namespace, service.host, isHostWithin)));
  const destinations = new Set(virtualServices.flatMap((virtualService) => destinationHosts(virtualService, context.domain)));
  for (const service of context.visible) if (destinations.has(service.host)) services.add(service);
  return { services: context.visible.filter((service) => services.has(service)), virtualServices };
}

function parseEgressHost(text: string, context: ImportContext): { namespace: string; host: string; isExclusion: boolean } {
  const isExclusion = text.startsWith('~') && !text.startsWith('~/');
  const [written = '', host = ''] = (isExclusion ? text.slice(1) : text).split('/');
  const namespace = written === '.' ? context.namespace : written;
  return { namespace, host: resolveShortName(host, { namespace: context.namespace, domain: context.domain }), isExclusion };
}

/** Every host that a VirtualService leads to. */
function destinationHosts(virtualService: VirtualServiceConfig, domain: string): string[] {
  const written = [
    ...virtualService.http.flatMap((rule) => [
      ...(rule.route ?? []).map(({ destination }) => destination.host),
      ...(rule.mirror ? [rule.mirror.host] : []),
      ...(rule.mirrors ?? []).map(({ destination }) => destination.host),
    ]),
    ...[...virtualService.tcp, ...virtualService.tls].flatMap((rule) => (rule.route ?? []).map(({ destination }) => destination.host)),
  ];
  return written.map((host) => resolveShortName(host, { namespace: virtualService.namespace, domain }));
}

function union(imports: readonly Imported[]): Imported {
  const services = new Set(imports.flatMap((imported) => imported.services));
  const virtualServices = new Set(imports.flatMap((imported) => imported.virtualServices));
  return { services: [...services].sort((a, b) => (a.host < b.host ? -1 : 1)), virtualServices: [...virtualServices] };
}

function egressListener(listener: Egress, imported: Imported | undefined, isCapturedByDefault: boolean): EgressListener | undefined {
  if (listener.port?.number === undefined || imported === undefined) return undefined;
  return {
    port: listener.port.number,
    protocol: parseProtocol(listener.port.protocol),
    bind: listener.bind ?? '',
    isCaptured: isCapturedListener(listener, isCapturedByDefault),
    ...imported,
  };
}

// A socket is nothing that the network could lead to. Source: istio listener.go buildSidecarOutboundListeners (1.32 dev).
function isCapturedListener({ captureMode, bind }: Egress, isCapturedByDefault: boolean): boolean {
  if (bind?.startsWith('unix://')) return false;
  return captureMode === 'IPTABLES' || (captureMode !== 'NONE' && isCapturedByDefault);
}

function gatewayRoutes(snapshot: MeshSnapshot, query: ScopeQuery): ReadonlyMap<string, readonly VirtualServiceConfig[]> {
  return new Map(
    query.gateways.map((gateway) => [
      gateway.key,
      snapshot.virtualServices.filter(
        (virtualService) => virtualService.gateways.includes(gateway.key) && isVisibleIn(virtualService.visibility, query.namespace),
      ),
    ]),
  );
}

/** Whether a match applies to the proxies of this scope: its `sourceLabels` and `sourceNamespace` are theirs. */
export function matchesSource(scope: OutboundScope, match: { sourceLabels?: Labels; sourceNamespace?: string }): boolean {
  if (match.sourceNamespace !== undefined && match.sourceNamespace !== '' && match.sourceNamespace !== scope.namespace) return false;
  return selects(match.sourceLabels, scope.labels);
}
