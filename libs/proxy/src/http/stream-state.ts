import type { CompiledRoute, RouteTarget } from '@mizzen/matching';
import type { ActiveSpan, AskedEndpoint } from '../contract.ts';
import type { ConnectionFacts } from './connection-facts.ts';
import type { HttpFilter } from './http-filter.ts';
import type { RedirectHistory } from './router-redirect.ts';
import type { HcmRuntime } from './runtime.ts';
import type { RequestHead, ResponseSender } from './stream.ts';
import { HttpStreamInfo } from './stream-info.ts';

/** A request as the codec tells it, and where its response goes. */
export interface Exchange {
  readonly head: RequestHead;
  readonly sender: ResponseSender;
}

/** What filters, router and observers may know of a stream: how far it is, its route, what the filters noted. Nothing moves it here. */
export class StreamState {
  readonly runtime: HcmRuntime;
  readonly info: HttpStreamInfo;
  readonly sender: ResponseSender;
  route: CompiledRoute | undefined;
  /** The weights are cast once, before the filters: a fault of one target must meet the requests of that target. */
  target: RouteTarget | undefined;
  /** The filters that run for this stream, in order. */
  filters: readonly HttpFilter[];
  span: ActiveSpan | undefined;
  /** The peer sent its metadata, so that it may be told ours. */
  exchangesPeerMetadata = false;
  /** Cookies that the hash policy makes, for the response. */
  readonly setCookies: string[] = [];
  /** The endpoint that a filter wants the first try to go to. */
  askedEndpoint: AskedEndpoint | undefined = undefined;
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
  #kept: Map<HttpFilter, unknown> | undefined;

  constructor(runtime: HcmRuntime, facts: ConnectionFacts, exchange: Exchange) {
    this.runtime = runtime;
    this.sender = exchange.sender;
    const { clock, random } = runtime.context;
    this.info = new HttpStreamInfo(exchange.head, facts, { nowMs: clock.now(), monotonicMs: clock.monotonic(), random: random() });
    this.isRequestReceived = !exchange.head.hasBody;
    this.isRequestDone = this.isRequestReceived;
    this.filters = runtime.filters.enabled;
    runtime.stats.downstreamRqTotal++;
    if (exchange.head.protocol === 'HTTP/2') runtime.stats.downstreamRqHttp2Total++;
    else runtime.stats.downstreamRqHttp1Total++;
    runtime.stats.downstreamRqActive++;
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
}
