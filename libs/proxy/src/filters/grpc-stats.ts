import { type FilterConfig, FilterConfigSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/grpc_stats/v3/config';
import type { BodyOutput, BodyTransform } from '../http/body-chain.ts';
import type { HeaderMap } from '../http/headers.ts';
import {
  defineHttpFilter,
  type FilterDecision,
  type FilterEnvironment,
  type HttpFilter,
  type HttpFilterKind,
} from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import { isGrpcContentType } from '../http/router-timeouts.ts';
import type { ResponseHead } from '../http/stream.ts';
import { StatHistogram } from '../observe/stat-histogram.ts';
import { type Counts, defineStats } from '../observe/stat-registry.ts';
import { GrpcFrameCounter, grpcMethodOf } from './grpc-frames.ts';

/** By status: `0` to `16`. */
const STATUS_NAMES: Readonly<Record<string, string>> = Object.fromEntries(
  Array.from({ length: 17 }, (_, status) => [`status${status}`, String(status)]),
);

const STATS = defineStats({
  counters: {
    success: 'success',
    failure: 'failure',
    total: 'total',
    requestMessages: 'request_message_count',
    responseMessages: 'response_message_count',
    ...STATUS_NAMES,
  },
  histograms: { upstreamRqTime: 'upstream_rq_time' },
});

type GrpcCounts = Counts<typeof STATS>;

/** Made-up paths must not make counters without end. */
const MAX_METHODS = 2000;

export const grpcStatsFilter: HttpFilterKind = defineHttpFilter({
  schema: FilterConfigSchema,
  create: (message, _field, environment) => new GrpcStatsFilter(message, environment),
});

/** What is counted of one stream. */
interface State {
  readonly counts: GrpcCounts;
  readonly messages: { request: number; response: number };
  /** As the answer says it here; filters that are nearer to the client may change it. */
  status: string | undefined;
}

/**
 * Counts gRPC calls by cluster, and by method where asked to; Istio's metrics of messages are made of what it counts for a stream.
 * Source: Envoy, gRPC statistics filter (1.40).
 */
class GrpcStatsFilter implements HttpFilter {
  readonly #environment: FilterEnvironment;
  /** undefined: by cluster alone; otherwise whether a method is counted by itself. */
  readonly #countsMethod: ((service: string, method: string) => boolean) | undefined;
  readonly #replacesDots: boolean;
  readonly #timesUpstream: boolean;
  readonly #known = new Map<string, GrpcCounts>();

  constructor(config: FilterConfig, environment: FilterEnvironment) {
    this.#environment = environment;
    this.#countsMethod = methodChoice(config);
    this.#replacesDots = config.replaceDotsInGrpcServiceName;
    this.#timesUpstream = config.enableUpstreamStats;
  }

  onRequest(stream: HttpStream): FilterDecision {
    const { info } = stream;
    // Istio has this filter everywhere, and most requests are not for it.
    if (!isGrpcContentType(info.requestHeader('content-type'))) return 'continue';
    const cluster = stream.target && stream.runtime.context.cluster(stream.target.cluster)?.observabilityName;
    if (cluster === undefined) return 'continue';
    const state: State = { counts: this.#countsOf(cluster, info.path), messages: { request: 0, response: 0 }, status: undefined };
    stream.keep(this, state);
    info.grpcMessages = state.messages;
    stream.transformRequest(
      new CountedBody((messages) => {
        state.messages.request += messages;
        state.counts.requestMessages += messages;
      }),
    );
    return 'continue';
  }

  onResponse(stream: HttpStream, head: ResponseHead): void {
    const state = stream.kept<State>(this);
    if (state === undefined) return;
    if (!head.hasBody) {
      state.status = head.headers.get('grpc-status');
      return;
    }
    const counted = new CountedBody(
      (messages) => {
        state.messages.response += messages;
        state.counts.responseMessages += messages;
      },
      (trailers) => {
        state.status = trailers.get('grpc-status');
      },
    );
    stream.transformResponse(counted);
  }

  onStreamEnd(stream: HttpStream): void {
    const state = stream.kept<State>(this);
    const { endMonotonicMs, upstreamRequestSentMs } = stream.info;
    if (state?.status === undefined) return;
    const counts = state.counts as GrpcCounts & Record<string, number>;
    const field = `status${state.status}`;
    if (field in counts) counts[field] = (counts[field] ?? 0) + 1;
    counts.total++;
    if (state.status === '0') counts.success++;
    else counts.failure++;
    if (!this.#timesUpstream || upstreamRequestSentMs === 0) return;
    state.counts.upstreamRqTime ??= new StatHistogram();
    state.counts.upstreamRqTime.record(Math.round(endMonotonicMs - upstreamRequestSentMs));
  }

  #countsOf(cluster: string, path: string): GrpcCounts {
    const call = this.#countsMethod === undefined ? undefined : grpcMethodOf(path);
    if (call === undefined || this.#countsMethod?.(call.service, call.method) !== true) return this.#counts(cluster, '');
    const service = this.#replacesDots ? call.service.replaceAll('.', '_') : call.service;
    return this.#counts(cluster, `.${service}.${call.method}`);
  }

  #counts(cluster: string, method: string): GrpcCounts {
    const key = cluster + method;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (method !== '' && this.#known.size >= MAX_METHODS) return this.#counts(cluster, '');
    const counts = this.#environment.context.stats.counts(STATS, {
      prefix: `cluster.${cluster}.grpc${method}`,
      tags: [['envoy.cluster_name', cluster]],
    });
    this.#known.set(key, counts);
    return counts;
  }
}

function methodChoice({ perMethodStatSpecifier: choice }: FilterConfig): ((service: string, method: string) => boolean) | undefined {
  if (choice.case === 'statsForAllMethods') return choice.value.value ? () => true : undefined;
  if (choice.case !== 'individualMethodStatsAllowlist') return undefined;
  const listed = new Set(choice.value.services.flatMap(({ name, methodNames }) => methodNames.map((method) => `${name}/${method}`)));
  return (service, method) => listed.has(`${service}/${method}`);
}

/** Lets a body through and counts its messages. */
class CountedBody implements BodyTransform {
  readonly #frames = new GrpcFrameCounter();
  readonly #onMessages: (messages: number) => void;
  readonly #onTrailers: ((trailers: HeaderMap) => void) | undefined;

  constructor(onMessages: (messages: number) => void, onTrailers?: (trailers: HeaderMap) => void) {
    this.#onMessages = onMessages;
    this.#onTrailers = onTrailers;
  }

  write(chunk: Buffer, output: BodyOutput): boolean {
    const messages = this.#frames.count(chunk);
    if (messages > 0) this.#onMessages(messages);
    output.push(chunk);
    return true;
  }

  end(trailers: HeaderMap | undefined, output: BodyOutput): void {
    if (trailers !== undefined) this.#onTrailers?.(trailers);
    output.finish(trailers);
  }
}
