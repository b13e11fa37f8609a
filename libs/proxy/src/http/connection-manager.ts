import { compileRouteConfiguration, Field, type FieldRejection, type RouteTable } from '@mizzen/matching';
import type { DownstreamConnection, HttpConnectionManagerOptions, NetworkFilter, ProxyContext } from '../contract.ts';
import { ServerConnection } from '../http1/server-connection.ts';
import { Http2ServerConnection } from '../http2/server-connection.ts';
import { downstreamHttp2Stats } from '../http2/stats.ts';
import { type OpenConnection, openConnections } from '../observe/open-connections.ts';
import { readRouteTracing } from '../observe/route-tracing.ts';
import type { InvalidRequest, ServerCodec, ServerCodecEvents } from './codec.ts';
import { type ConnectionFacts, connectionFacts } from './connection-facts.ts';
import { compileHcmConfig } from './hcm-config.ts';
import { countConnection, countConnectionEnd, createHcmStats, type HcmStats } from './hcm-stats.ts';
import { HeaderMap } from './headers.ts';
import { compileHttpFilters, routeFilterConfigs } from './http-filters.ts';
import { HttpStream } from './http-stream.ts';
import type { DownstreamCodec } from './http2-config.ts';
import { randomRequestId } from './request-id.ts';
import { Roster } from './roster.ts';
import type { HcmRuntime } from './runtime.ts';
import type { RequestHead, RequestReceiver, ResponseSender } from './stream.ts';
import { Deadline, wheelOf } from './timer-wheel.ts';

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
  const config = compileHcmConfig(
    message,
    {
      runtime: context.runtimeValues,
      random: context.random,
      nodeId: context.localPeer.nodeId,
      nodeCluster: context.nodeCluster,
    },
    field,
  );
  const { filters, router, peerMetadata } = compileHttpFilters(message, options, field);
  const { routeConfigName, inlineRoutes } = compileRouteSpecifier(message.routeSpecifier, context, field);
  if (field.rejections.length > 0) return { filter: undefined, routeConfigName, inlineRoutes: undefined, rejections: field.rejections };
  const { clock } = context;
  const date = httpDate(clock);
  let isDraining = false;
  const runtime: HcmRuntime = {
    config: {
      ...config,
      ...router,
      peerMetadata,
      http2: { ...config.http2, stats: downstreamHttp2Stats(context.stats), random: context.random },
    },
    context,
    listener: options.listener,
    observers: options.observers,
    filters,
    wheel: wheelOf(clock),
    stats: createHcmStats(options.context.stats, message.statPrefix),
    routeTable: inlineRoutes === undefined ? () => options.routeTables.get(routeConfigName ?? '') : () => inlineRoutes,
    decodePeerMetadata: options.decodePeerMetadata,
    newRequestId: randomRequestId,
    date,
    isDraining: () => isDraining || context.isDraining(options.listener),
  };
  const filter = new HttpConnectionManagerFilter(runtime, () => {
    isDraining = true;
  });
  return { filter, routeConfigName, inlineRoutes, rejections: [] };
}

function compileRouteSpecifier(
  specifier: HttpConnectionManagerOptions['message']['routeSpecifier'],
  context: ProxyContext,
  field: Field,
): { routeConfigName: string | undefined; inlineRoutes: RouteTable | undefined } {
  switch (specifier.case) {
    case 'routeConfig': {
      const filterConfigs = routeFilterConfigs(context);
      const { table } = compileRouteConfiguration(specifier.value, field.child('route_config'), {
        filterConfigs,
        readTracing: readRouteTracing,
      });
      return { routeConfigName: undefined, inlineRoutes: table };
    }
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
  readonly #connections = new Roster<ServedConnection>();

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
    const { stats, context } = this.#runtime;
    const { clock } = context;
    const openedMs = clock.monotonic();
    const served = new ServedConnection(this.#runtime, connection, () => {
      this.#connections.leave(seat);
      openConnections.remove(served);
      countConnectionEnd(stats, connection, clock.monotonic() - openedMs);
    });
    const seat = this.#connections.join(served);
    openConnections.add(served);
    countConnection(stats, connection);
    served.start();
  }

  drain(): void {
    this.#onDrain();
    for (const connection of this.#connections.list()) connection.drain();
  }
}

/** One connection in the version of HTTP that its client speaks. */
class ServedConnection implements ServerCodecEvents, OpenConnection {
  readonly #runtime: HcmRuntime;
  readonly #connection: DownstreamConnection;
  readonly #facts: ConnectionFacts;
  readonly #onClosed: () => void;
  #codec: ServerCodec;
  #isHttp2 = false;
  #countedRead = 0;
  #countedWritten = 0;
  #lifetime: Deadline | undefined;

  constructor(runtime: HcmRuntime, connection: DownstreamConnection, onClosed: () => void) {
    this.#runtime = runtime;
    this.#connection = connection;
    this.#facts = connectionFacts(connection);
    this.#onClosed = onClosed;
    this.#codec = speaksHttp2(runtime.config.codecType, connection) ? this.#http2() : this.#http1();
  }

  start(): void {
    const { config, wheel, stats } = this.#runtime;
    if (config.maxConnectionDurationMs > 0) {
      this.#lifetime = new Deadline(wheel, () => {
        stats.downstreamCxMaxDurationReached++;
        this.drain();
      });
      this.#lifetime.arm(config.maxConnectionDurationMs);
    }
    this.#codec.start(this.#connection.initialData);
  }

  drain(): void {
    this.#codec.drain();
  }

  countBytes(): void {
    const { bytesRead, bytesWritten } = this.#connection.socket;
    const { stats } = this.#runtime;
    stats.downstreamCxRxBytesTotal += bytesRead - this.#countedRead;
    stats.downstreamCxTxBytesTotal += bytesWritten - this.#countedWritten;
    this.#countedRead = bytesRead;
    this.#countedWritten = bytesWritten;
  }

  #http1(): ServerCodec {
    const { config, wheel, stats } = this.#runtime;
    stats.downstreamCxHttp1Total++;
    stats.downstreamCxHttp1Active++;
    const { socket, tls } = this.#connection;
    // Who agreed on a version by ALPN has said what comes. Source: envoy HttpConnectionManager codec_type AUTO.
    const mayBeHttp2 = config.codecType === 'auto' && (tls === undefined || tls.alpn === '');
    const onHttp2 = mayBeHttp2 ? (initialData: Buffer) => this.#goOnInHttp2(initialData) : undefined;
    return new ServerConnection(socket, { codec: config.codec, wheel, events: this, onHttp2 });
  }

  #http2(): ServerCodec {
    const { config, wheel, stats } = this.#runtime;
    stats.downstreamCxHttp2Total++;
    stats.downstreamCxHttp2Active++;
    this.#isHttp2 = true;
    return new Http2ServerConnection(this.#connection.socket, { codec: config.http2, wheel, events: this });
  }

  #goOnInHttp2(initialData: Buffer): void {
    this.#runtime.stats.downstreamCxHttp1Total--;
    this.#runtime.stats.downstreamCxHttp1Active--;
    this.#codec = this.#http2();
    this.#codec.start(initialData);
  }

  onRequest(head: RequestHead, sender: ResponseSender): RequestReceiver {
    const stream = new HttpStream(this.#runtime, this.#facts, { head, sender });
    stream.start();
    return stream;
  }

  onInvalidRequest(failure: InvalidRequest, sender: ResponseSender): void {
    answerInvalid(this.#runtime, this.#facts, { failure, sender });
  }

  onConnectionFault(fault: 'protocol' | 'premature-resets'): void {
    if (fault === 'protocol') this.#runtime.stats.downstreamCxProtocolError++;
    else this.#runtime.stats.downstreamRqTooManyPrematureResets++;
  }

  onClose(): void {
    this.#lifetime?.cancel();
    const { stats } = this.#runtime;
    if (this.#isHttp2) stats.downstreamCxHttp2Active--;
    else stats.downstreamCxHttp1Active--;
    this.#onClosed();
  }
}

function speaksHttp2(codecType: DownstreamCodec, { tls }: DownstreamConnection): boolean {
  return codecType === 'http2' || (codecType === 'auto' && tls?.alpn === 'h2');
}

/** What was no request gets an answer and a line in the access log all the same. */
function answerInvalid(runtime: HcmRuntime, facts: ConnectionFacts, exchange: { failure: InvalidRequest; sender: ResponseSender }): void {
  runtime.stats.downstreamCxProtocolError++;
  const head: RequestHead = {
    protocol: 'HTTP/1.1',
    method: '',
    path: '',
    authority: '',
    scheme: '',
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
