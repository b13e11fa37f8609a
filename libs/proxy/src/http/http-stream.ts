import type { CompiledRoute, RouteTable, RouteTarget } from '@mizzen/matching';
import type { ActiveSpan } from '../contract.ts';
import { type BodyBuffering, BodyChain, type BodyTransform } from './body-chain.ts';
import type { ConnectionFacts } from './connection-facts.ts';
import { forwardHeaders } from './forwarded-headers.ts';
import { grpcReplyHeaders, grpcStatusOf } from './grpc.ts';
import { countResponse, recordRequestTime } from './hcm-stats.ts';
import { HeaderMap } from './headers.ts';
import type { HttpFilter } from './http-filter.ts';
import type { LocalReply } from './local-reply.ts';
import { NO_PATH, NO_ROUTE, UPGRADE_REFUSED } from './local-reply.ts';
import { normalizeHead } from './request-head.ts';
import { completeResponseHead } from './response-head.ts';
import { Router } from './router.ts';
import type { RedirectHistory } from './router-redirect.ts';
import { isGrpcContentType, streamDurationMs } from './router-timeouts.ts';
import type { HcmRuntime } from './runtime.ts';
import type { RequestHead, RequestReceiver, ResponseHead, ResponseSender } from './stream.ts';
import { StreamDeadlines } from './stream-deadlines.ts';
import { HttpStreamInfo } from './stream-info.ts';

const NO_NAMES: readonly string[] = [];

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
  /** Cookies that the hash policy makes, for the response. */
  readonly setCookies: string[] = [];
  /** The client has sent all. */
  isRequestReceived: boolean;
  /** Nothing of the request is to come to the router any more. */
  isRequestDone: boolean;
  isResponseStarted = false;
  /** Whether answers of the proxy are gRPC's; undefined: where the request says so now. A filter that makes gRPC of a request knows better. */
  repliesAsGrpc: boolean | undefined;
  /** The body of an answer of the proxy itself, for filters that look at its head. */
  localReplyBody: Buffer | undefined;
  /** An upgrade or CONNECT was accepted: bytes go both ways as they are. */
  isTunnelOpen = false;
  isOver = false;
  /** Redirects that were followed for this client's request. */
  redirects: RedirectHistory | undefined;
  /** Answers the client in the place of this one. */
  #successor: HttpStream | undefined;
  readonly #deadlines: StreamDeadlines;
  #router: Router | undefined;
  #span: ActiveSpan | undefined;
  #filters: readonly HttpFilter[];
  #nextFilter = 0;
  #isRouterBlocked = false;
  /** The ways of the bodies through filters that change or hold them; undefined for most streams. */
  #requestBody: BodyChain | undefined;
  #responseBody: BodyChain | undefined;
  #requestTrailers: HeaderMap | undefined;
  #responseTrailers: HeaderMap | undefined;
  #isRequestBodyEnded = false;
  #isResponseBodyEnded = false;
  #kept: Map<HttpFilter, unknown> | undefined;

  constructor(runtime: HcmRuntime, facts: ConnectionFacts, exchange: { readonly head: RequestHead; readonly sender: ResponseSender }) {
    this.runtime = runtime;
    this.sender = exchange.sender;
    const { clock, random } = runtime.context;
    this.info = new HttpStreamInfo(exchange.head, facts, { nowMs: clock.now(), monotonicMs: clock.monotonic(), random: random() });
    this.isRequestReceived = !exchange.head.hasBody;
    this.isRequestDone = this.isRequestReceived;
    this.#filters = runtime.filters.enabled;
    runtime.stats.downstreamRqTotal++;
    if (exchange.head.protocol === 'HTTP/2') runtime.stats.downstreamRqHttp2Total++;
    else runtime.stats.downstreamRqHttp1Total++;
    runtime.stats.downstreamRqActive++;
    this.#deadlines = new StreamDeadlines(this);
  }

  start(): void {
    const { runtime, info } = this;
    const { config } = runtime;
    if (!this.isRequestReceived) this.#deadlines.armRequest();
    if (info.head.expectsContinue && !config.proxies100Continue) this.sender.sendContinue();
    let refusal = normalizeHead(info, config);
    if (refusal !== undefined) {
      this.reply(refusal);
      return;
    }
    const table = runtime.routeTable();
    const internalOnlyHeaders = table?.internalOnlyHeaders ?? NO_NAMES;
    refusal = forwardHeaders(info, config.forwarding, { internalOnlyHeaders, newRequestId: runtime.newRequestId });
    if (refusal !== undefined) {
      this.reply(refusal);
      return;
    }
    this.#route(table);
  }

  #route(table: RouteTable | undefined): void {
    const { runtime, info } = this;
    if (info.path === '*') {
      this.reply(NO_PATH);
      return;
    }
    const route = table?.match(info);
    if (route !== undefined) this.#takeRoute(route);
    this.#filters = runtime.filters.for(this.target?.filterConfig ?? route?.filterConfig);
    this.#startSpan();
    if ((info.head.upgrade !== '' || info.method === 'CONNECT') && !this.#mayUpgrade()) {
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
    const { idleTimeoutMs } = route.action.route;
    if (idleTimeoutMs !== undefined) this.#deadlines.setIdleMs(idleTimeoutMs);
    const maxMs = streamDurationMs(info, route.action.route, this.runtime.config.maxStreamDurationMs);
    if (maxMs > 0) this.#deadlines.armMaxDuration(maxMs);
  }

  #startSpan(): void {
    const { startSpan } = this.runtime.observers;
    if (startSpan === undefined) return;
    const { info } = this;
    this.#span = startSpan((name) => info.requestHeader(name), info);
    for (const [name, value] of this.#span.headersToSet) info.head.headers.set(name, value);
  }

  #mayUpgrade(): boolean {
    const { route } = this;
    if (route === undefined) return true;
    const type = this.info.method === 'CONNECT' ? 'connect' : this.info.head.upgrade;
    const ofRoute = route.action.kind === 'route' ? route.action.route.upgrades.get(type) : undefined;
    return ofRoute?.isEnabled ?? this.runtime.config.upgrades.get(type) ?? false;
  }

  // --- filters

  /** Runs the filters that are left, then the router. Called by a filter that stopped the request, once it may go on. */
  continueRequest(): void {
    if (this.isOver) return;
    while (this.#nextFilter < this.#filters.length) {
      const filter = this.#filters[this.#nextFilter++];
      const decision = filter?.onRequest?.(this);
      if (this.isOver) return;
      if (decision === 'stop') {
        this.#holdRequest();
        return;
      }
    }
    if (this.route === undefined) {
      this.runtime.stats.noRoute++;
      this.reply(NO_ROUTE);
      return;
    }
    const router = new Router(this);
    this.#router = router;
    router.start();
    if (this.isOver || this.#requestBody === undefined) return;
    this.#requestBody.flowTo({ write: (chunk) => this.#routeData(chunk), end: (trailers) => this.#routeEnd(trailers) });
    this.#endRequestBody();
  }

  /** The body, or what is to come of it, stays behind the filter that stopped. */
  #holdRequest(): void {
    if (this.#requestBody === undefined && this.isRequestReceived) return;
    const body = this.#bodyOfRequest();
    if (!body.isHeldAtEnd) body.addHold();
    body.advance();
    this.#endRequestBody();
  }

  #bodyOfRequest(): BodyChain {
    this.#requestBody ??= new BodyChain({
      onDrained: () => this.sender.resumeRequest(),
      onFailed: (details) => this.giveUp({ status: 400, details, flag: 'downstreamProtocolError', body: 'Bad Request' }),
    });
    return this.#requestBody;
  }

  #endRequestBody(): void {
    if (!this.isRequestReceived || this.#isRequestBodyEnded || this.isOver) return;
    this.#isRequestBodyEnded = true;
    this.#requestBody?.end(this.#requestTrailers);
  }

  #routeData(chunk: Buffer): boolean {
    if (this.isOver) return true;
    this.#router?.onRequestData(chunk);
    this.#flushLater();
    return !this.#isRouterBlocked;
  }

  #routeEnd(trailers: HeaderMap | undefined): void {
    if (this.isOver) return;
    this.isRequestDone = true;
    if (trailers !== undefined) this.#router?.onRequestTrailers(trailers);
    this.#router?.onRequestEnd();
  }

  /** What a transform pushes may come outside of a read, at whose end all is written. */
  #flushLater(): void {
    queueMicrotask(() => {
      if (this.isOver) return;
      this.#router?.flush();
      this.sender.flush();
    });
  }

  /** The filters that run for this stream, in order. */
  get filters(): readonly HttpFilter[] {
    return this.#filters;
  }

  /** What the route says to a filter, by the full name of the per-route message or `environment.routeKey(schema)`; compiled. */
  filterConfig<T>(key: string): T | undefined {
    return (this.target?.filterConfig ?? this.route?.filterConfig)?.get(key) as T | undefined;
  }

  /** The same of every level, from the route configuration to the weighted cluster. */
  filterConfigs<T>(key: string): readonly T[] {
    return ((this.target?.filterConfig ?? this.route?.filterConfig)?.all(key) ?? []) as readonly T[];
  }

  /** What a filter knows of this stream until its end. */
  keep(filter: HttpFilter, state: unknown): void {
    this.#kept ??= new Map();
    this.#kept.set(filter, state);
  }

  kept<T>(filter: HttpFilter): T | undefined {
    return this.#kept?.get(filter) as T | undefined;
  }

  /**
   * Waits for the whole body of the request; called from `onRequest`, which then answers `stop`. One of the two is called once, later;
   * a request without a body is complete as soon as the filter has stopped. `continueRequest` sends the body on.
   */
  bufferRequest(buffering: BodyBuffering): void {
    this.#bodyOfRequest().addHold(buffering);
  }

  /** Changes the body of the request; called from `onRequest`. A request without a body has none to change. */
  transformRequest(transform: BodyTransform): void {
    if (!this.isRequestReceived) this.#bodyOfRequest().addTransform(transform);
  }

  /** Changes the body of the response; called from `onResponse`, by a filter that has looked whether it has one (`head.hasBody`). */
  transformResponse(transform: BodyTransform): void {
    if (this.#responseBody === undefined) {
      this.#responseBody = new BodyChain({
        onDrained: () => this.#router?.onDownstreamWritable(),
        onFailed: (details) => {
          this.info.responseCodeDetails = details;
          this.#router?.cancel();
          this.resetResponse();
        },
      });
    }
    this.#responseBody.addTransform(transform);
  }

  /** Matches the route again; called by a filter that changed the head of the request, after it did. */
  clearRouteCache(): void {
    const { info } = this;
    this.route = undefined;
    this.target = undefined;
    info.routeName = '';
    info.virtualHostName = '';
    info.upstreamCluster = '';
    info.destinationService = undefined;
    const route = this.runtime.routeTable()?.match(this.info);
    if (route !== undefined) this.#takeRoute(route);
  }

  /**
   * The upstream sent the client elsewhere, and the proxy goes there in its place: this exchange is over, and the client is answered by the
   * next one. The request must be there as a whole. Source: envoy ActiveStream::recreateStream (1.40).
   */
  followRedirect(
    head: RequestHead,
    from: { readonly status: number; readonly body: readonly Buffer[]; readonly trailers: HeaderMap | undefined },
  ): void {
    const { info, runtime } = this;
    const next = new HttpStream(runtime, info.facts, { head, sender: this.sender });
    next.redirects = this.redirects;
    next.info.scheme = info.scheme;
    next.info.requestId = info.requestId;
    next.info.downstreamRemoteAddress = info.downstreamRemoteAddress;
    this.#successor = next;
    info.responseCode = from.status;
    info.responseCodeDetails = 'internal_redirect';
    this.#finish();
    next.#route(runtime.routeTable());
    if (!head.hasBody) return;
    for (const chunk of from.body) next.onData(chunk);
    if (from.trailers !== undefined) next.onTrailers(from.trailers);
    next.onEnd();
    next.onReadEnd();
  }

  // --- from downstream

  onData(chunk: Buffer): void {
    const { info } = this;
    info.bytesReceived += chunk.length;
    info.wireBytesReceived += chunk.length;
    if (this.isOver) return;
    this.#deadlines.touch();
    if (this.#requestBody === undefined) this.#router?.onRequestData(chunk);
    // A filter that answers meanwhile is done with the client's bytes.
    else if (!this.#requestBody.write(chunk) && !this.isOver) this.sender.pauseRequest();
  }

  onTrailers(trailers: HeaderMap): void {
    if (this.isOver) return;
    if (this.#requestBody === undefined) this.#router?.onRequestTrailers(trailers);
    else this.#requestTrailers = trailers;
  }

  onEnd(): void {
    this.isRequestReceived = true;
    if (this.info.requestEndMs === 0) this.info.requestEndMs = this.runtime.context.clock.monotonic();
    this.#deadlines.cancelRequest();
    if (this.isOver) return;
    if (this.#requestBody !== undefined) {
      this.#endRequestBody();
      return;
    }
    this.isRequestDone = true;
    this.#router?.onRequestEnd();
  }

  onReadEnd(): void {
    this.#successor?.onReadEnd();
    this.#router?.flush();
  }

  onWritable(): void {
    this.#successor?.onWritable();
    if (this.#responseBody === undefined) this.#router?.onDownstreamWritable();
    else this.#responseBody.onExitDrained();
  }

  /** The router takes no more of the request's body for now. */
  pauseRequest(): void {
    this.#isRouterBlocked = true;
    if (this.#requestBody === undefined) this.sender.pauseRequest();
  }

  resumeRequest(): void {
    this.#isRouterBlocked = false;
    if (this.#requestBody === undefined) this.sender.resumeRequest();
    else this.#requestBody.onExitDrained();
  }

  onDownstreamReset(details: string): void {
    this.#successor?.onDownstreamReset(details);
    if (this.isOver) return;
    const isProtocolError = details !== 'downstream_remote_disconnect' && !details.startsWith('http2.remote_re');
    if (isProtocolError && !this.isResponseStarted) {
      this.isRequestReceived = true;
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
  reply(original: LocalReply): void {
    if (this.isOver) return;
    const { info } = this;
    info.responseCodeDetails = original.details;
    if (original.flag !== undefined) info.addFlag(original.flag);
    if (this.isResponseStarted) {
      this.resetResponse();
      return;
    }
    const reply = this.runtime.config.localReplies?.(original, info) ?? original;
    if (this.repliesAsGrpc ?? isGrpcContentType(info.requestHeader('content-type'))) {
      const headers = grpcReplyHeaders(reply);
      for (const [name, value] of reply.headers ?? []) if (name !== 'content-type') headers.append(name, value);
      this.sendHead({ status: 200, headers, hasBody: false, contentLength: -1, upgrade: '', wireBytes: 0 });
      this.endResponse();
      return;
    }
    const body = Buffer.from(reply.body);
    const headers = new HeaderMap();
    for (const [name, value] of reply.headers ?? []) headers.append(name, value);
    if (body.length > 0 && !headers.has('content-type')) headers.push('content-type', 'text/plain');
    const { status } = reply;
    const hasBody = body.length > 0 && info.method !== 'HEAD' && status !== 204 && status !== 304;
    const contentLength = body.length > 0 ? body.length : -1;
    const head: ResponseHead = { status, headers, hasBody, contentLength, upgrade: '', wireBytes: 0 };
    this.localReplyBody = body;
    this.sendHead(head);
    // A filter may have put the body into the head.
    if (head.hasBody && body.length > 0) this.sendData(body);
    this.endResponse();
  }

  /** Sends the head of the response, be it the upstream's or a local one. */
  sendHead(head: ResponseHead): void {
    const { info, runtime, sender } = this;
    this.isResponseStarted = true;
    this.isTunnelOpen = head.upgrade !== '';
    info.responseCode = head.status;
    info.responseHeaders = head.headers;
    info.responseContentLength = head.contentLength;
    const mutations = this.target?.mutations ?? this.route?.mutations;
    if (mutations !== undefined) for (const mutation of mutations.response) mutation.apply(head.headers, info);
    for (let index = this.#filters.length - 1; index >= 0; index--) this.#filters[index]?.onResponse?.(this, head);
    if (this.isOver) return;
    info.responseContentLength = head.contentLength;
    this.#responseBody?.flowTo({ write: (chunk) => this.#passData(chunk), end: (trailers) => this.#passEnd(trailers) });
    for (const cookie of this.setCookies) head.headers.append('set-cookie', cookie);
    completeResponseHead(head, info, runtime);
    sender.sendHead(head, { closesConnection: runtime.isDraining() });
  }

  sendData(chunk: Buffer): boolean {
    this.#deadlines.touch();
    if (this.#responseBody !== undefined) return this.#responseBody.write(chunk);
    this.info.bytesSent += chunk.length;
    return this.sender.sendData(chunk);
  }

  sendTrailers(trailers: HeaderMap): void {
    if (this.#responseBody !== undefined) {
      this.#responseTrailers = trailers;
      return;
    }
    this.info.responseTrailers = trailers;
    this.sender.sendTrailers(trailers);
  }

  endResponse(): void {
    if (this.isOver || this.#isResponseBodyEnded) return;
    if (this.#responseBody !== undefined) {
      this.#isResponseBodyEnded = true;
      this.#responseBody.end(this.#responseTrailers);
      return;
    }
    this.#endExchange();
  }

  #passData(chunk: Buffer): boolean {
    if (this.isOver) return true;
    this.info.bytesSent += chunk.length;
    this.#flushLater();
    return this.sender.sendData(chunk);
  }

  #passEnd(trailers: HeaderMap | undefined): void {
    if (this.isOver) return;
    if (trailers !== undefined) {
      this.info.responseTrailers = trailers;
      this.sender.sendTrailers(trailers);
    }
    this.#endExchange();
  }

  #endExchange(): void {
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
    this.#deadlines.cancel();
    this.#requestBody?.destroy();
    this.#responseBody?.destroy();
    runtime.stats.downstreamRqActive--;
    if (info.responseCode !== 0) countResponse(runtime.stats, info.responseCode);
    info.endMonotonicMs = runtime.context.clock.monotonic();
    recordRequestTime(runtime.stats, info.endMonotonicMs - info.startMonotonicMs);
    info.grpcStatus = grpcStatusOf(info);
    for (const filter of this.#filters) filter.onStreamEnd?.(this);
    if (isHandedOver) {
      runtime.observers.onStreamHandedOver(info);
      return;
    }
    this.#span?.end(info);
    runtime.observers.onStreamEnd(info);
  }

  /** Answers in place of whatever is under way upstream. */
  giveUp(reply: LocalReply): void {
    this.#router?.cancel();
    this.reply(reply);
  }
}
