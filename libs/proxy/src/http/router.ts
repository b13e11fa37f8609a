import type { CompiledRouteAction } from '@mizzen/matching';
import type { UpstreamCluster } from '../contract.ts';
import { countUpstreamResponse } from '../observe/cluster-stats.ts';
import { type HeaderMap, SEEN } from './headers.ts';
import type { HttpStream } from './http-stream.ts';
import {
  type LocalReply,
  NO_HEALTHY_UPSTREAM,
  perTryTimeout,
  REQUEST_TOO_LARGE_TO_RETRY,
  resetDetails,
  resetFlag,
  resetReply,
  responseTimeout,
} from './local-reply.ts';
import type { Mirror } from './mirror.ts';
import { isToldUpstream } from './peer-metadata-filter.ts';
import { type RetryDecision, RetryState } from './retry-state.ts';
import { KeptBody } from './router-body.ts';
import { chooseEndpoint, hashOf } from './router-endpoint.ts';
import { finalizeRequestHead, setHost } from './router-head.ts';
import { answerOrCluster } from './router-local-answer.ts';
import { startMirrors } from './router-mirrors.ts';
import { redirectedHead } from './router-redirect.ts';
import { countAnswer, type RouteStats, routeStats } from './router-stats.ts';
import { type RequestTimeouts, requestTimeouts, setTimeoutHeaders } from './router-timeouts.ts';
import { handToInternalListener } from './router-tunnel.ts';
import type { ResetReason, ResponseHead } from './stream.ts';
import { Deadline } from './timer-wheel.ts';
import { type AttemptOwner, UpstreamAttempt } from './upstream-attempt.ts';

/** Kept for retries; Envoy's default per_connection_buffer_limit_bytes. */
const KEPT_BODY_BYTES = 1024 * 1024;
/** How often a request that met a connection which the upstream was just closing is sent again. */
const MAX_STALE_CONNECTIONS = 3;
const NO_HEADERS = '';
const NO_MIRRORS: readonly Mirror[] = [];
const NO_COUNTS: readonly RouteStats[] = [];
const NO_TIMEOUTS: RequestTimeouts = { globalMs: 0, perTryMs: 0, perTryIdleMs: 0, setsGrpcTimeout: false, answersWith204: false };

/**
 * The last filter: sends the request to an endpoint of the route's cluster and the response back; tries again as the route says.
 * Source: Envoy, Router filter (1.40).
 */
export class Router implements AttemptOwner {
  readonly #stream: HttpStream;
  #action: CompiledRouteAction | undefined;
  #cluster: UpstreamCluster | undefined;
  #hash: bigint | undefined;
  #retry: RetryState | undefined;
  #attempt: UpstreamAttempt | undefined;
  #mirrors: readonly Mirror[] = NO_MIRRORS;
  #counts: readonly RouteStats[] = NO_COUNTS;
  #timeouts: RequestTimeouts = NO_TIMEOUTS;
  #timeout: Deadline | undefined;
  #perTryIdle: Deadline | undefined;
  #backOff: Deadline | undefined;
  /** What of the body is not sent, or may be needed again. */
  #body: KeptBody | undefined;
  #isRequestDone = false;
  /** When the whole request was there, in monotonic milliseconds. */
  #requestDoneMs = 0;
  #isPausedForUpstream = false;
  #staleConnections = 0;
  #isTunnel = false;
  /** A tunnel whose upstream has said all; the client may still speak. */
  #halfClosed: UpstreamAttempt | undefined;

  constructor(stream: HttpStream) {
    this.#stream = stream;
  }

  start(): void {
    const stream = this.#stream;
    const { info, route, runtime } = stream;
    const answer = answerOrCluster(stream);
    if (answer === undefined || route?.action.kind !== 'route' || 'reply' in answer) {
      if (answer !== undefined && 'reply' in answer) stream.reply(answer.reply);
      return;
    }
    const { cluster } = answer;
    const { route: action } = route.action;
    const { context } = runtime;
    this.#action = action;
    this.#cluster = cluster;
    this.#isTunnel = info.method === 'CONNECT' && action.upgrades.get('connect')?.isConnect === true;
    this.#isRequestDone = stream.isRequestDone;
    this.#requestDoneMs = context.clock.monotonic();
    if (info.head.upgrade === '' && info.method !== 'CONNECT') this.#readTimeouts();
    this.#counts = routeStats(route, info, context.stats);
    this.#hash = hashOf(stream, action);
    finalizeRequestHead(stream, action);
    this.#retry = RetryState.for(action.retryPolicy, info, { cluster, counts: this.#counts, random: context.random, clock: context.clock });
    if (this.#isTunnel && cluster.internalListener !== undefined) {
      handToInternalListener(stream, cluster.internalListener);
      return;
    }
    this.#mirrors = startMirrors(stream, action, { timeoutMs: this.#timeouts.globalMs, isRequestDone: this.#isRequestDone });
    if (this.#isRequestDone) this.#armTimeout();
    this.#try();
  }

  #readTimeouts(): void {
    const { info, runtime } = this.#stream;
    const { headers } = info.head;
    this.#timeouts = requestTimeouts(info, this.#action as CompiledRouteAction, runtime.config);
    setTimeoutHeaders(headers, this.#timeouts, undefined, runtime.config);
  }

  // --- tries

  #try(): void {
    const stream = this.#stream;
    const cluster = this.#cluster as UpstreamCluster;
    const { info } = stream;
    if (cluster.active.requests >= cluster.limits.maxRequests) {
      cluster.stats.upstreamRqPendingOverflow++;
      this.#answerReset('overflow', '');
      return;
    }
    const endpoint = chooseEndpoint(stream, cluster, { hash: this.#hash, isExcluded: this.#retry?.isExcluded });
    if (endpoint === undefined) {
      this.#end();
      this.#reply(NO_HEALTHY_UPSTREAM);
      return;
    }
    this.#retry?.remember(endpoint);
    info.upstreamAttempts++;
    if (stream.route?.virtualHost.includesRequestAttemptCount === true)
      info.head.headers.set('x-envoy-attempt-count', String(info.upstreamAttempts));
    info.upstreamHost = endpoint.addressText;
    // What a proxy in front says of itself in the headers of its answer is better; this is for those that say nothing.
    info.peer = stream.runtime.listener.direction === 'inbound' ? info.peer : endpoint.peer;
    const attempt = new UpstreamAttempt(endpoint, this, stream.runtime);
    this.#attempt = attempt;
    // The time to connect counts too.
    if (this.#isRequestDone) this.#armPerTry(attempt);
    attempt.start(this.#isTunnel ? stream.runtime.context : undefined, info.head.protocol);
  }

  onAttemptReady(attempt: UpstreamAttempt): void {
    const { info, runtime } = this.#stream;
    const upstream = attempt.stream;
    if (upstream === undefined) return;
    for (const stats of this.#counts) stats.upstreamRqTotal++;
    info.upstreamLocalAddress = upstream.localAddress;
    info.upstreamPeerUriSan = upstream.tls?.peer?.uriSans[0] ?? '';
    info.upstreamLocalUriSan = upstream.tls?.localUriSan ?? '';
    info.upstreamRequestSentMs = runtime.context.clock.monotonic();
    const hostRewrite = this.#action?.hostRewrite;
    if (hostRewrite?.kind === 'endpoint' && attempt.endpoint.hostname !== '')
      setHost(this.#stream, attempt.endpoint.hostname, this.#action?.appendXForwardedHost === true);
    let extra = NO_HEADERS;
    const { peerMetadata } = runtime.config;
    if (peerMetadata !== undefined && isToldUpstream(peerMetadata, { cluster: attempt.endpoint.cluster, tls: upstream.tls }))
      extra += peerMetadata.headerLines;
    if (info.head.expectsContinue && runtime.config.proxies100Continue) extra += 'expect: 100-continue\r\n';
    upstream.sendHead(info.head, extra);
    const isWritable = this.#body?.sendTo(upstream) ?? true;
    if (!this.#keepsBody) this.#body?.drop();
    if (this.#isRequestDone) {
      this.#touchPerTryIdle();
      upstream.end();
    } else {
      // What comes of the body with the present read joins the head in one write.
      queueMicrotask(() => upstream.flush());
      if (isWritable) this.#resumeRequest();
    }
  }

  #armPerTry(attempt: UpstreamAttempt): void {
    attempt.armPerTryTimeout(this.#timeouts.perTryMs);
  }

  /** Another try may need what was sent. */
  get #keepsBody(): boolean {
    return (this.#retry !== undefined || this.#action?.internalRedirect !== undefined) && this.#body?.isComplete !== false;
  }

  // --- the request's body

  #bodyToKeep(): KeptBody {
    this.#body ??= new KeptBody(Math.min(this.#stream.route?.requestBufferLimitBytes ?? KEPT_BODY_BYTES, KEPT_BODY_BYTES));
    return this.#body;
  }

  onRequestData(chunk: Buffer): void {
    for (const mirror of this.#mirrors) mirror.onData(chunk);
    const upstream = this.#attempt?.stream;
    if (upstream === undefined || this.#keepsBody) this.#keep(chunk, upstream !== undefined);
    if (upstream === undefined) {
      if (this.#body?.isFull === true) this.#pauseRequest();
    } else if (!upstream.sendData(chunk)) this.#pauseRequest();
  }

  #keep(chunk: Buffer, isSent: boolean): void {
    const body = this.#bodyToKeep();
    const wasComplete = body.isComplete;
    body.keep(chunk, isSent);
    if (!wasComplete || body.isComplete || this.#retry === undefined) return;
    (this.#cluster as UpstreamCluster).stats.retryOrShadowAbandoned++;
    if (this.#backOff?.isArmed !== true) return;
    this.#end();
    this.#reply(REQUEST_TOO_LARGE_TO_RETRY);
  }

  onRequestTrailers(trailers: HeaderMap): void {
    this.#bodyToKeep().trailers = trailers;
    for (const mirror of this.#mirrors) mirror.onTrailers(trailers);
    this.#attempt?.stream?.sendTrailers(trailers);
  }

  onRequestEnd(): void {
    if (this.#isRequestDone) return;
    this.#isRequestDone = true;
    this.#requestDoneMs = this.#stream.runtime.context.clock.monotonic();
    for (const mirror of this.#mirrors) mirror.onEnd();
    const attempt = this.#attempt;
    this.#armTimeout();
    if (attempt === undefined) return;
    if (!attempt.hasResponse) this.#armPerTry(attempt);
    if (attempt.stream === undefined) return;
    this.#touchPerTryIdle();
    attempt.stream.end();
    if (this.#halfClosed !== undefined) {
      this.#end();
      this.#stream.endTunnel();
    }
  }

  flush(): void {
    this.#attempt?.stream?.flush();
  }

  #pauseRequest(): void {
    if (this.#isPausedForUpstream) return;
    this.#isPausedForUpstream = true;
    this.#stream.pauseRequest();
  }

  #resumeRequest(): void {
    if (!this.#isPausedForUpstream) return;
    this.#isPausedForUpstream = false;
    this.#stream.resumeRequest();
  }

  onDownstreamWritable(): void {
    this.#attempt?.stream?.resumeResponse();
  }

  onAttemptWritable(): void {
    this.#resumeRequest();
  }

  // --- the response

  onAttemptContinue(): void {
    const stream = this.#stream;
    if (!stream.info.head.expectsContinue || !stream.runtime.config.proxies100Continue) return;
    // The client sends what it was asked for by this upstream: there is no other one any more.
    this.#retry?.release();
    this.#retry = undefined;
    stream.sender.sendContinue();
  }

  onAttemptHead(attempt: UpstreamAttempt, head: ResponseHead): void {
    const stream = this.#stream;
    const { info, runtime } = stream;
    info.upstreamResponseStartMs = runtime.context.clock.monotonic();
    if (this.#retry !== undefined && head.upgrade === '' && this.#mayRetry() && this.#heed(this.#retry.onHead(head))) {
      attempt.cancel();
      this.#retryLater(false);
      return;
    }
    if (this.#action?.internalRedirect?.statusCodes.has(head.status) === true && this.#followRedirect(attempt, head)) return;
    this.#body?.give();
    info.responseCodeDetails = 'via_upstream';
    for (const stats of this.#counts) countAnswer(stats, head.status);
    const { headers } = head;
    // Of an answer that came before the end of the request nobody can say how long it took.
    if (!runtime.config.suppressesEnvoyHeaders && !this.#isTunnel && this.#isRequestDone)
      setServiceTime(headers, Math.max(0, Math.floor(info.upstreamResponseStartMs - this.#requestDoneMs)));
    if (stream.route?.virtualHost.includesAttemptCountInResponse === true)
      headers.set('x-envoy-attempt-count', String(info.upstreamAttempts));
    stream.sendHead(head);
  }

  /** False: it is the client's to follow. Source: envoy Filter::setupRedirect (1.40). */
  #followRedirect(attempt: UpstreamAttempt, head: ResponseHead): boolean {
    const stream = this.#stream;
    const { stats } = this.#cluster as UpstreamCluster;
    const policy = this.#action?.internalRedirect;
    const isPossible = policy !== undefined && this.#isRequestDone && this.#body?.isComplete !== false;
    const next = isPossible ? redirectedHead(stream, policy, head) : undefined;
    if (next === undefined) {
      stats.upstreamInternalRedirectFailedTotal++;
      return false;
    }
    stats.upstreamInternalRedirectSucceededTotal++;
    const body = next.hasBody ? (this.#body?.chunks ?? []) : [];
    const trailers = next.hasBody ? this.#body?.trailers : undefined;
    this.#end();
    attempt.cancel();
    stream.followRedirect(next, { status: head.status, body, trailers });
    return true;
  }

  onAttemptData(chunk: Buffer): void {
    if (this.#perTryIdle !== undefined) this.#touchPerTryIdle();
    if (!this.#stream.sendData(chunk)) this.#attempt?.stream?.pauseResponse();
  }

  onAttemptTrailers(trailers: HeaderMap): void {
    this.#stream.sendTrailers(trailers);
  }

  onAttemptEnd(attempt: UpstreamAttempt): void {
    if (this.#stream.isTunnelOpen && !this.#isRequestDone) {
      this.#halfClosed = attempt;
      this.#stream.endHalf();
      return;
    }
    this.#end();
    // An answer before the request's end: what is still to come of the request goes nowhere.
    if (!this.#isRequestDone) attempt.stream?.reset();
    this.#stream.endResponse();
  }

  onAttemptReadEnd(): void {
    if (!this.#stream.isOver) this.#stream.sender.flush();
  }

  // --- what goes wrong

  onAttemptReset(attempt: UpstreamAttempt, reason: ResetReason, transportFailure: string): void {
    const stream = this.#stream;
    const { info } = stream;
    this.#attempt = undefined;
    if (transportFailure !== '') info.upstreamTransportFailureReason = transportFailure.replaceAll(' ', '_');
    if (stream.isResponseStarted) {
      this.#end();
      info.responseCodeDetails = `upstream_reset_after_response_started{${resetDetails(reason, transportFailure)}}`;
      info.addFlag(resetFlag(reason));
      stream.resetResponse();
      return;
    }
    if (this.#isStaleConnection(attempt, reason)) {
      this.#staleConnections++;
      info.upstreamAttempts--;
      this.#try();
      return;
    }
    if (this.#retry !== undefined && this.#mayRetry() && this.#heed(this.#retry.onReset(reason, attempt.stream !== undefined))) {
      this.#retryLater(false);
      return;
    }
    this.#answerReset(reason, transportFailure);
  }

  /**
   * The upstream closed an idle connection while the request was on its way to it (RFC 9112 §9.3.1). A safe request that got not one byte of
   * an answer goes out again on another connection, without a retry policy. @deviation: Envoy answers 503 UC.
   */
  #isStaleConnection(attempt: UpstreamAttempt, reason: ResetReason): boolean {
    const { stream } = attempt;
    if (stream === undefined || !stream.isReused || stream.receivedWireBytes > 0 || reason !== 'connection-termination') return false;
    const { method } = this.#stream.info;
    return (
      (method === 'GET' || method === 'HEAD' || method === 'OPTIONS') &&
      !this.#stream.info.head.hasBody &&
      this.#staleConnections < MAX_STALE_CONNECTIONS
    );
  }

  #mayRetry(): boolean {
    return this.#body?.isComplete !== false && !this.#stream.isOver;
  }

  /** Whether to try again; why not is told to the access log. */
  #heed(decision: RetryDecision): boolean {
    if (decision === 'limit-exceeded') this.#stream.info.addFlag('upstreamRetryLimitExceeded');
    else if (decision === 'overflow') this.#stream.info.addFlag('upstreamOverflow');
    return decision === 'retry';
  }

  /** A local answer after the request was meant to go upstream. */
  #reply(reply: LocalReply): void {
    const { info, route } = this.#stream;
    if (route?.virtualHost.includesAttemptCountInResponse !== true) {
      this.#stream.reply(reply);
      return;
    }
    const attempts = ['x-envoy-attempt-count', String(Math.max(info.upstreamAttempts, 1))] as const;
    this.#stream.reply({ ...reply, headers: [...(reply.headers ?? []), attempts] });
  }

  #answerReset(reason: ResetReason, transportFailure: string): void {
    const hasRetried = this.#retry?.hasRetried === true;
    this.#end();
    if (this.#cluster !== undefined) countUpstreamResponse(this.#cluster.stats, 503);
    for (const stats of this.#counts) countAnswer(stats, 503);
    this.#reply(resetReply(reason, { transportFailure, hasRetried, tellsOverload: !this.#stream.runtime.config.suppressesEnvoyHeaders }));
  }

  #retryLater(isAfterTimeout: boolean): void {
    this.#attempt = undefined;
    this.#perTryIdle?.cancel();
    this.#backOff ??= new Deadline(this.#stream.runtime.wheel, () => this.#retryNow());
    const delayMs = (this.#retry as RetryState).backOffMs();
    if (this.#stream.route?.virtualHost.includesIsTimeoutRetry === true)
      this.#stream.info.head.headers.set('x-envoy-is-timeout-retry', String(isAfterTimeout));
    this.#backOff.arm(Math.max(delayMs, 1));
  }

  #retryNow(): void {
    const { info, runtime } = this.#stream;
    const elapsedMs = this.#isRequestDone ? Math.floor(runtime.context.clock.monotonic() - this.#requestDoneMs) : 0;
    setTimeoutHeaders(info.head.headers, this.#timeouts, elapsedMs, runtime.config);
    this.#try();
  }

  onAttemptTimeout(attempt: UpstreamAttempt): void {
    attempt.endpoint.cluster.stats.upstreamRqPerTryTimeout++;
    this.#giveUpTry(attempt, 'upstream_per_try_timeout');
  }

  #touchPerTryIdle(): void {
    const { perTryIdleMs } = this.#timeouts;
    if (perTryIdleMs <= 0) return;
    this.#perTryIdle ??= new Deadline(this.#stream.runtime.wheel, () => this.#onPerTryIdle());
    this.#perTryIdle.arm(perTryIdleMs);
  }

  #onPerTryIdle(): void {
    const attempt = this.#attempt;
    if (attempt === undefined) return;
    attempt.endpoint.cluster.stats.upstreamRqPerTryIdleTimeout++;
    this.#giveUpTry(attempt, 'upstream_per_try_idle_timeout');
  }

  #giveUpTry(attempt: UpstreamAttempt, details: string): void {
    const isSent = attempt.stream !== undefined;
    attempt.endpoint.onFailure();
    attempt.cancel();
    this.#attempt = undefined;
    if (
      !this.#stream.isResponseStarted &&
      this.#retry !== undefined &&
      this.#mayRetry() &&
      this.#heed(this.#retry.onReset('local-reset', isSent))
    ) {
      this.#retryLater(true);
      return;
    }
    this.#end();
    this.#reply(perTryTimeout(details, this.#timeouts.answersWith204));
  }

  #armTimeout(): void {
    const { globalMs } = this.#timeouts;
    if (globalMs <= 0 || this.#timeout !== undefined) return;
    this.#timeout = new Deadline(this.#stream.runtime.wheel, () => this.#onTimeout());
    this.#timeout.arm(globalMs);
  }

  #onTimeout(): void {
    const cluster = this.#cluster as UpstreamCluster;
    cluster.stats.upstreamRqTimeout++;
    if (!this.#stream.isResponseStarted) countUpstreamResponse(cluster.stats, 504);
    for (const stats of this.#counts) {
      stats.upstreamRqTimeout++;
      if (!this.#stream.isResponseStarted) countAnswer(stats, 504);
    }
    const attempt = this.#attempt;
    if (attempt !== undefined && !attempt.hasResponse) attempt.endpoint.onFailure();
    this.#end();
    attempt?.cancel();
    this.#reply(responseTimeout(this.#timeouts.answersWith204));
  }

  /** Gives up whatever is under way upstream; the stream ends otherwise. */
  cancel(): void {
    const attempt = this.#attempt;
    const halfClosed = this.#halfClosed;
    this.#end();
    attempt?.cancel();
    halfClosed?.stream?.reset();
    for (const mirror of this.#mirrors) if (!this.#isRequestDone) mirror.cancel();
  }

  #end(): void {
    this.#attempt = undefined;
    this.#timeout?.cancel();
    this.#perTryIdle?.cancel();
    this.#backOff?.cancel();
    this.#retry?.release();
    this.#body?.drop();
  }
}

function setServiceTime(headers: HeaderMap, durationMs: number): void {
  const name = 'x-envoy-upstream-service-time';
  if ((headers.seen & SEEN.upstreamServiceTime) === 0) headers.push(name, String(durationMs));
  else headers.set(name, String(durationMs));
}
