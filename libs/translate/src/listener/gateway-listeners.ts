import { type ProxyView, parseProtocol, type VirtualServiceConfig } from '@mizzen/model';
import { TrafficDirection } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import type { FilterChainSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { addressOf } from '../endpoint/load-assignment.ts';
import {
  type BoundServer,
  boundServers,
  gatewayListenerName,
  httpRouteName,
  httpsRouteName,
  listenerKind,
  serverHosts,
  sharedHosts,
} from '../gateway-servers.ts';
import type { Init } from '../messages.ts';
import { encodeResource, type TranslatedResource } from '../result.ts';
import { l4Applies, ruleTargets, type TcpContext, type TcpTarget } from '../route/tcp-targets.ts';
import { gatewayServerTls } from './downstream-tls.ts';
import { httpConnectionManager } from './http-connection-manager.ts';
import { tlsInspector } from './listener-filters.ts';
import { tcpFilters } from './tcp-filters.ts';

type FilterChainInit = Init<typeof FilterChainSchema>;

/** One listener for each port of the Gateways that this proxy serves, by address and port. */
export function gatewayListeners(view: ProxyView): TranslatedResource[] {
  const groups = new Map<string, BoundServer[]>();
  for (const server of boundServers(view.outboundScope, view.gatewayPorts)) {
    const name = gatewayListenerName(server);
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [server]);
    else group.push(server);
  }
  return [...groups.keys()].sort().flatMap((name) => gatewayListener(view, name, groups.get(name) ?? []) ?? []);
}

/** Servers of one port: all of the kind of the oldest, since plaintext, TLS and bytes cannot be told apart on one port. */
function gatewayListener(view: ProxyView, name: string, servers: readonly BoundServer[]): TranslatedResource | undefined {
  const [first] = servers;
  if (first === undefined) return undefined;
  const filterChains = chainsOf(view, first, servers);
  if (filterChains.length === 0) return undefined;
  return encodeResource(ListenerSchema, name, {
    name,
    address: addressOf(first.server.bind || '0.0.0.0', first.boundPort),
    trafficDirection: TrafficDirection.OUTBOUND,
    listenerFilters: isTlsKind(first) ? [tlsInspector] : [],
    filterChains,
  });
}

function isTlsKind({ kind }: BoundServer): boolean {
  return listenerKind(kind) === 'tls';
}

function chainsOf(view: ProxyView, first: BoundServer, servers: readonly BoundServer[]): FilterChainInit[] {
  switch (first.kind) {
    case 'http': {
      const name = httpRouteName(first.boundPort);
      return [
        {
          filters: [
            httpConnectionManager(view, {
              role: 'gateway',
              protocol: parseProtocol(first.server.port.protocol),
              statPrefix: `outbound_0.0.0.0_${first.boundPort}`,
              routes: { rds: name },
            }),
          ],
        },
      ];
    }
    case 'tcp':
      return servers
        .filter(({ kind }) => kind === 'tcp')
        .flatMap((server) => tcpChain(view, server) ?? [])
        .slice(0, 1);
    default: {
      const taken = new Set<string>();
      return servers.filter(isTlsKind).flatMap((server) => tlsChains(view, server, taken));
    }
  }
}

/** Every server name leads to one chain only: Envoy refuses listeners where two claim it. The oldest has it. */
function tlsChains(view: ProxyView, bound: BoundServer, taken: Set<string>): FilterChainInit[] {
  if (bound.kind === 'passthrough') return passthroughChains(view, bound, taken);
  const match = serverNameMatch(serverHosts(bound), taken);
  if (match === undefined) return [];
  const transportSocket = gatewayServerTls(view, bound.server.tls ?? {}, { isHttp: bound.kind === 'https' });
  if (bound.kind === 'tls') {
    const chain = tcpChain(view, bound);
    return chain === undefined ? [] : [{ ...chain, ...match, transportSocket }];
  }
  const filter = httpConnectionManager(view, {
    role: 'gateway',
    statPrefix: `outbound_0.0.0.0_${bound.boundPort}`,
    routes: { rds: httpsRouteName(bound) },
  });
  return [{ ...match, filters: [filter], transportSocket }];
}

function serverNameMatch(hosts: readonly string[], taken: Set<string>): { filterChainMatch?: { serverNames: string[] } } | undefined {
  const free = hosts.filter((host) => !taken.has(host));
  for (const host of free) taken.add(host);
  if (free.length === 0) return undefined;
  return free.includes('*') ? {} : { filterChainMatch: { serverNames: free } };
}

function l4Context(view: ProxyView, { gateway, server }: BoundServer): TcpContext {
  const { outboundScope: scope } = view;
  return { gateway: gateway.key, port: server.port.number, domain: scope.domain, read: (look) => look(scope) };
}

function boundVirtualServices(view: ProxyView, bound: BoundServer): VirtualServiceConfig[] {
  const all = view.outboundScope.virtualServicesByGateway.get(bound.gateway.key) ?? [];
  return all.filter((virtualService) => sharedHosts(bound, virtualService).length > 0);
}

/** The server name chooses the cluster; TLS is not looked into. */
function passthroughChains(view: ProxyView, bound: BoundServer, taken: Set<string>): FilterChainInit[] {
  const context = l4Context(view, bound);
  const chains: FilterChainInit[] = [];
  for (const virtualService of boundVirtualServices(view, bound)) {
    for (const rule of virtualService.tls) {
      const targets = ruleTargets(rule, virtualService, context);
      const hosts = rule.match.filter((match) => l4Applies(match, virtualService, context)).flatMap((match) => match.sniHosts);
      const match =
        targets && hosts.length > 0
          ? serverNameMatch(
              hosts.map((host) => host.toLowerCase()),
              taken,
            )
          : undefined;
      if (targets !== undefined && match !== undefined) chains.push({ ...match, filters: filtersTo(view, targets) });
    }
  }
  return chains;
}

/** Connections go where the first TCP rule that applies says; without one there is no listener. */
function tcpChain(view: ProxyView, bound: BoundServer): FilterChainInit | undefined {
  const context = l4Context(view, bound);
  for (const virtualService of boundVirtualServices(view, bound)) {
    for (const rule of virtualService.tcp) {
      const isMatched = !rule.match || rule.match.length === 0 || rule.match.some((match) => l4Applies(match, virtualService, context));
      const targets = isMatched ? ruleTargets(rule, virtualService, context) : undefined;
      if (targets !== undefined) return { filters: filtersTo(view, targets) };
    }
  }
  return undefined;
}

function filtersTo(view: ProxyView, targets: readonly TcpTarget[]) {
  return tcpFilters(view, { role: 'gateway', statPrefix: targets[0]?.cluster ?? '', targets });
}
