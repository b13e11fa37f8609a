import type { CompiledRouteAction } from '@mizzen/matching';
import type { ConnectionNeeds, UpstreamCluster } from '../contract.ts';
import type { HeaderMap } from './headers.ts';
import type { HttpStream } from './http-stream.ts';
import { NO_HEALTHY_UPSTREAM } from './local-reply.ts';
import type { Mirror } from './mirror.ts';
import { RetryState } from './retry-state.ts';
import { KeptBody } from './router-body.ts';
import { armTimeout, cancelDeadlines, touchPerTryIdle } from './router-deadlines.ts';
import { chooseEndpoint, connectionNeedsOf, hashOf } from './router-endpoint.ts';
import { answerReset, giveUpTry, keepForNextTry, onTryLost, replyForUpstream } from './router-failures.ts';
import { finalizeRequestHead, finalizeResponseHead, sendRequestHead } from './router-head.ts';
import { answerOrCluster } from './router-local-answer.ts';
import { startMirrors } from './router-mirrors.ts';
import { followRedirect } from './router-redirect.ts';
import { retriesHead, retryLater } from './router-retries.ts';
import { countAnswer, type RouteStats, recordAnswerTime, routeStats } from './router-stats.ts';
import { NO_TIMEOUTS, type RequestTimeouts, requestTimeouts, setTimeoutHeaders } from './router-timeouts.ts';
import { handToInternalListener } from './router-tunnel.ts';
import type { ResetReason, ResponseHead } from './stream.ts';
import { startTrySpan } from './stream-span.ts';
import type { Deadline } from './timer-wheel.ts';
import { endTrySpan } from './try-span.ts';
import { type AttemptOwner, UpstreamAttempt } from './upstream-attempt.ts';

const NO_MIRRORS: readonly Mirror[] = [];
const NO_COUNTS: readonly RouteStats[] = [];

/**
 * The last filter: sends the request to an endpoint of the route's cluster and the response back; tries again as the route says.
 * What is open here is for `router-retries.ts`, `router-failures.ts`, `router-deadlines.ts` and `router-redirect.ts`.
 * Source: Envoy, Router filter (1.40).
 */
export class Router implements AttemptOwner {
  readonly stream: HttpStream;
  action: CompiledRouteAction | undefined;
  cluster: UpstreamCluster | undefined;
  retry: RetryState | undefined;
  /** The present try. */
  attempt: UpstreamAttempt | undefined;
  counts: readonly RouteStats[] = NO_COUNTS;
  timeouts: RequestTimeouts = NO_TIMEOUTS;
  timeout: Deadline<Router> | undefined = undefined;
  perTryIdle: Deadline<Router> | undefined = undefined;
  backOff: Deadline<Router> | undefined = undefined;
  /** What of the body is not sent, or may be needed again. */
  body: KeptBody | undefined;
  isRequestDone = false;
  /** When the whole request was there, in monotonic milliseconds. */
  requestDoneMs = 0;
  /** Tries that met a connection which was just closing. */
  staleConnections = 0;
  #hash: bigint | undefined;
  /** undefined where any connection will do. */
  #needs: ConnectionNeeds | undefined;
  #mirrors: readonly Mirror[] = NO_MIRRORS;
  #isPausedForUpstream = false;
  #isTunnel = false;
  /** A tunnel whose upstream has said all; the client may still speak. */
  #halfClosed: UpstreamAttempt | undefined;

  constructor(stream: HttpStream) {
    this.stream = stream;
  }

  start(): void {
    const stream = this.stream;
    const { info, route, runtime } = stream;
    const answer = answerOrCluster(stream);
    if (answer === undefined || route?.action.kind !== 'route' || 'reply' in answer) {
      if (answer !== undefined && 'reply' in answer) stream.reply(answer.reply);
      return;
    }
    const { route: action } = route.action;
    const cluster = (action.hasHighPriority ? answer.cluster.highPriority : undefined) ?? answer.cluster;
    const { context } = runtime;
    this.action = action;
    this.cluster = cluster;
    this.#isTunnel = info.method === 'CONNECT' && action.upgrades.get('connect')?.isConnect === true;
    this.isRequestDone = stream.isRequestDone;
    this.requestDoneMs = context.clock.monotonic();
    if (info.head.upgrade === '' && info.method !== 'CONNECT') {
      this.timeouts = requestTimeouts(info, action, runtime.config);
      setTimeoutHeaders(info.head.headers, this.timeouts, undefined, runtime.config);
    }
    this.counts = routeStats(route, info, context.stats);
    this.#hash = hashOf(stream, action);
    finalizeRequestHead(stream, action);
    this.retry = RetryState.for(action.retryPolicy, info, { cluster, counts: this.counts, random: context.random, clock: context.clock });
    if (this.#isTunnel && cluster.internalListener !== undefined) {
      handToInternalListener(stream, cluster.internalListener);
      return;
    }
    this.#mirrors = startMirrors(stream, action, { timeoutMs: this.timeouts.globalMs, isRequestDone: this.isRequestDone });
    if (this.isRequestDone) armTimeout(this);
    this.try();
  }

  // --- tries

  /** Sends the request to an endpoint; again for every retry. */
  try(): void {
    const stream = this.stream;
    const cluster = this.cluster as UpstreamCluster;
    const { info } = stream;
    if (cluster.active.requests >= cluster.limits.maxRequests) {
      cluster.stats.upstreamRqActiveOverflow++;
      answerReset(this, 'overflow', '');
      return;
    }
    const endpoint = chooseEndpoint(stream, cluster, { hash: this.#hash, isExcluded: this.retry?.isExcluded });
    if (endpoint === undefined) {
      cluster.stats.upstreamCxNoneHealthy++;
      this.end();
      replyForUpstream(this, NO_HEALTHY_UPSTREAM);
      return;
    }
    this.retry?.remember(endpoint);
    info.upstreamAttempts++;
    if (stream.route?.virtualHost.includesRequestAttemptCount === true)
      info.head.headers.set('x-envoy-attempt-count', String(info.upstreamAttempts));
    // What a proxy in front says of itself in the headers of its answer is better; this is for those that say nothing.
    info.peer = stream.runtime.listener.direction === 'inbound' ? info.peer : endpoint.peer;
    const attempt = new UpstreamAttempt(endpoint, this, stream.runtime);
    this.attempt = attempt;
    info.onAttempt(attempt);
    const span = startTrySpan(stream);
    if (span !== undefined) attempt.onFinished = (ended) => endTrySpan(span, info, ended);
    // The time to connect counts too.
    if (this.isRequestDone) attempt.armPerTryTimeout(this.timeouts.perTryMs);
    this.#needs ??= connectionNeedsOf(stream, cluster);
    attempt.start(this.#isTunnel ? stream.runtime.context : undefined, { downstreamProtocol: info.head.protocol, needs: this.#needs });
  }

  onAttemptReady(attempt: UpstreamAttempt): void {
    const { info, runtime } = this.stream;
    const upstream = attempt.stream;
    if (upstream === undefined) return;
    for (const stats of this.counts) stats.upstreamRqTotal++;
    info.onAttemptReady(upstream, runtime.context.clock.monotonic());
    sendRequestHead(this.stream, this.action as CompiledRouteAction, attempt);
    const isWritable = this.body?.sendTo(upstream) ?? true;
    if (!this.#keepsBody) this.body?.drop();
    if (this.isRequestDone) {
      touchPerTryIdle(this);
      upstream.end();
    } else {
      // What comes of the body with the present read joins the head in one write. HTTP/2 sees to that itself.
      if (upstream.protocol !== 'HTTP/2') queueMicrotask(() => upstream.flush());
      if (isWritable) this.#resumeRequest();
    }
  }

  /** Another try may need what was sent. */
  get #keepsBody(): boolean {
    return (this.retry !== undefined || this.action?.internalRedirect !== undefined) && this.body?.isComplete !== false;
  }

  // --- the request's body

  onRequestData(chunk: Buffer): void {
    for (const mirror of this.#mirrors) mirror.onData(chunk);
    const upstream = this.attempt?.stream;
    if (upstream === undefined || this.#keepsBody) keepForNextTry(this, chunk, upstream !== undefined);
    if (upstream === undefined) {
      if (this.body?.isFull === true) this.#pauseRequest();
    } else if (!upstream.sendData(chunk)) this.#pauseRequest();
  }

  onRequestTrailers(trailers: HeaderMap): void {
    this.body ??= KeptBody.of(this.stream.route);
    this.body.trailers = trailers;
    for (const mirror of this.#mirrors) mirror.onTrailers(trailers);
    this.attempt?.stream?.sendTrailers(trailers);
  }

  onRequestEnd(): void {
    if (this.isRequestDone) return;
    this.isRequestDone = true;
    this.requestDoneMs = this.stream.runtime.context.clock.monotonic();
    for (const mirror of this.#mirrors) mirror.onEnd();
    const attempt = this.attempt;
    armTimeout(this);
    if (attempt === undefined) return;
    if (!attempt.hasResponse) attempt.armPerTryTimeout(this.timeouts.perTryMs);
    if (attempt.stream === undefined) return;
    touchPerTryIdle(this);
    attempt.stream.end();
    if (this.#halfClosed !== undefined) {
      this.end();
      this.stream.endTunnel();
    }
  }

  flush(): void {
    this.attempt?.stream?.flush();
  }

  #pauseRequest(): void {
    if (this.#isPausedForUpstream) return;
    this.#isPausedForUpstream = true;
    this.stream.pauseRequest();
  }

  #resumeRequest(): void {
    if (!this.#isPausedForUpstream) return;
    this.#isPausedForUpstream = false;
    this.stream.resumeRequest();
  }

  onDownstreamWritable(): void {
    this.attempt?.stream?.resumeResponse();
  }

  onAttemptWritable(): void {
    this.#resumeRequest();
  }

  // --- the response

  onAttemptContinue(): void {
    const stream = this.stream;
    if (!stream.info.head.expectsContinue || !stream.runtime.config.proxies100Continue) return;
    // The client sends what it was asked for by this upstream: there is no other one any more.
    this.retry?.release();
    this.retry = undefined;
    stream.sender.sendContinue();
  }

  onAttemptHead(attempt: UpstreamAttempt, head: ResponseHead): void {
    const stream = this.stream;
    const { info, runtime } = stream;
    info.upstreamResponseStartMs = runtime.context.clock.monotonic();
    if (retriesHead(this, head)) {
      attempt.cancel();
      retryLater(this, false);
      return;
    }
    if (this.action?.internalRedirect?.statusCodes.has(head.status) === true && followRedirect(this, attempt, head)) return;
    this.body?.give();
    info.responseCodeDetails = 'via_upstream';
    for (const stats of this.counts) countAnswer(stats, head.status);
    // Of an answer that came before the end of the request nobody can say how long it took.
    const isTimed = !this.#isTunnel && this.isRequestDone;
    finalizeResponseHead(stream, head, isTimed ? info.upstreamResponseStartMs - this.requestDoneMs : undefined);
    stream.sendHead(head);
  }

  onAttemptData(chunk: Buffer): void {
    if (this.perTryIdle !== undefined) touchPerTryIdle(this);
    if (!this.stream.sendData(chunk)) this.attempt?.stream?.pauseResponse();
  }

  onAttemptTrailers(trailers: HeaderMap): void {
    this.stream.sendTrailers(trailers);
  }

  onAttemptEnd(attempt: UpstreamAttempt): void {
    if (this.stream.isTunnelOpen && !this.isRequestDone) {
      this.#halfClosed = attempt;
      this.stream.endHalf();
      return;
    }
    if (this.counts.length > 0) recordAnswerTime(this.counts, attempt.endedMs - attempt.startedMs);
    this.end();
    // An answer before the request's end: what is still to come of the request goes nowhere.
    if (!this.isRequestDone) attempt.stream?.reset();
    this.stream.endResponse();
  }

  onAttemptReadEnd(): void {
    if (!this.stream.isOver) this.stream.sender.flush();
  }

  onAttemptReset(attempt: UpstreamAttempt, reason: ResetReason, transportFailure: string): void {
    onTryLost(this, attempt, { reason, transportFailure });
  }

  onAttemptTimeout(attempt: UpstreamAttempt): void {
    attempt.endpoint.cluster.stats.upstreamRqPerTryTimeout++;
    attempt.endpoint.stats.requestsTimeout++;
    giveUpTry(this, attempt, 'upstream_per_try_timeout');
  }

  // --- the end

  /** Gives up whatever is under way upstream; the stream ends otherwise. */
  cancel(): void {
    const attempt = this.attempt;
    const halfClosed = this.#halfClosed;
    this.end();
    attempt?.cancel();
    halfClosed?.stream?.reset();
    for (const mirror of this.#mirrors) if (!this.isRequestDone) mirror.cancel();
  }

  /** Nothing more is wanted of the upstream. */
  end(): void {
    this.attempt = undefined;
    cancelDeadlines(this);
    this.retry?.release();
    this.body?.drop();
  }
}
