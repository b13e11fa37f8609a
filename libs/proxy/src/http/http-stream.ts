import type { RouteTable } from '@mizzen/matching';
import type { BodyBuffering, BodyTransform } from './body-chain.ts';
import type { ConnectionFacts } from './connection-facts.ts';
import { FilteredRequest } from './filtered-request.ts';
import { FilteredResponse } from './filtered-response.ts';
import { forwardHeaders } from './forwarded-headers.ts';
import { countUpgrade } from './hcm-stats.ts';
import type { HeaderMap } from './headers.ts';
import { type LocalReply, NO_PATH, NO_ROUTE, UPGRADE_REFUSED } from './local-reply.ts';
import { normalizeHead } from './request-head.ts';
import { completeResponseHead } from './response-head.ts';
import { Router } from './router.ts';
import type { HcmRuntime } from './runtime.ts';
import type { RequestHead, RequestReceiver, ResponseHead } from './stream.ts';
import { StreamDeadlines } from './stream-deadlines.ts';
import { endByClient, recordEnd } from './stream-end.ts';
import { sendReply } from './stream-reply.ts';
import { mayUpgrade, routeAgain, takeRoute } from './stream-route.ts';
import { answerOperation, startSpan } from './stream-span.ts';
import { type Exchange, StreamState } from './stream-state.ts';

const NO_NAMES: readonly string[] = [];

/**
 * One request from its head to the end of its response: cleans the head, finds the route, runs the filters, then the router.
 * Everything that a client sees goes through `sendHead`, `sendData` and `finish` here.
 */
export class HttpStream extends StreamState implements RequestReceiver {
  readonly deadlines: StreamDeadlines;
  /** Once the filters let the request pass. */
  router: Router | undefined;
  /** Answers the client in the place of this one. */
  #successor: HttpStream | undefined;
  #nextFilter = 0;
  /** The bodies where filters change or hold them; undefined for most streams. */
  #filteredRequest: FilteredRequest | undefined;
  #filteredResponse: FilteredResponse | undefined;

  constructor(runtime: HcmRuntime, facts: ConnectionFacts, exchange: Exchange) {
    super(runtime, facts, exchange);
    this.deadlines = new StreamDeadlines(this);
  }

  start(): void {
    const { runtime, info } = this;
    const { config } = runtime;
    if (!this.isRequestReceived) this.deadlines.armRequest();
    if (info.head.expectsContinue && !config.proxies100Continue) this.sender.sendContinue();
    const table = runtime.routeTable();
    const refusal =
      normalizeHead(info, config) ??
      forwardHeaders(info, config.forwarding, {
        internalOnlyHeaders: table?.internalOnlyHeaders ?? NO_NAMES,
        newRequestId: runtime.newRequestId,
      });
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
    if (route !== undefined) takeRoute(this, route);
    this.filters = runtime.filters.for(this.target?.filterConfig ?? route?.filterConfig);
    startSpan(this);
    if ((info.head.upgrade !== '' || info.method === 'CONNECT') && !mayUpgrade(this)) {
      this.reply(UPGRADE_REFUSED);
      return;
    }
    this.continueRequest();
  }

  /** Runs the filters that are left, then the router. Called by a filter that stopped the request, once it may go on. */
  continueRequest(): void {
    if (this.isOver) return;
    while (this.#nextFilter < this.filters.length) {
      const filter = this.filters[this.#nextFilter++];
      const decision = filter?.onRequest?.(this);
      if (this.isOver) return;
      if (decision === 'stop') {
        if (this.#filteredRequest !== undefined || !this.isRequestReceived) this.#filterRequest().hold();
        return;
      }
    }
    this.runtime.stats.rqTotal++;
    if (this.route === undefined) {
      this.runtime.stats.noRoute++;
      this.reply(NO_ROUTE);
      return;
    }
    this.router = new Router(this);
    this.router.start();
    if (!this.isOver) this.#filteredRequest?.flowToRouter();
  }

  /**
   * The upstream sent the client elsewhere, and the proxy goes there in its place: this exchange is over, and the client is answered by the
   * next one, which is returned to be told the body. Source: envoy ActiveStream::recreateStream (1.40).
   */
  followRedirect(head: RequestHead, status: number): HttpStream {
    const { info, runtime } = this;
    const next = new HttpStream(runtime, info.facts, { head, sender: this.sender });
    next.redirects = this.redirects;
    next.info.scheme = info.scheme;
    next.info.requestId = info.requestId;
    next.info.downstreamRemoteAddress = info.downstreamRemoteAddress;
    this.#successor = next;
    info.responseCode = status;
    info.responseCodeDetails = 'internal_redirect';
    this.finish();
    next.#route(runtime.routeTable());
    return next;
  }

  // --- for filters

  /** Matches the route again; called by a filter that changed the head of the request, after it did. */
  clearRouteCache(): void {
    routeAgain(this);
  }

  /**
   * Waits for the whole body of the request; called from `onRequest`, which then answers `stop`. One of the two is called once, later;
   * a request without a body is complete as soon as the filter has stopped. `continueRequest` sends the body on.
   */
  bufferRequest(buffering: BodyBuffering): void {
    this.#filterRequest().buffer(buffering);
  }

  /** Changes the body of the request; called from `onRequest`. A request without a body has none to change. */
  transformRequest(transform: BodyTransform): void {
    if (!this.isRequestReceived) this.#filterRequest().transform(transform);
  }

  #filterRequest(): FilteredRequest {
    this.#filteredRequest ??= new FilteredRequest(this);
    return this.#filteredRequest;
  }

  /** Changes the body of the response; called from `onResponse`, by a filter that has looked whether it has one (`head.hasBody`). */
  transformResponse(transform: BodyTransform): void {
    this.#filteredResponse ??= new FilteredResponse(this);
    this.#filteredResponse.transform(transform);
  }

  // --- from downstream

  onData(chunk: Buffer): void {
    const { info } = this;
    info.bytesReceived += chunk.length;
    info.wireBytesReceived += chunk.length;
    if (this.isOver) return;
    this.deadlines.touch();
    if (this.#filteredRequest === undefined) this.router?.onRequestData(chunk);
    else this.#filteredRequest.write(chunk);
  }

  onTrailers(trailers: HeaderMap): void {
    if (this.isOver) return;
    if (this.#filteredRequest === undefined) this.router?.onRequestTrailers(trailers);
    else this.#filteredRequest.onTrailers(trailers);
  }

  onEnd(): void {
    this.isRequestReceived = true;
    if (this.info.requestEndMs === 0) this.info.requestEndMs = this.runtime.context.clock.monotonic();
    this.deadlines.cancelRequest();
    if (this.isOver) return;
    if (this.#filteredRequest !== undefined) {
      this.#filteredRequest.end();
      return;
    }
    this.isRequestDone = true;
    this.router?.onRequestEnd();
  }

  onReadEnd(): void {
    this.#successor?.onReadEnd();
    this.router?.flush();
  }

  onWritable(): void {
    this.#successor?.onWritable();
    if (this.#filteredResponse === undefined) this.router?.onDownstreamWritable();
    else this.#filteredResponse.resume();
  }

  /** The router takes no more of the request's body for now. */
  pauseRequest(): void {
    if (this.#filteredRequest === undefined) this.sender.pauseRequest();
    else this.#filteredRequest.pause();
  }

  resumeRequest(): void {
    if (this.#filteredRequest === undefined) this.sender.resumeRequest();
    else this.#filteredRequest.resume();
  }

  onDownstreamReset(details: string, code?: number): void {
    this.#successor?.onDownstreamReset(details, code);
    if (!this.isOver) endByClient(this, details, code);
  }

  // --- to downstream

  /** Answers in the upstream's place; what was under way upstream must have been given up. */
  reply(reply: LocalReply): void {
    if (this.isOver) return;
    const { info } = this;
    info.responseCodeDetails = reply.details;
    if (reply.flag !== undefined) info.addFlag(reply.flag);
    if (this.isResponseStarted) this.resetResponse();
    else sendReply(this, reply);
  }

  /** Answers in place of whatever is under way upstream. */
  giveUp(reply: LocalReply): void {
    this.router?.cancel();
    this.reply(reply);
  }

  /** Sends the head of the response, be it the upstream's or a local one. */
  sendHead(head: ResponseHead): void {
    const { info, runtime, filters } = this;
    this.isResponseStarted = true;
    if (head.upgrade !== '') {
      this.isTunnelOpen = true;
      countUpgrade(runtime.stats);
    }
    info.responseCode = head.status;
    info.responseHeaders = head.headers;
    info.responseContentLength = head.contentLength;
    const mutations = this.target?.mutations ?? this.route?.mutations;
    if (mutations !== undefined) for (const mutation of mutations.response) mutation.apply(head.headers, info);
    for (let index = filters.length - 1; index >= 0; index--) filters[index]?.onResponse?.(this, head);
    if (this.isOver) return;
    info.responseContentLength = head.contentLength;
    this.#filteredResponse?.flowToClient();
    for (const cookie of this.setCookies) head.headers.append('set-cookie', cookie);
    if (this.span !== undefined) answerOperation(this, head.headers);
    completeResponseHead(head, info, runtime);
    this.sender.sendHead(head, { closesConnection: runtime.isDraining() });
  }

  sendData(chunk: Buffer): boolean {
    this.deadlines.touch();
    if (this.#filteredResponse !== undefined) return this.#filteredResponse.write(chunk);
    this.info.bytesSent += chunk.length;
    return this.sender.sendData(chunk);
  }

  sendTrailers(trailers: HeaderMap): void {
    if (this.#filteredResponse !== undefined) {
      this.#filteredResponse.onTrailers(trailers);
      return;
    }
    this.info.responseTrailers = trailers;
    this.sender.sendTrailers(trailers);
  }

  endResponse(): void {
    if (this.isOver) return;
    if (this.#filteredResponse === undefined) this.endExchange();
    else this.#filteredResponse.end();
  }

  /** The response has gone to the client as a whole. */
  endExchange(): void {
    const { info, sender } = this;
    sender.end();
    // The end of a message has bytes too.
    info.wireBytesSent = sender.sentWireBytes;
    info.sentHeaderBytes = sender.sentHeaderBytes;
    this.finish();
  }

  /** The upstream's half of a tunnel is over; the client's goes on. */
  endHalf(): void {
    this.sender.end();
  }

  /** The second half of a tunnel is over too. */
  endTunnel(): void {
    this.info.wireBytesSent = this.sender.sentWireBytes;
    this.finish();
  }

  /** The response cannot be completed: the client must see that. */
  resetResponse(): void {
    if (this.isOver) return;
    this.info.wireBytesSent = this.sender.sentWireBytes;
    this.runtime.stats.downstreamRqTxReset++;
    this.sender.reset();
    this.finish();
  }

  /** The exchange is over, or for us because its connection went to somebody else. */
  finish(how: 'ended' | 'handed-over' = 'ended'): void {
    if (this.isOver) return;
    this.isOver = true;
    this.deadlines.cancel();
    this.#filteredRequest?.destroy();
    this.#filteredResponse?.destroy();
    recordEnd(this, how);
  }
}
