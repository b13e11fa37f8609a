import type { CompiledRoute, RouteTarget } from '@mizzen/matching';
import type { ActiveSpan } from '../contract.ts';
import { normalizeAuthority } from './authority.ts';
import type { ConnectionFacts } from './connection-facts.ts';
import { forwardHeaders } from './forwarded-headers.ts';
import { countResponse } from './hcm-stats.ts';
import { HeaderMap, SEEN } from './headers.ts';
import type { LocalReply } from './local-reply.ts';
import { NO_PATH, NO_ROUTE, UPGRADE_REFUSED } from './local-reply.ts';
import { normalizePath } from './path-normalization.ts';
import { Router } from './router.ts';
import type { HcmRuntime } from './runtime.ts';
import type { RequestHead, RequestReceiver, ResponseHead, ResponseSender } from './stream.ts';
import { HttpStreamInfo } from './stream-info.ts';
import { Deadline } from './timer-wheel.ts';

/** How much of a body is held while a filter keeps the request. */
const HELD_BODY_BYTES = 64 * 1024;

/**
 * One request from its head to the end of its response: cleans the head, finds the route, runs the filters, then the router.
 * Everything that a client sees goes through `sendHead`, `sendData` and `finish` here.
 */
export class HttpStream implements RequestReceiver {
  readonly runtime: HcmRuntime;
  readonly info: HttpStreamInfo;
  readonly sender: ResponseSender;
  route: CompiledRoute | undefined;
  /** The weights are cast once, before the filters: a fault of one target must meet the requests of that target. */
  target: RouteTarget | undefined;
  /** The peer sent its metadata, so that it may be told ours. */
  exchangesPeerMetadata = false;
  /** Fault injection's timer, while it holds the request. */
  delay: Deadline | undefined;
  /** Cookies that the hash policy makes, for the response. */
  readonly setCookies: string[] = [];
  isRequestDone: boolean;
  isResponseStarted = false;
  /** An upgrade or CONNECT was accepted: bytes go both ways as they are. */
  isTunnelOpen = false;
  isOver = false;
  readonly #idle: Deadline | undefined;
  #requestDeadline: Deadline | undefined;
  #maxDuration: Deadline | undefined;
  #router: Router | undefined;
  #span: ActiveSpan | undefined;
  #nextFilter = 0;
  #held: Buffer[] = [];
  #heldBytes = 0;

  constructor(runtime: HcmRuntime, facts: ConnectionFacts, exchange: { readonly head: RequestHead; readonly sender: ResponseSender }) {
    this.runtime = runtime;
    this.sender = exchange.sender;
    const { clock, random } = runtime.context;
    this.info = new HttpStreamInfo(exchange.head, facts, { nowMs: clock.now(), monotonicMs: clock.monotonic(), random: random() });
    this.isRequestDone = !exchange.head.hasBody;
    const { stats, config } = runtime;
    stats.downstreamRqTotal++;
    stats.downstreamRqActive++;
    if (config.streamIdleTimeoutMs > 0) {
      this.#idle = new Deadline(runtime.wheel, () => this.#onIdle());
      this.#idle.arm(config.streamIdleTimeoutMs);
    }
  }

  start(): void {
    const { runtime, info } = this;
    const { config } = runtime;
    if (config.requestTimeoutMs > 0 && !this.isRequestDone) {
      this.#requestDeadline = new Deadline(runtime.wheel, () => this.#onRequestTimeout());
      this.#requestDeadline.arm(config.requestTimeoutMs);
    }
    if (info.head.expectsContinue && !config.proxies100Continue) this.sender.sendContinue();
    if (!this.#normalize()) return;
    const table = runtime.routeTable();
    forwardHeaders(info, config.forwarding, { internalOnlyHeaders: table?.internalOnlyHeaders ?? [], newRequestId: runtime.newRequestId });
    if (info.path === '*') {
      this.reply(NO_PATH);
      return;
    }
    const route = table?.match(info);
    if (route !== undefined) this.#takeRoute(route);
    this.#startSpan();
    if (route === undefined) {
      runtime.stats.noRoute++;
      this.reply(NO_ROUTE);
      return;
    }
    if ((info.head.upgrade !== '' || info.method === 'CONNECT') && !this.#mayUpgrade(route)) {
      this.reply(UPGRADE_REFUSED);
      return;
    }
    this.continueRequest();
  }

  #takeRoute(route: CompiledRoute): void {
    const { info } = this;
    this.route = route;
    info.routeName = route.name;
    info.operation = route.decoratorOperation;
    info.virtualHostName = route.virtualHost.name;
    if (route.action.kind !== 'route') return;
    this.target = route.action.route.chooseTarget(info);
    // Known from here on, so that what a filter answers in place of the upstream is logged and counted as the upstream's.
    const cluster = this.target === undefined ? undefined : this.runtime.context.cluster(this.target.cluster);
    info.upstreamCluster = cluster?.name ?? '';
    info.destinationService = cluster?.service;
    const { idleTimeoutMs, maxStreamDurationMs } = route.action.route;
    if (idleTimeoutMs !== undefined) this.#idle?.arm(idleTimeoutMs);
    const maxMs = maxStreamDurationMs ?? this.runtime.config.maxStreamDurationMs;
    if (maxMs <= 0) return;
    this.#maxDuration = new Deadline(this.runtime.wheel, () => this.#onMaxDuration());
    this.#maxDuration.arm(maxMs);
  }

  /** False: answered. */
  #normalize(): boolean {
    const { info } = this;
    const { config } = this.runtime;
    const { head } = info;
    if (config.authority !== undefined) {
      head.authority = normalizeAuthority(head.authority, config.authority, info.facts.connection.localAddress);
      info.authority = head.authority;
    }
    if (config.underscores !== 'allow') {
      const hasUnderscore = head.headers.names.some((name) => name.includes('_'));
      if (hasUnderscore && config.underscores === 'reject') {
        this.reply({ status: 400, details: 'http1.unexpected_underscore', flag: 'downstreamProtocolError', body: '' });
        return false;
      }
      if (hasUnderscore) head.headers.removeWhere((name) => name.includes('_'));
    }
    if (config.path === undefined || head.path === '') return true;
    const normalized = normalizePath(head.path, config.path);
    if (normalized === undefined) return true;
    if (normalized.kind === 'invalid') {
      this.reply({ status: 400, details: normalized.details, flag: undefined, body: '' });
      return false;
    }
    if (normalized.kind === 'redirect') {
      this.reply({
        status: 307,
        details: 'path_normalization_failed',
        flag: undefined,
        body: '',
        headers: [['location', normalized.path]],
      });
      return false;
    }
    head.path = normalized.path;
    info.path = normalized.path;
    return true;
  }

  #startSpan(): void {
    const { startSpan } = this.runtime.observers;
    if (startSpan === undefined) return;
    const { info } = this;
    this.#span = startSpan((name) => info.requestHeader(name), info);
    for (const [name, value] of this.#span.headersToSet) info.head.headers.set(name, value);
  }

  #mayUpgrade(route: CompiledRoute): boolean {
    const type = this.info.method === 'CONNECT' ? 'connect' : this.info.head.upgrade;
    const ofRoute = route.action.kind === 'route' ? route.action.route.upgrades.get(type) : undefined;
    return ofRoute?.isEnabled ?? this.runtime.config.upgrades.get(type) ?? false;
  }

  /** Runs the filters that are left, then the router. Called by a filter that stopped the request. */
  continueRequest(): void {
    const { filters } = this.runtime;
    while (this.#nextFilter < filters.length) {
      const filter = filters[this.#nextFilter++];
      if (filter?.onRequest?.(this) === 'stop') return;
      if (this.isOver) return;
    }
    const router = new Router(this);
    this.#router = router;
    router.start();
    if (this.isOver) return;
    for (const chunk of this.#held.splice(0)) router.onRequestData(chunk);
    if (this.#heldBytes > HELD_BODY_BYTES) this.sender.resumeRequest();
    if (this.isRequestDone) router.onRequestEnd();
  }

  // --- from downstream

  onData(chunk: Buffer): void {
    const { info } = this;
    info.bytesReceived += chunk.length;
    info.wireBytesReceived += chunk.length;
    if (this.isOver) return;
    this.#touch();
    if (this.#router !== undefined) {
      this.#router.onRequestData(chunk);
      return;
    }
    this.#held.push(chunk);
    this.#heldBytes += chunk.length;
    if (this.#heldBytes > HELD_BODY_BYTES) this.sender.pauseRequest();
  }

  onTrailers(trailers: HeaderMap): void {
    if (!this.isOver) this.#router?.onRequestTrailers(trailers);
  }

  onEnd(): void {
    this.isRequestDone = true;
    this.#requestDeadline?.cancel();
    if (!this.isOver) this.#router?.onRequestEnd();
  }

  onReadEnd(): void {
    this.#router?.flush();
  }

  onWritable(): void {
    this.#router?.onDownstreamWritable();
  }

  onDownstreamReset(details: string): void {
    if (this.isOver) return;
    const isProtocolError = details !== 'downstream_remote_disconnect';
    if (isProtocolError && !this.isResponseStarted) {
      this.isRequestDone = true;
      this.#router?.cancel();
      this.reply({ status: 400, details, flag: 'downstreamProtocolError', body: 'Bad Request' });
      return;
    }
    this.runtime.stats.downstreamRqRxReset++;
    this.info.responseCodeDetails = details;
    this.info.addFlag(isProtocolError ? 'downstreamProtocolError' : 'downstreamConnectionTermination');
    if (!this.isResponseStarted) this.info.responseCode = 0;
    this.#router?.cancel();
    if (isProtocolError) this.sender.reset();
    this.#finish();
  }

  // --- to downstream

  /** Answers in the upstream's place; what was under way upstream must have been given up. */
  reply(reply: LocalReply): void {
    if (this.isOver) return;
    const { info } = this;
    info.responseCodeDetails = reply.details;
    if (reply.flag !== undefined) info.addFlag(reply.flag);
    if (this.isResponseStarted) {
      this.resetResponse();
      return;
    }
    const isGrpc = /^application\/grpc(?:[+;]|$)/.test(info.requestHeader('content-type') ?? '');
    const body = isGrpc ? Buffer.alloc(0) : Buffer.from(reply.body);
    const headers = new HeaderMap();
    for (const [name, value] of reply.headers ?? []) headers.append(name, value);
    if (isGrpc) {
      headers.push('content-type', 'application/grpc');
      headers.push('grpc-status', String(reply.grpcStatus ?? grpcStatusOf(reply.status)));
      if (reply.body.length > 0) headers.append('grpc-message', encodeURIComponent(reply.body.toString()));
    } else if (body.length > 0 && !headers.has('content-type')) headers.push('content-type', 'text/plain');
    const status = isGrpc ? 200 : reply.status;
    const hasBody = info.method !== 'HEAD' && status !== 204 && status !== 304;
    this.sendHead({ status, headers, hasBody, contentLength: hasBody || body.length > 0 ? body.length : -1, upgrade: '', wireBytes: 0 });
    if (hasBody && body.length > 0) this.sendData(body);
    this.endResponse();
  }

  /** Sends the head of the response, be it the upstream's or a local one. */
  sendHead(head: ResponseHead): void {
    const { info, runtime, sender } = this;
    const { config } = runtime;
    this.isResponseStarted = true;
    this.isTunnelOpen = head.upgrade !== '';
    info.responseCode = head.status;
    info.responseHeaders = head.headers;
    info.responseContentLength = head.contentLength;
    const mutations = this.target?.mutations ?? this.route?.mutations;
    if (mutations !== undefined) for (const mutation of mutations.response) mutation.apply(head.headers, info);
    for (let index = runtime.filters.length - 1; index >= 0; index--) runtime.filters[index]?.onResponse?.(this, head);
    const { headers } = head;
    for (const cookie of this.setCookies) headers.append('set-cookie', cookie);
    if (config.server.transformation === 'overwrite') headers.set('server', config.server.name);
    else if (config.server.transformation === 'append-if-absent' && !headers.has('server')) headers.push('server', config.server.name);
    if ((headers.seen & SEEN.date) === 0 && head.upgrade === '') headers.push('date', runtime.date());
    if (config.forwarding.via !== '') headers.append('via', config.forwarding.via);
    if (config.alwaysSetsRequestIdInResponse && info.requestId !== '') headers.set('x-request-id', info.requestId);
    sender.sendHead(head, { closesConnection: runtime.isDraining() });
  }

  sendData(chunk: Buffer): boolean {
    this.info.bytesSent += chunk.length;
    this.#touch();
    return this.sender.sendData(chunk);
  }

  sendTrailers(trailers: HeaderMap): void {
    this.info.responseTrailers = trailers;
    this.sender.sendTrailers(trailers);
  }

  endResponse(): void {
    if (this.isOver) return;
    this.info.wireBytesSent = this.sender.sentWireBytes;
    this.sender.end();
    this.#finish();
  }

  /** The upstream's half of a tunnel is over; the client's goes on. */
  endHalf(): void {
    this.sender.end();
  }

  /** The second half of a tunnel is over too. */
  endTunnel(): void {
    this.info.wireBytesSent = this.sender.sentWireBytes;
    this.#finish();
  }

  /** The response cannot be completed: the client must see that. */
  resetResponse(): void {
    if (this.isOver) return;
    this.info.wireBytesSent = this.sender.sentWireBytes;
    this.sender.reset();
    this.#finish();
  }

  /** The connection went to somebody else; for us the exchange is over. */
  handedOver(): void {
    this.#finish({ isHandedOver: true });
  }

  #finish({ isHandedOver } = { isHandedOver: false }): void {
    if (this.isOver) return;
    this.isOver = true;
    const { info, runtime } = this;
    this.#idle?.cancel();
    this.#requestDeadline?.cancel();
    this.#maxDuration?.cancel();
    this.delay?.cancel();
    this.#held = [];
    runtime.stats.downstreamRqActive--;
    if (info.responseCode !== 0) countResponse(runtime.stats, info.responseCode);
    info.endMonotonicMs = runtime.context.clock.monotonic();
    info.grpcStatus = info.responseTrailers?.get('grpc-status') ?? info.responseHeaders?.get('grpc-status') ?? '';
    for (const filter of runtime.filters) filter.onStreamEnd?.(this);
    if (isHandedOver) {
      runtime.observers.onStreamHandedOver(info);
      return;
    }
    this.#span?.end(info);
    runtime.observers.onStreamEnd(info);
  }

  // --- time

  #touch(): void {
    if (this.#idle === undefined) return;
    const route = this.route?.action;
    this.#idle.arm((route?.kind === 'route' ? route.route.idleTimeoutMs : undefined) ?? this.runtime.config.streamIdleTimeoutMs);
  }

  #onIdle(): void {
    this.runtime.stats.downstreamRqIdleTimeout++;
    this.#giveUp({
      status: this.isRequestDone ? 504 : 408,
      details: 'stream_idle_timeout',
      flag: 'streamIdleTimeout',
      body: 'stream timeout',
    });
  }

  #onRequestTimeout(): void {
    this.runtime.stats.downstreamRqTimeout++;
    this.#giveUp({ status: 408, details: 'request_overall_timeout', flag: undefined, body: 'request timeout' });
  }

  #onMaxDuration(): void {
    this.#giveUp({ status: 408, details: 'max_duration_timeout', flag: 'durationTimeout', body: 'downstream duration timeout' });
  }

  #giveUp(reply: LocalReply): void {
    this.#router?.cancel();
    this.reply(reply);
  }
}

// Source: gRPC, "HTTP to gRPC Status Code Mapping"; envoy Grpc::Utility::httpToGrpcStatus (1.40).
function grpcStatusOf(status: number): number {
  switch (status) {
    case 400:
      return 13;
    case 401:
      return 16;
    case 403:
      return 7;
    case 404:
      return 12;
    case 429:
    case 502:
    case 503:
    case 504:
      return 14;
    default:
      return 2;
  }
}
