import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { RateLimitEntry } from '@mizzen/matching';
import { RateLimitPerRouteSchema, RateLimitSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/ratelimit/v3/rate_limit';
import {
  RateLimitRequestSchema,
  type RateLimitResponse,
  RateLimitResponse_Code,
  RateLimitResponseSchema,
} from '@mizzen/xds-api/envoy/service/ratelimit/v3/rls';
import { callUnary, GRPC_OK, type UnaryResult } from '../grpc/unary-client.ts';
import type { AsyncCall } from '../http/async-client.ts';
import { HeaderMap } from '../http/headers.ts';
import {
  defineHttpFilter,
  type FilterDecision,
  type FilterEnvironment,
  type HttpFilter,
  type HttpFilterKind,
} from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import type { ResponseHead } from '../http/stream.ts';
import { type Counts, defineStats } from '../observe/stat-registry.ts';
import { compileRateLimitConfig, compileRateLimitOverride, type RateLimitConfig, type RateLimitOverride } from './rate-limit-config.ts';
import { describeRequest } from './rate-limit-descriptors.ts';
import { limitHeaders } from './rate-limit-headers.ts';

const STATS = defineStats({
  counters: { ok: 'ok', error: 'error', overLimit: 'over_limit', failureModeAllowed: 'failure_mode_allowed' },
});

const METHOD = '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit';

export const rateLimitFilter: HttpFilterKind = defineHttpFilter({
  schema: RateLimitSchema,
  create: (message, field, environment) => new RateLimitFilter(compileRateLimitConfig(message, field), environment),
  perRoute: { schema: RateLimitPerRouteSchema, compile: compileRateLimitOverride },
});

/** What is known of one stream: the question under way, then headers for the answer. */
interface State {
  readonly stats: Counts<typeof STATS>;
  call: AsyncCall | undefined;
  readonly headers: [name: string, value: string][];
}

/** Asks a rate limit service before requests go on. Source: Envoy, Rate limit filter (1.40). */
class RateLimitFilter implements HttpFilter {
  readonly #config: RateLimitConfig;
  readonly #key: string;
  readonly #environment: FilterEnvironment;
  readonly #statsOf = new Map<string, Counts<typeof STATS>>();

  constructor(config: RateLimitConfig, environment: FilterEnvironment) {
    this.#config = config;
    this.#key = environment.routeKey(RateLimitPerRouteSchema);
    this.#environment = environment;
  }

  onRequest(stream: HttpStream): FilterDecision {
    const config = this.#config;
    const override = stream.filterConfig<RateLimitOverride>(this.#key);
    if (!this.#isOn('ratelimit.http_filter_enabled')) return 'continue';
    if (config.requests !== 'both' && (config.requests === 'internal') !== isInternal(stream)) return 'continue';
    const descriptors = describeRequest(stream, {
      stage: config.stage,
      virtualHost: override?.virtualHost ?? 'override',
      isOn: (key) => this.#isOn(`ratelimit.${key}.http_filter_enabled`),
    });
    // A request that goes nowhere is not counted.
    const cluster = stream.target && stream.runtime.context.cluster(stream.target.cluster);
    if (descriptors.length === 0 || cluster === undefined) return 'continue';
    const state: State = { stats: this.#statsFor(cluster.observabilityName), call: undefined, headers: [] };
    stream.keep(this, state);
    state.call = this.#ask(override?.domain || config.domain, descriptors, (result) => {
      state.call = undefined;
      this.#onAnswer(stream, state, result);
    });
    return 'stop';
  }

  onResponse(stream: HttpStream, { headers }: ResponseHead): void {
    const state = stream.kept<State>(this);
    if (state !== undefined) for (const [name, value] of state.headers) headers.set(name, value);
  }

  onStreamEnd(stream: HttpStream): void {
    stream.kept<State>(this)?.call?.cancel();
  }

  #ask(domain: string, descriptors: readonly (readonly RateLimitEntry[])[], done: (result: UnaryResult) => void): AsyncCall {
    const { service, timeoutMs } = this.#config;
    const { cluster, authority, metadata } = service;
    const message = create(RateLimitRequestSchema, {
      domain,
      descriptors: descriptors.map((entries) => ({ entries: entries.map(({ key, value }) => ({ key, value })) })),
    });
    const call = { cluster, authority, metadata, timeoutMs, method: METHOD, message: toBinary(RateLimitRequestSchema, message) };
    return callUnary(this.#environment, call, done);
  }

  #onAnswer(stream: HttpStream, state: State, result: UnaryResult): void {
    if (stream.isOver) return;
    const { stats } = state;
    const response = decode(result);
    if (response === undefined) {
      stats.error++;
      this.#onError(stream, stats);
      return;
    }
    if (response.dynamicMetadata !== undefined) stream.info.setDynamicMetadata('envoy.filters.http.ratelimit', response.dynamicMetadata);
    for (const { key, value } of response.responseHeadersToAdd) state.headers.push([key.toLowerCase(), value]);
    if (this.#config.tellsLimits) state.headers.push(...limitHeaders(response.statuses));
    const isOver = response.overallCode === RateLimitResponse_Code.OVER_LIMIT;
    if (isOver) stats.overLimit++;
    else stats.ok++;
    if (isOver && this.#isOn('ratelimit.http_filter_enforcing')) {
      this.#refuse(stream, state, response);
      return;
    }
    for (const { key, value } of response.requestHeadersToAdd) stream.info.head.headers.append(key.toLowerCase(), value);
    stream.continueRequest();
  }

  /** By a percentage of the runtime; always where it says nothing. */
  #isOn(key: string): boolean {
    const { runtimeValues, random } = this.#environment.context;
    const percent = runtimeValues.number(key, 100);
    return percent >= 100 || random() * 100 < percent;
  }

  #onError(stream: HttpStream, stats: Counts<typeof STATS>): void {
    if (!this.#config.deniesOnFailure) {
      stats.failureModeAllowed++;
      stream.continueRequest();
      return;
    }
    stream.reply({ status: this.#config.statusOnError, details: 'rate_limiter_error', flag: 'rateLimitServiceError', body: '' });
  }

  #refuse(stream: HttpStream, state: State, response: RateLimitResponse): void {
    const { status, grpcStatus, responseHeaders, tellsLimited } = this.#config;
    if (tellsLimited) state.headers.push(['x-envoy-ratelimited', 'true']);
    const added = new HeaderMap();
    responseHeaders?.apply(added, stream.info);
    const reply = {
      status,
      details: 'request_rate_limited',
      flag: 'rateLimited',
      body: Buffer.from(response.rawBody),
      headers: added.names.map((name, index) => [name, added.values[index] as string] as const),
    } as const;
    stream.reply(grpcStatus === undefined ? reply : { ...reply, grpcStatus });
  }

  /** They belong to the cluster that the request was for. */
  #statsFor(cluster: string): Counts<typeof STATS> {
    let stats = this.#statsOf.get(cluster);
    if (stats === undefined) {
      const { statPrefix } = this.#config;
      stats = this.#environment.context.stats.counts(STATS, {
        prefix: `cluster.${cluster}.ratelimit${statPrefix === '' ? '' : `.${statPrefix}`}`,
        tags: [['envoy.cluster_name', cluster]],
      });
      this.#statsOf.set(cluster, stats);
    }
    return stats;
  }
}

function isInternal({ info }: HttpStream): boolean {
  return info.requestHeader('x-envoy-internal') === 'true';
}

/** undefined for what is no answer. */
function decode({ status, message }: UnaryResult): RateLimitResponse | undefined {
  if (status !== GRPC_OK || message === undefined) return undefined;
  try {
    return fromBinary(RateLimitResponseSchema, message);
  } catch {
    return undefined;
  }
}
