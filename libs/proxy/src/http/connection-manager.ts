import { randomUUID } from 'node:crypto';
import { compileRouteConfiguration, Field, type FieldRejection, type RouteTable } from '@mizzen/matching';
import type { DownstreamConnection, HttpConnectionManagerOptions, NetworkFilter } from '../contract.ts';
import type { ParseFailure } from '../http1/parser.ts';
import { ServerConnection } from '../http1/server-connection.ts';
import { type ConnectionFacts, connectionFacts } from './connection-facts.ts';
import { compileHcmConfig } from './hcm-config.ts';
import { createHcmStats, type HcmStats } from './hcm-stats.ts';
import { HeaderMap } from './headers.ts';
import { compileHttpFilters } from './http-filters.ts';
import { HttpStream } from './http-stream.ts';
import type { HcmRuntime } from './runtime.ts';
import type { RequestHead, ResponseSender } from './stream.ts';
import { wheelOf } from './timer-wheel.ts';

/** What a connection manager's message was compiled to. */
export interface CompiledConnectionManager {
  /** undefined where there are rejections. */
  readonly filter: HttpConnectionManagerFilter | undefined;
  /** The RDS name, or undefined with an inline route configuration. */
  readonly routeConfigName: string | undefined;
  /** The inline route configuration, or undefined with RDS. */
  readonly inlineRoutes: RouteTable | undefined;
  /** Paths are relative to the HttpConnectionManager message. */
  readonly rejections: readonly FieldRejection[];
}

/** Compiles an HttpConnectionManager message; never throws. Whatever cannot be honoured is rejected by its place. */
export function createHttpConnectionManager(options: HttpConnectionManagerOptions): CompiledConnectionManager {
  const { message, context } = options;
  const field = new Field('', []);
  const config = compileHcmConfig(message, field);
  const { filters, suppressesEnvoyHeaders, peerMetadata } = compileHttpFilters(message, context.localPeer, field);
  const { routeConfigName, inlineRoutes } = compileRouteSpecifier(message.routeSpecifier, field);
  if (field.rejections.length > 0) return { filter: undefined, routeConfigName, inlineRoutes: undefined, rejections: field.rejections };
  const { clock } = context;
  const date = httpDate(clock);
  let isDraining = false;
  const runtime: HcmRuntime = {
    config: { ...config, suppressesEnvoyHeaders, peerMetadata },
    context,
    listener: options.listener,
    observers: options.observers,
    filters,
    wheel: wheelOf(clock),
    stats: createHcmStats(message.statPrefix),
    routeTable: inlineRoutes === undefined ? () => options.routeTables.get(routeConfigName ?? '') : () => inlineRoutes,
    decodePeerMetadata: options.decodePeerMetadata,
    newRequestId: () => randomUUID(),
    date,
    isDraining: () => isDraining || context.isDraining(),
  };
  const filter = new HttpConnectionManagerFilter(runtime, () => {
    isDraining = true;
  });
  return { filter, routeConfigName, inlineRoutes, rejections: [] };
}

function compileRouteSpecifier(
  specifier: HttpConnectionManagerOptions['message']['routeSpecifier'],
  field: Field,
): { routeConfigName: string | undefined; inlineRoutes: RouteTable | undefined } {
  switch (specifier.case) {
    case 'routeConfig':
      return { routeConfigName: undefined, inlineRoutes: compileRouteConfiguration(specifier.value, field.child('route_config')).table };
    case 'rds':
      if (specifier.value.routeConfigName === '') field.child('rds').child('route_config_name').reject('is required');
      return { routeConfigName: specifier.value.routeConfigName, inlineRoutes: undefined };
    default:
      field.reject('needs rds or route_config');
      return { routeConfigName: undefined, inlineRoutes: undefined };
  }
}

/** The HTTP connection manager of one filter chain: owns the connections that it is given. */
export class HttpConnectionManagerFilter implements NetworkFilter {
  readonly #runtime: HcmRuntime;
  readonly #onDrain: () => void;
  readonly #connections = new Set<ServerConnection>();

  constructor(runtime: HcmRuntime, onDrain: () => void) {
    this.#runtime = runtime;
    this.#onDrain = onDrain;
  }

  get activeConnections(): number {
    return this.#connections.size;
  }

  get stats(): HcmStats {
    return this.#runtime.stats;
  }

  onConnection(connection: DownstreamConnection): void {
    const runtime = this.#runtime;
    const facts = connectionFacts(connection);
    const server: ServerConnection = new ServerConnection(connection.socket, {
      codec: runtime.config.codec,
      wheel: runtime.wheel,
      events: {
        onRequest(head, sender) {
          const stream = new HttpStream(runtime, facts, { head, sender });
          stream.start();
          return stream;
        },
        onInvalidRequest: (failure, sender) => answerInvalid(runtime, facts, { failure, sender }),
        onClose: () => {
          runtime.stats.downstreamCxActive--;
          this.#connections.delete(server);
        },
      },
    });
    this.#connections.add(server);
    runtime.stats.downstreamCxTotal++;
    runtime.stats.downstreamCxActive++;
    server.start(connection.initialData);
  }

  drain(): void {
    this.#onDrain();
    for (const connection of [...this.#connections]) connection.drain();
  }
}

/** What was no request gets an answer and a line in the access log all the same. */
function answerInvalid(runtime: HcmRuntime, facts: ConnectionFacts, exchange: { failure: ParseFailure; sender: ResponseSender }): void {
  runtime.stats.downstreamCxProtocolError++;
  const head: RequestHead = {
    protocol: 'HTTP/1.1',
    method: '',
    path: '',
    authority: '',
    headers: new HeaderMap(),
    hasBody: false,
    contentLength: -1,
    upgrade: '',
    expectsContinue: false,
    wireBytes: 0,
  };
  const { status, details } = exchange.failure;
  const isNoRequest = NOT_BY_CODEC.has(details);
  const body = isNoRequest ? '' : (BODIES[status] ?? '');
  const stream = new HttpStream(runtime, facts, { head, sender: exchange.sender });
  stream.reply({ status, details, flag: status === 408 || isNoRequest ? undefined : 'downstreamProtocolError', body });
}

// What was well-formed HTTP, and yet no request: Envoy's connection manager answers it, and says nothing.
const NOT_BY_CODEC: ReadonlySet<string> = new Set(['missing_host_header', 'path_normalization_failed']);

// What Envoy's codec says. Source: envoy Http1::ServerConnectionImpl::sendProtocolError (1.40).
const BODIES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  426: 'Upgrade Required',
  431: 'Request Header Fields Too Large',
  501: 'Not Implemented',
};

function httpDate(clock: { now(): number }): () => string {
  let second = -1;
  let text = '';
  return () => {
    const now = Math.floor(clock.now() / 1000);
    if (now !== second) {
      second = now;
      text = new Date(now * 1000).toUTCString();
    }
    return text;
  };
}
