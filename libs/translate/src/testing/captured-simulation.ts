import { fromBinary } from '@bufbuild/protobuf';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { compileFilterChainMatch, compileRouteConfiguration, formatRejections } from '@mizzen/matching';
import { xdsRegistry } from '@mizzen/xds-api';
import { type Listener, ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import type { FilterChain } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { type RouteConfiguration, RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import type { HttpConnectionManager } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import type { TcpProxy } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { translateClusters } from '../cluster/translate-clusters.ts';
import { translateListeners } from '../listener/translate-listeners.ts';
import { translateRoutes } from '../route/translate-routes.ts';
import { type TranslationCase, viewOf } from './translation-case.ts';

/** A connection that the network leads to the proxy of a node. */
export interface CapturedConnection {
  readonly node: string;
  /** What the client wanted: `10.96.0.1:9080`. */
  readonly to: string;
  readonly tls?: { readonly serverName?: string; readonly alpn?: readonly string[] };
  /** A plaintext request, by the host that it names. */
  readonly request?: string;
}

/** The cluster that a connection out of the workload ends at (a request: by its route); a status where a route answers; `closed`. */
export function outboundOutcome(translationCase: TranslationCase, connection: CapturedConnection): string {
  const [address, port] = split(connection.to);
  const listeners = listenersOf(translationCase, connection.node);
  const listener = listeners.get(`${address}_${port}`) ?? listeners.get(`0.0.0.0_${port}`) ?? listeners.get('virtualOutbound');
  return listener === undefined ? 'closed' : served(translationCase, connection, { listener, address, port });
}

/** What becomes of a connection to the workload: the cluster, after `mtls ` where its proxy ends the mesh's TLS; `closed`. */
export function inboundOutcome(translationCase: TranslationCase, connection: CapturedConnection): string {
  const [address, port] = split(connection.to);
  const listener = listenersOf(translationCase, connection.node).get('virtualInbound');
  return listener === undefined ? 'closed' : served(translationCase, connection, { listener, address, port });
}

function split(to: string): [string, number] {
  const [address = '', port = ''] = to.split(':');
  return [address, Number(port)];
}

function listenersOf(translationCase: TranslationCase, node: string): Map<string, Listener> {
  const { resources } = translateListeners(viewOf(translationCase, node));
  return new Map(resources.map(({ name, body }) => [name, fromBinary(ListenerSchema, body.value)]));
}

interface At {
  readonly listener: Listener;
  readonly address: string;
  readonly port: number;
}

function served(translationCase: TranslationCase, connection: CapturedConnection, at: At): string {
  const chain = chainFor(connection, at);
  if (chain === undefined) return 'closed';
  const outcome = existing(translationCase, connection.node, targetOf(translationCase, connection, chain));
  return `${chain.transportSocket ? 'mtls ' : ''}${outcome}`;
}

/** What the listener's own inspectors find out, and no more. */
function chainFor({ tls, request }: CapturedConnection, { listener, address, port }: At): FilterChain | undefined {
  const { table, rejections } = compileFilterChainMatch(listener.filterChains.map((chain) => ({ match: chain.filterChainMatch, chain })));
  if (table === undefined) throw new Error(formatRejections(rejections));
  const sees = (filter: string): boolean => listener.listenerFilters.some(({ name }) => name === `envoy.filters.listener.${filter}`);
  const isTlsSeen = tls !== undefined && sees('tls_inspector');
  const isHttpSeen = tls === undefined && request !== undefined && sees('http_inspector');
  const found = table.find({
    destinationAddress: address,
    destinationPort: port,
    sourceAddress: '10.244.9.9',
    sourcePort: 1,
    serverName: isTlsSeen ? (tls.serverName ?? '') : '',
    transportProtocol: isTlsSeen ? 'tls' : 'raw_buffer',
    applicationProtocols: isTlsSeen ? (tls.alpn ?? []) : isHttpSeen ? ['http/1.1'] : [],
  });
  return found ?? listener.defaultFilterChain;
}

function targetOf(translationCase: TranslationCase, connection: CapturedConnection, chain: FilterChain): string {
  const last = chain.filters.at(-1);
  const message = last?.configType.case === 'typedConfig' ? anyUnpack(last.configType.value, xdsRegistry) : undefined;
  if (message?.$typeName.endsWith('TcpProxy')) {
    const { clusterSpecifier } = message as TcpProxy;
    return clusterSpecifier.case === 'weightedClusters'
      ? clusterSpecifier.value.clusters.map(({ name, weight }) => `${name} ${weight}`).join(', ')
      : String(clusterSpecifier.value);
  }
  const routes = routesOf(translationCase, connection.node, message as HttpConnectionManager);
  return routes === undefined ? 'no routes' : routeTarget(routes, connection.request ?? '');
}

function routesOf(
  translationCase: TranslationCase,
  node: string,
  { routeSpecifier }: HttpConnectionManager,
): RouteConfiguration | undefined {
  if (routeSpecifier.case === 'routeConfig') return routeSpecifier.value;
  const name = routeSpecifier.case === 'rds' ? routeSpecifier.value.routeConfigName : '';
  const [resource] = translateRoutes(viewOf(translationCase, node), [name]).resources;
  return resource && fromBinary(RouteConfigurationSchema, resource.body.value);
}

function routeTarget(routes: RouteConfiguration, authority: string): string {
  const { table, rejections } = compileRouteConfiguration(routes);
  if (table === undefined) throw new Error(formatRejections(rejections));
  const pseudo: Readonly<Record<string, string>> = { ':method': 'GET', ':authority': authority, ':scheme': 'http', ':path': '/' };
  const request = { authority, path: '/', method: 'GET', scheme: 'http', random: 0, header: (name: string) => pseudo[name] };
  const action = table.match(request)?.action;
  if (action === undefined) return '404';
  return action.kind === 'route'
    ? (action.route.chooseTarget(request)?.cluster ?? '')
    : action.kind === 'direct-response'
      ? String(action.status)
      : action.kind;
}

/** A cluster that nobody makes would fail every call. */
function existing(translationCase: TranslationCase, node: string, outcome: string): string {
  if (/^\d+$/.test(outcome) || outcome.includes(', ')) return outcome;
  const exists = translateClusters(viewOf(translationCase, node)).resources.some(({ name }) => name === outcome);
  return exists ? outcome : `${outcome} (which does not exist)`;
}
