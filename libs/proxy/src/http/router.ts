import type { CompiledRouteAction } from '@mizzen/matching';
import type { DownstreamConnection, UpstreamCluster, UpstreamEndpoint } from '../contract.ts';
import { cleanValue, HeaderMap, SEEN } from './headers.ts';
import type { HttpStream } from './http-stream.ts';
import {
  clusterNotFound,
  NO_HEALTHY_UPSTREAM,
  PER_TRY_TIMEOUT,
  RESPONSE_TIMEOUT,
  resetDetails,
  resetFlag,
  resetReply,
} from './local-reply.ts';
import { Mirror } from './mirror.ts';
import { isToldUpstream } from './peer-metadata-filter.ts';
import { RetryState } from './retry-state.ts';
import type { RequestHead, ResetReason, ResponseHead } from './stream.ts';
import { Deadline } from './timer-wheel.ts';
import { type AttemptOwner, UpstreamAttempt } from './upstream-attempt.ts';

/** A request body that waits for a connection holds the client back beyond this. */
const WAITING_BODY_BYTES = 64 * 1024;
/** Kept for retries and mirrors; Envoy's default per_connection_buffer_limit_bytes. */
const KEPT_BODY_BYTES = 1024 * 1024;
/** How often a request that met a connection which the upstream was just closing is sent again. */
const MAX_STALE_CONNECTIONS = 3;
const NO_HEADERS = '';

/**
 * The last filter: sends the request to an endpoint of the route's cluster and the response back; tries again as the route says.
 * Source: Envoy, Router filter (1.40).
 */
export class Router implements AttemptOwner {
  readonly #stream: HttpStream;
  #action: CompiledRouteAction | undefined;
  #cluster: UpstreamCluster | undefined;
  #hash: number | undefined;
  #retry: RetryState | undefined;
  #attempt: UpstreamAttempt | undefined;
  #mirrors: Mirror[] = [];
  #timeout: Deadline | undefined;
  #timeoutMs = 0;
  #isHostRewritten = false;
  #backOff: Deadline | undefined;
  /** The body so far, as long as another try may need it or no connection is there yet. */
  #body: Buffer[] = [];
  #bodyBytes = 0;
  #isBodyKept = true;
  #trailers: HeaderMap | undefined;
  #isRequestDone = false;
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
    const { info, route } = stream;
    if (route === undefined) return;
    const { action } = route;
    if (action.kind === 'redirect') {
      stream.reply({
        status: action.redirect.status,
        details: 'direct_response',
        flag: undefined,
        body: '',
        headers: [['location', action.redirect.location(info)]],
      });
      return;
    }
    if (action.kind === 'direct-response') {
      stream.reply({ status: action.status, details: 'direct_response', flag: undefined, body: action.body });
      return;
    }
    this.#action = action.route;
    const { context } = stream.runtime;
    const cluster = stream.target === undefined ? undefined : context.cluster(stream.target.cluster);
    if (cluster === undefined) {
      stream.reply(clusterNotFound(action.route.clusterNotFoundStatus));
      return;
    }
    this.#cluster = cluster;
    this.#isTunnel = info.method === 'CONNECT' && action.route.upgrades.get('connect')?.isConnect === true;
    this.#isRequestDone = stream.isRequestDone;
    this.#timeoutMs = info.head.upgrade !== '' || info.method === 'CONNECT' ? 0 : this.#routeTimeout();
    this.#hash = this.#computeHash();
    this.#finalizeHead();
    this.#retry = RetryState.for(action.route.retryPolicy, info, { cluster, random: context.random });
    if (this.#isTunnel && cluster.internalListener !== undefined) {
      this.#handToInternalListener(cluster.internalListener);
      return;
    }
    this.#startMirrors(action.route);
    if (this.#isRequestDone) this.#armTimeout();
    this.#try();
  }

  // --- the request's head

  #routeTimeout(): number {
    const { timeoutMs, maxGrpcTimeoutMs } = this.#action as CompiledRouteAction;
    const { headers } = this.#stream.info.head;
    if (maxGrpcTimeoutMs === undefined || (headers.seen & SEEN.grpcTimeout) === 0) return timeoutMs;
    const asked = parseGrpcTimeout(headers.get('grpc-timeout'));
    if (asked === undefined) return timeoutMs;
    return maxGrpcTimeoutMs > 0 ? Math.min(asked, maxGrpcTimeoutMs) : asked;
  }

  #computeHash(): number | undefined {
    const { hash } = this.#action as CompiledRouteAction;
    if (hash === undefined) return undefined;
    const stream = this.#stream;
    return hash({
      request: stream.info,
      sourceAddress: stream.info.facts.remoteHost,
      setCookie: (value) => stream.setCookies.push(value),
      uniqueValue: () => stream.runtime.newRequestId(),
    });
  }

  #finalizeHead(): void {
    const { info, target, runtime } = this.#stream;
    const action = this.#action as CompiledRouteAction;
    const { head } = info;
    if (target !== undefined) for (const mutation of target.mutations.request) mutation.apply(head.headers, info);
    if (action.rewritePath !== undefined && head.path !== '') {
      const path = cleanPath(action.rewritePath(head.path));
      if (path !== head.path) {
        info.originalPath = head.path;
        if (!runtime.config.suppressesEnvoyHeaders) head.headers.set('x-envoy-original-path', head.path);
        head.path = path;
        info.path = path;
      }
    }
    this.#rewriteHost(head);
    if (this.#timeoutMs > 0 && !runtime.config.suppressesEnvoyHeaders)
      head.headers.push('x-envoy-expected-rq-timeout-ms', String(Math.ceil(this.#timeoutMs)));
  }

  #rewriteHost(head: RequestHead): void {
    const { info, target } = this.#stream;
    const { hostRewrite, appendXForwardedHost } = this.#action as CompiledRouteAction;
    if (hostRewrite === undefined && target?.hostRewrite === undefined) return;
    let host: string | undefined = target?.hostRewrite;
    if (host === undefined && hostRewrite?.kind === 'literal') host = hostRewrite.host;
    else if (host === undefined && hostRewrite?.kind === 'header') host = info.requestHeader(hostRewrite.name);
    else if (host === undefined && hostRewrite?.kind === 'path')
      host = hostRewrite.substitute(info.originalPath === '' ? head.path : info.originalPath);
    if (host === undefined || host === '' || /[^\x21-\x7e]/.test(host)) return;
    this.#setHost(host, appendXForwardedHost);
  }

  #setHost(host: string, appendsForwardedHost: boolean): void {
    const { info, runtime } = this.#stream;
    if (!runtime.config.suppressesEnvoyHeaders && !this.#isHostRewritten) info.head.headers.set('x-envoy-original-host', info.authority);
    this.#isHostRewritten = true;
    if (appendsForwardedHost && host !== info.authority) info.head.headers.append('x-forwarded-host', info.authority);
    info.head.authority = host;
    info.authority = host;
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
    const endpoint = this.#chooseEndpoint(cluster);
    if (endpoint === undefined) {
      this.#end();
      stream.reply(NO_HEALTHY_UPSTREAM);
      return;
    }
    this.#retry?.remember(endpoint);
    info.upstreamAttempts++;
    info.upstreamHost = endpoint.addressText;
    // What a proxy in front says of itself in the headers of its answer is better; this is for those that say nothing.
    info.peer = stream.runtime.listener.direction === 'inbound' ? info.peer : endpoint.peer;
    const attempt = new UpstreamAttempt(endpoint, this, stream.runtime);
    this.#attempt = attempt;
    // The time to connect counts too.
    if (this.#isRequestDone) this.#armPerTry(attempt);
    attempt.start(this.#isTunnel);
  }

  #chooseEndpoint(cluster: UpstreamCluster): UpstreamEndpoint | undefined {
    const { info } = this.#stream;
    const { connection } = info.facts;
    const choose = (isExcluded: ((endpoint: UpstreamEndpoint) => boolean) | undefined): UpstreamEndpoint | undefined =>
      cluster.chooseEndpoint({
        hash: this.#hash,
        isExcluded,
        originalDestination: connection.originalDestination,
        header: (name) => info.requestHeader(name),
      });
    const isExcluded = this.#retry?.isExcluded;
    // Where every endpoint was tried, a second chance beats none.
    return choose(isExcluded) ?? (isExcluded === undefined ? undefined : choose(undefined));
  }

  onAttemptReady(attempt: UpstreamAttempt): void {
    const { info, route, runtime } = this.#stream;
    const upstream = attempt.stream;
    if (upstream === undefined) return;
    info.upstreamLocalAddress = upstream.localAddress;
    info.upstreamPeerUriSan = upstream.tls?.peer?.uriSans[0] ?? '';
    info.upstreamLocalUriSan = upstream.tls?.localUriSan ?? '';
    info.upstreamRequestSentMs = runtime.context.clock.monotonic();
    const hostRewrite = this.#action?.hostRewrite;
    if (hostRewrite?.kind === 'endpoint' && attempt.endpoint.hostname !== '')
      this.#setHost(attempt.endpoint.hostname, this.#action?.appendXForwardedHost === true);
    let extra =
      route?.virtualHost.includesRequestAttemptCount === true ? `x-envoy-attempt-count: ${info.upstreamAttempts}\r\n` : NO_HEADERS;
    const { peerMetadata } = runtime.config;
    if (peerMetadata !== undefined && isToldUpstream(peerMetadata, { cluster: attempt.endpoint.cluster, tls: upstream.tls }))
      extra += peerMetadata.headerLines;
    if (info.head.expectsContinue && runtime.config.proxies100Continue) extra += 'expect: 100-continue\r\n';
    upstream.sendHead(info.head, extra);
    let isWritable = true;
    for (const chunk of this.#body) isWritable = upstream.sendData(chunk) && isWritable;
    if (!this.#isBodyKept || this.#retry === undefined) this.#dropBody();
    if (this.#trailers !== undefined) upstream.sendTrailers(this.#trailers);
    if (this.#isRequestDone) {
      upstream.end();
    } else {
      // What comes of the body with the present read joins the head in one write.
      queueMicrotask(() => upstream.flush());
      if (isWritable) this.#resumeRequest();
    }
  }

  #armPerTry(attempt: UpstreamAttempt): void {
    if (this.#retry !== undefined) attempt.armPerTryTimeout(this.#retry.policy.perTryTimeoutMs);
  }

  #dropBody(): void {
    this.#body = [];
    this.#bodyBytes = 0;
  }

  // --- the request's body

  onRequestData(chunk: Buffer): void {
    for (const mirror of this.#mirrors) mirror.onData(chunk);
    const upstream = this.#attempt?.stream;
    const isWaiting = upstream === undefined;
    if (isWaiting || (this.#isBodyKept && this.#retry !== undefined)) {
      this.#body.push(chunk);
      this.#bodyBytes += chunk.length;
      const limit = this.#stream.route?.requestBufferLimitBytes ?? KEPT_BODY_BYTES;
      if (this.#bodyBytes > limit) {
        this.#isBodyKept = false;
        if (!isWaiting) this.#dropBody();
      }
    }
    if (upstream === undefined) {
      if (this.#bodyBytes > WAITING_BODY_BYTES) this.#pauseRequest();
    } else if (!upstream.sendData(chunk)) this.#pauseRequest();
  }

  onRequestTrailers(trailers: HeaderMap): void {
    this.#trailers = trailers;
    this.#attempt?.stream?.sendTrailers(trailers);
  }

  onRequestEnd(): void {
    if (this.#isRequestDone) return;
    this.#isRequestDone = true;
    for (const mirror of this.#mirrors) mirror.onEnd();
    const attempt = this.#attempt;
    this.#armTimeout();
    if (attempt === undefined) return;
    if (!attempt.hasResponse) this.#armPerTry(attempt);
    if (attempt.stream === undefined) return;
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
    this.#stream.sender.pauseRequest();
  }

  #resumeRequest(): void {
    if (!this.#isPausedForUpstream) return;
    this.#isPausedForUpstream = false;
    this.#stream.sender.resumeRequest();
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
    if (stream.info.head.expectsContinue && stream.runtime.config.proxies100Continue) stream.sender.sendContinue();
  }

  onAttemptHead(attempt: UpstreamAttempt, head: ResponseHead): void {
    const stream = this.#stream;
    const { info, runtime } = stream;
    info.upstreamResponseStartMs = runtime.context.clock.monotonic();
    if (this.#retry !== undefined && head.upgrade === '') {
      const decision = this.#mayRetry() ? this.#retry.onHead(head) : 'no';
      if (decision === 'retry') {
        attempt.cancel();
        this.#retryLater();
        return;
      }
      if (decision === 'limit-exceeded') info.addFlag('upstreamRetryLimitExceeded');
      if (decision === 'overflow') info.addFlag('upstreamOverflow');
      if (decision === 'no' && this.#retry.hasRetried) (this.#cluster as UpstreamCluster).stats.upstreamRqRetrySuccess++;
    }
    this.#dropBody();
    this.#isBodyKept = false;
    info.responseCodeDetails = 'via_upstream';
    const { headers } = head;
    if (!runtime.config.suppressesEnvoyHeaders && !this.#isTunnel) {
      const serviceTimeMs = Math.max(0, Math.round(info.upstreamResponseStartMs - info.upstreamRequestSentMs));
      headers.set('x-envoy-upstream-service-time', String(serviceTimeMs));
    }
    if (stream.route?.virtualHost.includesAttemptCountInResponse === true)
      headers.set('x-envoy-attempt-count', String(info.upstreamAttempts));
    stream.sendHead(head);
  }

  onAttemptData(chunk: Buffer): void {
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
    const decision = this.#retry !== undefined && this.#mayRetry() ? this.#retry.onReset(reason, attempt.stream !== undefined) : 'no';
    if (decision === 'retry') {
      this.#retryLater();
      return;
    }
    if (decision === 'limit-exceeded') info.addFlag('upstreamRetryLimitExceeded');
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
    return this.#isBodyKept && !this.#stream.isOver;
  }

  #answerReset(reason: ResetReason, transportFailure: string): void {
    const hasRetried = this.#retry?.hasRetried === true;
    this.#end();
    this.#stream.reply(resetReply(reason, transportFailure, hasRetried));
  }

  #retryLater(): void {
    this.#attempt = undefined;
    this.#backOff ??= new Deadline(this.#stream.runtime.wheel, () => this.#try());
    const delayMs = (this.#retry as RetryState).backOffMs();
    this.#backOff.arm(Math.max(delayMs, 1));
  }

  onAttemptTimeout(attempt: UpstreamAttempt): void {
    const { stats } = attempt.endpoint.cluster;
    stats.upstreamRqPerTryTimeout++;
    attempt.endpoint.onFailure();
    attempt.cancel();
    this.#attempt = undefined;
    const decision = this.#retry !== undefined && this.#mayRetry() ? this.#retry.onPerTryTimeout() : 'no';
    if (decision === 'retry') {
      this.#retryLater();
      return;
    }
    if (decision === 'limit-exceeded') this.#stream.info.addFlag('upstreamRetryLimitExceeded');
    this.#end();
    this.#stream.reply(PER_TRY_TIMEOUT);
  }

  #armTimeout(): void {
    if (this.#timeoutMs <= 0 || this.#timeout !== undefined) return;
    this.#timeout = new Deadline(this.#stream.runtime.wheel, () => this.#onTimeout());
    this.#timeout.arm(this.#timeoutMs);
  }

  #onTimeout(): void {
    const cluster = this.#cluster as UpstreamCluster;
    cluster.stats.upstreamRqTimeout++;
    const attempt = this.#attempt;
    if (attempt !== undefined && !attempt.hasResponse) attempt.endpoint.onFailure();
    this.#end();
    attempt?.cancel();
    this.#stream.reply(RESPONSE_TIMEOUT);
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
    this.#backOff?.cancel();
    this.#retry?.release();
    this.#dropBody();
  }

  // --- beside the way

  #startMirrors(action: CompiledRouteAction): void {
    const { info, runtime } = this.#stream;
    if (action.mirrors.length === 0 || info.head.upgrade !== '' || info.method === 'CONNECT') return;
    for (const mirror of action.mirrors) {
      if (mirror.ratio < 1 && runtime.context.random() >= mirror.ratio) continue;
      const cluster = runtime.context.cluster(mirror.cluster);
      if (cluster === undefined) continue;
      const copy = new Mirror(runtime, { cluster, info, appendsShadowSuffix: mirror.appendsShadowSuffix, timeoutMs: this.#timeoutMs });
      this.#mirrors.push(copy);
      copy.start(this.#isRequestDone);
    }
  }

  /** The tunnel's other end is a listener of this process: the connection itself goes there. */
  #handToInternalListener(name: string): void {
    const stream = this.#stream;
    const { connection } = stream.info.facts;
    // Later, so that what the present read brought behind the head is not lost on the way.
    queueMicrotask(() => {
      if (stream.isOver) return;
      stream.info.responseCodeDetails = 'via_upstream';
      stream.info.upstreamAttempts = 1;
      stream.sendHead({ status: 200, headers: new HeaderMap(), hasBody: true, contentLength: -1, upgrade: 'connect', wireBytes: 0 });
      const { socket, initialData } = stream.sender.handOver();
      stream.handedOver();
      const handed: DownstreamConnection = { ...connection, socket, initialData };
      if (!stream.runtime.context.handToInternalListener(name, handed)) socket.destroy();
    });
  }
}

/** `100m`, `5S`; undefined where it is not valid. Source: gRPC over HTTP/2, "Timeout". */
function parseGrpcTimeout(text: string | undefined): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(text ?? '');
  if (match === null) return undefined;
  const unitMs = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000_001 }[match[2] as 'H' | 'M' | 'S' | 'm' | 'u' | 'n'];
  return Number(match[1]) * unitMs;
}

// A rewritten path comes from configuration and the request: nothing in it may end the request line.
function cleanPath(path: string): string {
  return /[^\x21-\x7e]/.test(path)
    ? cleanValue(path).replace(/[^\x21-\x7e]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
    : path;
}
