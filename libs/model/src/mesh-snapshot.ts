import type { Kind, MeshConfig, Resource } from '@mizzen/mesh-api';
import { type AllocatedAddress, allocateAddresses } from './address-allocation.ts';
import { byAge, compareText, Derived } from './age.ts';
import { buildDestinationRuleIndex, type DestinationRuleIndex } from './destination-rule.ts';
import { buildEndpoints, type EndpointContext, type ServiceEndpoints } from './endpoints.ts';
import { buildGateways, type GatewayConfig } from './gateway.ts';
import { selects } from './labels.ts';
import type { OutboundScope } from './outbound-scope.ts';
import { buildPeerAuthenticationIndex, type PeerAuthenticationIndex } from './peer-authentication.ts';
import { buildRateLimitIndex, type RateLimitIndex } from './rate-limit.ts';
import { isHeadless, isOfKubernetes, type Service } from './service.ts';
import { servicesFromEntry } from './service-entry.ts';
import { buildVirtualServices, type VirtualServiceConfig } from './virtual-service.ts';
import { type Workload, workloadFromEntry } from './workload.ts';
import { WorkloadIndex } from './workload-index.ts';

/** Everything that a snapshot is made from. */
export interface MeshInputs {
  readonly mesh: MeshConfig;
  /** All resources of the configuration, in any order. */
  readonly resources: readonly Resource[];
  /** Services of other registries than ServiceEntry. */
  readonly services?: readonly Service[];
  /** Workloads that are not among the resources' WorkloadEntries: registered proxies, pods. */
  readonly workloads?: readonly Workload[];
  /** DNS domain of the mesh. Default `cluster.local`. */
  readonly domain?: string;
}

/**
 * The whole mesh at one moment: immutable and indexed. Objects that did not change are the same objects as in the snapshot before,
 * which is what everything further down caches by.
 */
export interface MeshSnapshot {
  /** Counts snapshots, from 1. */
  readonly revision: number;
  readonly mesh: MeshConfig;
  readonly domain: string;
  readonly rootNamespace: string;
  /** By host; several may have the same: those of Kubernetes first, then the oldest. */
  readonly services: ReadonlyMap<string, readonly Service[]>;
  /** Services that select workloads, by namespace, oldest first. */
  readonly selectingServices: ReadonlyMap<string, readonly Service[]>;
  /** Addresses of services that have none of their own. */
  readonly allocatedAddresses: ReadonlyMap<Service, AllocatedAddress>;
  readonly endpoints: ReadonlyMap<Service, ServiceEndpoints>;
  /** Oldest first. */
  readonly virtualServices: readonly VirtualServiceConfig[];
  readonly destinationRules: DestinationRuleIndex;
  readonly gateways: readonly GatewayConfig[];
  /** By namespace, oldest first. */
  readonly sidecars: ReadonlyMap<string, readonly Resource<'Sidecar'>[]>;
  readonly peerAuthentications: PeerAuthenticationIndex;
  readonly rateLimits: RateLimitIndex;
  /** By `namespace/name`. */
  readonly workloadGroups: ReadonlyMap<string, Resource<'WorkloadGroup'>>;
  readonly resources: readonly Resource[];
  /** What the short cut for workloads starts from. */
  readonly workloads: {
    readonly declared: readonly Workload[];
    readonly registered: readonly Workload[];
    readonly context: EndpointContext;
    /** Services whose endpoints count as those of another one of the same host and namespace, with itself first. */
    readonly contributors: ReadonlyMap<Service, readonly Service[]>;
  };
  /** Outbound scopes made from this snapshot so far; a cache, emptied where a scope could differ. */
  readonly scopes: Map<string, OutboundScope>;
}

/** What a change of workloads means for those who push. */
export interface WorkloadChange {
  readonly snapshot: MeshSnapshot;
  /** Hosts whose endpoints differ: their EDS resources are new. */
  readonly endpointHosts: ReadonlySet<string>;
  /**
   * Hosts whose clusters differ too: other service accounts (the SANs that clients check), endpoints that stand in the cluster (DNS), or
   * headless services that are all or not all mutual TLS now. Empty almost always.
   */
  readonly clusterHosts: ReadonlySet<string>;
  /** Headless hosts: the addresses of their endpoints stand in the name table, and in the listeners of captured proxies. */
  readonly headlessHosts: ReadonlySet<string>;
}

const servicesOf = new Derived<Resource<'ServiceEntry'>, readonly Service[]>();

/** Builds a snapshot. With `previous`, whatever did not change is taken over from it. */
export function buildMeshSnapshot(inputs: MeshInputs, previous?: MeshSnapshot): MeshSnapshot {
  const { mesh, resources } = inputs;
  const domain = inputs.domain ?? 'cluster.local';
  const rootNamespace = mesh.rootNamespace ?? 'istio-system';
  const services = indexServices(inputs, domain);
  const workloadGroups = new Map(
    ofKind(resources, 'WorkloadGroup').map((group) => [`${group.metadata.namespace}/${group.metadata.name}`, group]),
  );
  const context: EndpointContext = {
    trustDomains: [mesh.trustDomain ?? 'cluster.local', ...(mesh.trustDomainAliases ?? [])],
    peerAuthentications: buildPeerAuthenticationIndex(ofKind(resources, 'PeerAuthentication'), rootNamespace),
    groupPorts: new Map([...workloadGroups].map(([key, group]) => [key, group.spec.template?.ports ?? {}])),
  };
  const workloads = {
    declared: ofKind(resources, 'WorkloadEntry').map(workloadFromEntry),
    registered: inputs.workloads ?? [],
    context,
    contributors: findContributors(services),
  };
  const all = [...services.values()].flat();
  return {
    revision: (previous?.revision ?? 0) + 1,
    mesh,
    domain,
    rootNamespace,
    services,
    selectingServices: groupSelecting(all),
    allocatedAddresses: allocateAddresses(all),
    endpoints: buildAllEndpoints(services, workloads, previous?.endpoints),
    virtualServices: buildVirtualServices(ofKind(resources, 'VirtualService'), {
      domain,
      defaultExportTo: mesh.defaultVirtualServiceExportTo,
    }),
    destinationRules: buildDestinationRuleIndex(ofKind(resources, 'DestinationRule'), {
      domain,
      rootNamespace,
      defaultExportTo: mesh.defaultDestinationRuleExportTo,
    }),
    gateways: buildGateways(ofKind(resources, 'Gateway')),
    sidecars: groupByNamespace(byAge(ofKind(resources, 'Sidecar'))),
    peerAuthentications: context.peerAuthentications,
    rateLimits: buildRateLimitIndex(ofKind(resources, 'RateLimit'), rootNamespace),
    workloadGroups,
    resources,
    workloads,
    scopes: new Map(),
  };
}

/**
 * The short cut: other registered workloads, everything else as it was. Only services that select a workload which came, went or
 * changed are looked at.
 */
export function withWorkloads(snapshot: MeshSnapshot, registered: readonly Workload[]): WorkloadChange {
  const workloads = { ...snapshot.workloads, registered };
  const before = new Set(snapshot.workloads.registered);
  const after = new Set(registered);
  const changed = [...before].filter((workload) => !after.has(workload)).concat([...after].filter((workload) => !before.has(workload)));
  const endpoints = new Map(snapshot.endpoints);
  const hosts = { endpointHosts: new Set<string>(), clusterHosts: new Set<string>(), headlessHosts: new Set<string>() };
  if (changed.length > 0) {
    const index = new WorkloadIndex([...workloads.declared, ...registered]);
    const changedIndex = new WorkloadIndex(changed);
    for (const [service, old] of snapshot.endpoints) {
      const contributors = workloads.contributors.get(service) ?? [service];
      if (!contributors.some((contributor) => concerns(changedIndex, contributor))) continue;
      const fresh = keepEqual(buildEndpoints(service, contributors, { workloads: index, context: workloads.context }), old);
      if (fresh === old) continue;
      endpoints.set(service, fresh);
      hosts.endpointHosts.add(service.host);
      if (isHeadless(service)) hosts.headlessHosts.add(service.host);
      const isMutualChanged = service.resolution === 'passthrough' && fresh.mutualPorts !== old.mutualPorts;
      if (fresh.identities !== old.identities || isMutualChanged || hasEndpointsInCluster(service)) hosts.clusterHosts.add(service.host);
    }
  }
  const scopes = hosts.clusterHosts.size === 0 ? snapshot.scopes : new Map<string, OutboundScope>();
  return { snapshot: { ...snapshot, revision: snapshot.revision + 1, workloads, endpoints, scopes }, ...hosts };
}

function concerns(changed: WorkloadIndex, { endpointSource, host, namespace, workloadSelector }: Service): boolean {
  if (endpointSource === 'registry' && changed.membersOf(host).length > 0) return true;
  return workloadSelector !== undefined && changed.select(namespace, workloadSelector).length > 0;
}

/** The endpoints of the service stand in its cluster and do not come by EDS. */
export function hasEndpointsInCluster(service: Service): boolean {
  return service.resolution === 'dns' || service.resolution === 'dns-round-robin';
}

export function ofKind<K extends Kind>(resources: readonly Resource[], kind: K): Resource<K>[] {
  return resources.filter((resource) => resource.kind === kind) as unknown as Resource<K>[];
}

function indexServices(inputs: MeshInputs, domain: string): Map<string, Service[]> {
  const context = { domain, defaultExportTo: inputs.mesh.defaultServiceExportTo };
  const stamp = JSON.stringify([domain, context.defaultExportTo ?? null]);
  const fromEntries = ofKind(inputs.resources, 'ServiceEntry').flatMap((entry) =>
    servicesOf.of(entry, stamp, () => servicesFromEntry(entry, context)),
  );
  const all = [...(inputs.services ?? []), ...fromEntries].sort(
    (a, b) =>
      compareText(a.host, b.host) ||
      Number(isOfKubernetes(b)) - Number(isOfKubernetes(a)) ||
      compareText(a.createdAt, b.createdAt) ||
      compareText(a.namespace, b.namespace) ||
      compareText(a.source.name, b.source.name),
  );
  const byHost = new Map<string, Service[]>();
  for (const service of all) {
    const sameHost = byHost.get(service.host);
    if (sameHost === undefined) byHost.set(service.host, [service]);
    else sameHost.push(service);
  }
  return byHost;
}

/**
 * Of services of one host and namespace the first stands for all of them, with the endpoints of all.
 * Source: istio pilot/pkg/model/push_context.go initServiceRegistry (1.32 dev).
 */
function findContributors(services: ReadonlyMap<string, readonly Service[]>): Map<Service, readonly Service[]> {
  const contributors = new Map<Service, readonly Service[]>();
  for (const sameHost of services.values()) {
    if (sameHost.length === 1) continue;
    for (const service of sameHost) {
      const together = sameHost.filter(({ namespace }) => namespace === service.namespace);
      if (together.length > 1 && together[0] === service) contributors.set(service, together);
    }
  }
  return contributors;
}

function groupSelecting(services: readonly Service[]): Map<string, Service[]> {
  const groups = new Map<string, Service[]>();
  const byCreation = services
    .filter(({ workloadSelector }) => workloadSelector !== undefined)
    .sort((a, b) => compareText(a.createdAt, b.createdAt) || compareText(a.host, b.host));
  for (const service of byCreation) {
    const group = groups.get(service.namespace);
    if (group === undefined) groups.set(service.namespace, [service]);
    else group.push(service);
  }
  return groups;
}

function buildAllEndpoints(
  services: ReadonlyMap<string, readonly Service[]>,
  workloads: MeshSnapshot['workloads'],
  previous: ReadonlyMap<Service, ServiceEndpoints> | undefined,
): Map<Service, ServiceEndpoints> {
  const index = new WorkloadIndex([...workloads.declared, ...workloads.registered]);
  const endpoints = new Map<Service, ServiceEndpoints>();
  for (const sameHost of services.values()) {
    for (const service of sameHost) {
      const contributors = workloads.contributors.get(service) ?? [service];
      const fresh = buildEndpoints(service, contributors, { workloads: index, context: workloads.context });
      endpoints.set(service, keepEqual(fresh, previous?.get(service)));
    }
  }
  return endpoints;
}

/** The old object where nothing changed; otherwise the new one, with the old lists of identities and ports where those did not change. */
function keepEqual(fresh: ServiceEndpoints, old: ServiceEndpoints | undefined): ServiceEndpoints {
  if (old === undefined) return fresh;
  const identities = fresh.identities.join() === old.identities.join() ? old.identities : fresh.identities;
  const mutualPorts = fresh.mutualPorts.join() === old.mutualPorts.join() ? old.mutualPorts : fresh.mutualPorts;
  const isSame = identities === old.identities && JSON.stringify([...fresh.byPort]) === JSON.stringify([...old.byPort]);
  return isSame ? old : { byPort: fresh.byPort, identities, mutualPorts };
}

function groupByNamespace(sidecars: readonly Resource<'Sidecar'>[]): ReadonlyMap<string, readonly Resource<'Sidecar'>[]> {
  const groups = new Map<string, Resource<'Sidecar'>[]>();
  for (const sidecar of sidecars) groups.set(sidecar.metadata.namespace, [...(groups.get(sidecar.metadata.namespace) ?? []), sidecar]);
  return groups;
}

/**
 * The Sidecar that configures a workload: one that selects it before its namespace's default before the mesh's; the oldest of each.
 * Source: istio pilot/pkg/model/push_context.go getSidecarScope (1.32 dev).
 */
export function findSidecar(
  snapshot: MeshSnapshot,
  workload: { namespace: string; labels: Readonly<Record<string, string>> },
): Resource<'Sidecar'> | undefined {
  const own = snapshot.sidecars.get(workload.namespace) ?? [];
  const selector = (sidecar: Resource<'Sidecar'>) => sidecar.spec.workloadSelector?.labels;
  const hasSelector = (sidecar: Resource<'Sidecar'>) => Object.keys(selector(sidecar) ?? {}).length > 0;
  return (
    own.find((sidecar) => hasSelector(sidecar) && selects(selector(sidecar), workload.labels)) ??
    own.find((sidecar) => !hasSelector(sidecar)) ??
    (snapshot.sidecars.get(snapshot.rootNamespace) ?? []).find((sidecar) => !hasSelector(sidecar))
  );
}
