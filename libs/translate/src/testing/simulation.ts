import { fromBinary } from '@bufbuild/protobuf';
import { expect } from '@jest/globals';
import {
  type CompiledRoute,
  compileFilterChainMatch,
  compileRouteConfiguration,
  faultOf,
  formatRejections,
  MESH_FILTER_CONFIGS,
} from '@mizzen/matching';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import { translateClusters } from '../cluster/translate-clusters.ts';
import { translateListeners } from '../listener/translate-listeners.ts';
import { parseOutboundClusterName } from '../names.ts';
import { translateRoutes } from '../route/translate-routes.ts';
import { type TranslationCase, viewOf } from './translation-case.ts';

export interface SimulatedCall {
  /** Node of the case. */
  readonly from: string;
  readonly host: string;
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly scheme?: 'http' | 'https';
  /** Decides weights: in [0, 1). */
  readonly random?: number;
  /** Route configuration; that of the explicit proxy by default. */
  readonly routes?: string;
}

/** Walks a call through the generated routes with the proxy's own matchers. */
export function expectCall(translationCase: TranslationCase, call: SimulatedCall) {
  const route = match(translationCase, call);
  return {
    /** The call goes to this cluster, and the cluster exists unless `missing`. */
    toReach(target: { host?: string; port?: number; subset?: string; cluster?: string; missing?: boolean }): void {
      expect(route?.action.kind).toBe('route');
      if (route?.action.kind !== 'route') return;
      const chosen = route.action.route.chooseTarget(requestOf(call))?.cluster ?? '';
      if (target.cluster !== undefined) expect(chosen).toBe(target.cluster);
      const { host, port, subset } = target;
      if (host !== undefined) expect(parseOutboundClusterName(chosen)).toEqual({ host, port: port ?? 9080, subset: subset ?? '' });
      const names = translateClusters(viewOf(translationCase, call.from)).resources.map(({ name }) => name);
      expect({ chosen, exists: names.includes(chosen) }).toEqual({ chosen, exists: !target.missing });
    },
    toBeAnswered(status: number): void {
      expect(route?.action).toMatchObject({ kind: 'direct-response', status });
    },
    toBeRedirected(): void {
      expect(route?.action.kind).toBe('redirect');
    },
    toHaveNoRoute(): void {
      expect(route).toBeUndefined();
    },
    /** What the fault filter is told. */
    toSufferFault(fault: { delayMs?: number; delayRatio?: number; status?: number; abortRatio?: number } | undefined): void {
      const compiled = route && faultOf(route.filterConfig);
      if (fault === undefined) {
        expect(compiled).toBeUndefined();
        return;
      }
      expect({
        delayMs: compiled?.delay?.delayMs,
        delayRatio: compiled?.delay?.ratio,
        status: compiled?.abort?.httpStatus,
        abortRatio: compiled?.abort?.ratio,
      }).toEqual({
        delayMs: fault.delayMs,
        delayRatio: fault.delayRatio,
        status: fault.status,
        abortRatio: fault.abortRatio,
      });
    },
  };
}

function match(translationCase: TranslationCase, call: SimulatedCall): CompiledRoute | undefined {
  const [resource] = translateRoutes(viewOf(translationCase, call.from), [call.routes ?? 'http_proxy']).resources;
  if (resource === undefined) throw new Error(`${call.from} has no routes ${call.routes ?? 'http_proxy'}`);
  const { table, rejections } = compileRouteConfiguration(fromBinary(RouteConfigurationSchema, resource.body.value), undefined, {
    filterConfigs: MESH_FILTER_CONFIGS,
  });
  if (table === undefined) throw new Error(formatRejections(rejections));
  return table.match(requestOf(call));
}

function requestOf(call: SimulatedCall) {
  const { host, path = '/', method = 'GET', headers = {}, scheme = 'http', random = 0 } = call;
  const pseudo: Readonly<Record<string, string>> = { ':method': method, ':authority': host, ':scheme': scheme, ':path': path };
  return { authority: host, path, method, scheme, random, header: (name: string) => pseudo[name] ?? headers[name] };
}

export interface SimulatedConnection {
  readonly to: string;
  /** Name of the listener: `127.0.0.1_40001`. */
  readonly listener: string;
  readonly tls?: { readonly serverName?: string; readonly alpn?: readonly string[] };
  readonly plaintextAlpn?: readonly string[];
}

/** What the chain that takes a connection does: `http` or `tcp`, behind TLS that the proxy ends or not; `closed` where none takes it. */
export function connectionOutcome(translationCase: TranslationCase, connection: SimulatedConnection): string {
  const resource = translateListeners(viewOf(translationCase, connection.to)).resources.find(({ name }) => name === connection.listener);
  if (resource === undefined) throw new Error(`${connection.to} has no listener ${connection.listener}`);
  const listener = fromBinary(ListenerSchema, resource.body.value);
  const { table, rejections } = compileFilterChainMatch(listener.filterChains.map((chain) => ({ match: chain.filterChainMatch, chain })));
  if (table === undefined) throw new Error(formatRejections(rejections));
  const chain = table.find({
    destinationAddress: '127.0.0.1',
    destinationPort: 1,
    sourceAddress: '127.0.0.1',
    sourcePort: 1,
    serverName: connection.tls?.serverName ?? '',
    transportProtocol: connection.tls ? 'tls' : 'raw_buffer',
    applicationProtocols: connection.tls?.alpn ?? connection.plaintextAlpn ?? [],
  });
  if (chain === undefined) return 'closed';
  const isHttp = chain.filters.some(({ name }) => name.endsWith('http_connection_manager'));
  return `${chain.transportSocket ? 'tls ' : ''}${isHttp ? 'http' : 'tcp'}`;
}
