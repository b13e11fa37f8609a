import {
  type HostIndex,
  isHttp,
  type OutboundScope,
  type Protocol,
  type ProxyView,
  type Service,
  type ServicePort,
  type VirtualServiceConfig,
} from '@mizzen/model';
import { TrafficDirection } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import type { FilterChainSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { addressOf } from '../endpoint/load-assignment.ts';
import { TracedMemo } from '../memo.ts';
import { type Init, optionalDuration, ZERO_DURATION } from '../messages.ts';
import { encodeResource, type TranslatedResource } from '../result.ts';
import type { Read } from '../route/destinations.ts';
import { httpConnectionManager } from './http-connection-manager.ts';
import { PLAIN_HTTP_ALPN } from './inbound-chains.ts';
import { httpInspector, tlsInspector } from './listener-filters.ts';
import { type ServiceChain, serviceChains } from './service-chains.ts';
import { tcpFilters } from './tcp-filters.ts';
import { unknownDestinationFilters } from './virtual-outbound.ts';
import { wildcardAddresses } from './wildcards.ts';

type FilterChainInit = Init<typeof FilterChainSchema>;

/** A service at a listener. */
export interface PlannedService {
  readonly service: Service;
  /** Undefined where the listener's port is none of the service's. */
  readonly servicePort: ServicePort | undefined;
  readonly protocol: Protocol;
  /** Address ranges that mean the service. */
  readonly cidrs: readonly string[];
  readonly virtualServices: HostIndex<VirtualServiceConfig>;
}

/** A listener of captured traffic before it is built. */
export interface ListenerPlan {
  readonly name: string;
  readonly bind: string;
  readonly port: number;
  /** At every address: other destinations than the services' come here too. */
  readonly isWildcard: boolean;
  /** Route configuration; '' for that of the port. */
  routeName: string;
  readonly services: PlannedService[];
}

const single = new TracedMemo<OutboundScope, TranslatedResource | undefined>();

/**
 * The listener of a plan; undefined where nothing can be served at it. One of a single service, or of requests only, is made once for
 * all scopes alike. `proxyKey`: whatever of the proxy itself stands in it.
 */
export function capturedListener(view: ProxyView, plan: ListenerPlan, proxyKey: string): TranslatedResource | undefined {
  const { outboundScope: scope } = view;
  const requests = plan.services.filter(({ protocol }) => isHttp(protocol));
  const [only, another] = plan.services;
  const isAlone = only !== undefined && another === undefined;
  if (!isAlone && requests.length < plan.services.length) return build(view, plan, (look) => look(scope));
  // Which services it is that speak HTTP at a port is said by the routes.
  const isHttpOnly = requests.length > 0;
  const service = isHttpOnly ? undefined : only?.service;
  const virtualService = service && only?.virtualServices.find(service.host);
  // Only HTTP is traced.
  const ofProxy = isHttpOnly || only?.protocol === 'auto' ? proxyKey : '';
  const ofScope = [scope.client, scope.ipFamily, scope.isRegistryOnly, scope.domain];
  const ofService = isHttpOnly ? [] : [only?.protocol, only?.cidrs];
  const text = JSON.stringify([plan.name, plan.routeName, ofScope, ofService, ofProxy]);
  return single.get({ objects: [scope.mesh, service, virtualService], text }, scope, (read) => build(view, plan, read));
}

function build(view: ProxyView, plan: ListenerPlan, read: Read): TranslatedResource | undefined {
  const compatible = compatibleServices(plan.services);
  const connections = distinctChains(compatible.flatMap((planned) => serviceChains(view, { plan, planned, read })));
  const hasRequests = compatible.some(({ protocol }) => isHttp(protocol) || protocol === 'auto');
  // Without other connections, and at an address that only services have, nothing has to be told apart.
  const isDetected = hasRequests && (plan.isWildcard || connections.length > 0);
  const requests = hasRequests ? [requestChain(view, plan, isDetected)] : [];
  const chains = [...connections.map((chain) => connectionChain(view, chain, read)), ...requests];
  if (chains.length === 0) return undefined;
  return encodeResource(ListenerSchema, plan.name, {
    name: plan.name,
    ...(plan.isWildcard ? wildcardAddresses(view.node.ipFamily, plan.port) : { address: addressOf(plan.bind, plan.port) }),
    bindToPort: false,
    trafficDirection: TrafficDirection.OUTBOUND,
    listenerFilters: [
      ...(connections.some(({ serverNames }) => serverNames.length > 0) ? [tlsInspector] : []),
      ...(isDetected ? [httpInspector] : []),
    ],
    // A server that speaks first must not be cut off while the inspectors wait for its client.
    listenerFiltersTimeout: (isDetected ? optionalDuration(view.mesh.protocolDetectionTimeout) : undefined) ?? ZERO_DURATION,
    continueOnListenerFiltersTimeout: true,
    ...withFallback(view, chains),
  });
}

/**
 * MongoDB and MySQL share a port with nothing else, since detection would make their servers wait; the oldest service decides.
 * Source: istio listener.go isConflictWithWellKnownPort (1.32 dev).
 */
function compatibleServices(services: readonly PlannedService[]): PlannedService[] {
  const byAge = [...services].sort((a, b) => compare(a.service.createdAt, b.service.createdAt) || compare(a.service.host, b.service.host));
  const alone = (protocol: Protocol | undefined): boolean => protocol === 'mongo' || protocol === 'mysql';
  const first = byAge[0]?.protocol;
  return byAge.filter(({ protocol }) => protocol === first || (!alone(protocol) && !alone(first)));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Envoy refuses a listener where two chains claim the same connections: the first has them. */
function distinctChains(chains: readonly ServiceChain[]): ServiceChain[] {
  const taken = new Set<string>();
  return chains.flatMap((chain) => {
    const cidrs = [...chain.cidrs].sort().join();
    const isFree = (serverName: string): boolean => !taken.has(`${serverName} ${cidrs}`);
    const serverNames = (chain.serverNames.length === 0 ? [''] : [...new Set(chain.serverNames)]).filter(isFree);
    if (serverNames.length === 0) return [];
    for (const serverName of serverNames) taken.add(`${serverName} ${cidrs}`);
    return [{ ...chain, serverNames: chain.serverNames.length === 0 ? [] : serverNames }];
  });
}

function connectionChain(view: ProxyView, { serverNames, cidrs, targets }: ServiceChain, read: Read): FilterChainInit {
  const prefixRanges = cidrs.map(cidrRange);
  const filterChainMatch = { ...(serverNames.length > 0 && { serverNames: [...serverNames] }), ...(cidrs.length > 0 && { prefixRanges }) };
  return {
    ...(Object.keys(filterChainMatch).length > 0 && { filterChainMatch }),
    filters: tcpFilters(view, { role: 'outbound', statPrefix: targets[0]?.cluster ?? '', targets, read }),
  };
}

/** An address without a length is one host. */
function cidrRange(text: string) {
  const [addressPrefix = '', length] = text.split('/');
  return { addressPrefix, prefixLen: length === undefined ? (addressPrefix.includes(':') ? 128 : 32) : Number(length) };
}

function requestChain(view: ProxyView, plan: ListenerPlan, isDetected: boolean): FilterChainInit {
  const rds = plan.routeName || String(plan.port);
  return {
    ...(isDetected && { filterChainMatch: { transportProtocol: 'raw_buffer', applicationProtocols: PLAIN_HTTP_ALPN } }),
    filters: [httpConnectionManager(view, { role: 'outbound', statPrefix: `outbound_${plan.name}`, routes: { rds } })],
  };
}

/** What no chain takes goes where it wanted, as if the listener were not there. Source: istio listener.go buildListenerFromEntry (1.32 dev). */
function withFallback(view: ProxyView, chains: FilterChainInit[]): Init<typeof ListenerSchema> {
  const [first, another] = chains;
  if (first !== undefined && another === undefined && first.filterChainMatch === undefined) return { filterChains: [first] };
  const takesAll = chains.find(({ filterChainMatch }) => filterChainMatch === undefined);
  return {
    filterChains: chains.filter((chain) => chain !== takesAll),
    defaultFilterChain: takesAll ?? { name: 'PassthroughFilterChain', filters: unknownDestinationFilters(view) },
  };
}
