import { type CompiledFault, compileFault, type FaultShare } from '@mizzen/matching';
import { HTTPFaultSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/fault/v3/fault';
import {
  defineHttpFilter,
  type FilterDecision,
  type FilterEnvironment,
  type HttpFilter,
  type HttpFilterKind,
} from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import type { ResponseHead } from '../http/stream.ts';
import { Deadline } from '../http/timer-wheel.ts';
import { type Counts, defineStats } from '../observe/stat-registry.ts';
import { RateLimitedBody } from './rate-limited-body.ts';

const FAULT_STATS = defineStats({
  counters: {
    delaysInjected: 'delays_injected',
    abortsInjected: 'aborts_injected',
    responseRlInjected: 'response_rl_injected',
    faultsOverflow: 'faults_overflow',
  },
  gauges: { activeFaults: 'active_faults' },
});
const CLUSTER_FAULT_STATS = defineStats({ counters: { delaysInjected: 'delays_injected', abortsInjected: 'aborts_injected' } });

/** Made-up values of a header must not make counters without end. */
const MAX_DOWNSTREAM_CLUSTERS = 200;

export const faultFilter: HttpFilterKind = defineHttpFilter({
  schema: HTTPFaultSchema,
  create: (message, field, environment) => new FaultFilter(compileFault(message, field), environment),
  perRoute: { schema: HTTPFaultSchema, compile: compileFault },
});

/** What is injected into one stream. */
interface Injection {
  readonly fault: CompiledFault;
  delay: Deadline | undefined;
  kibPerSecond: number | undefined;
  /** Counts against the most faults at a time. */
  isActive: boolean;
}

/**
 * Delays and aborts requests before they are routed (retries and timeouts of the route do not act on what is injected), and slows their
 * answers down. Source: Envoy, Fault injection filter (1.40).
 */
class FaultFilter implements HttpFilter {
  readonly #fault: CompiledFault;
  readonly #key: string;
  readonly #environment: FilterEnvironment;
  readonly #stats: Counts<typeof FAULT_STATS>;
  readonly #byCluster = new Map<string, Counts<typeof CLUSTER_FAULT_STATS>>();

  /** `fault` is the filter's own; routes override it. */
  constructor(fault: CompiledFault, environment: FilterEnvironment) {
    this.#fault = fault;
    this.#key = environment.routeKey(HTTPFaultSchema);
    this.#environment = environment;
    const { context, statPrefix } = environment;
    this.#stats = context.stats.counts(FAULT_STATS, {
      prefix: `http.${statPrefix}.fault`,
      tags: [['envoy.http_conn_manager_prefix', statPrefix]],
    });
  }

  onRequest(stream: HttpStream): FilterDecision {
    const fault = stream.filterConfig<CompiledFault>(this.#key) ?? this.#fault;
    if (fault.delay === undefined && fault.abort === undefined && fault.responseRateLimit === undefined) return 'continue';
    if (!applies(fault, stream)) return 'continue';
    if (fault.metadata !== undefined) stream.info.setDynamicMetadata('envoy.filters.http.fault', fault.metadata);
    const injection: Injection = { fault, delay: undefined, kibPerSecond: undefined, isActive: false };
    const kibPerSecond = this.#throughput(fault, stream);
    if (kibPerSecond !== undefined && this.#begin(injection, stream)) {
      injection.kibPerSecond = kibPerSecond;
      this.#stats.responseRlInjected++;
    }
    const delayMs = this.#delay(fault, stream);
    if (delayMs === undefined || !this.#begin(injection, stream)) return this.#abort(injection, stream);
    stream.info.addFlag('delayInjected');
    this.#stats.delaysInjected++;
    const ofCluster = this.#countsOf(fault, stream);
    if (ofCluster !== undefined) ofCluster.delaysInjected++;
    injection.delay = new Deadline(stream.runtime.wheel, () => {
      if (this.#abort(injection, stream) === 'continue') stream.continueRequest();
    });
    injection.delay.arm(delayMs);
    return 'stop';
  }

  onResponse(stream: HttpStream, head: ResponseHead): void {
    const kibPerSecond = stream.kept<Injection>(this)?.kibPerSecond;
    if (kibPerSecond === undefined || !head.hasBody || head.upgrade !== '') return;
    stream.transformResponse(new RateLimitedBody(kibPerSecond, stream.runtime));
  }

  onStreamEnd(stream: HttpStream): void {
    const injection = stream.kept<Injection>(this);
    if (injection === undefined) return;
    injection.delay?.cancel();
    this.#stats.activeFaults--;
  }

  /** False where so many faults are active already. */
  #begin(injection: Injection, stream: HttpStream): boolean {
    if (injection.isActive) return true;
    const { maxActiveFaults, runtimeKeys } = injection.fault;
    if (this.#stats.activeFaults >= stream.runtime.context.runtimeValues.number(runtimeKeys.maxActiveFaults, maxActiveFaults)) {
      this.#stats.faultsOverflow++;
      return false;
    }
    injection.isActive = true;
    this.#stats.activeFaults++;
    stream.keep(this, injection);
    return true;
  }

  #throughput({ responseRateLimit: limit, runtimeKeys }: CompiledFault, stream: HttpStream): number | undefined {
    if (limit === undefined) return undefined;
    const kibPerSecond = limit.kibPerSecond ?? numberHeader(stream, 'x-envoy-fault-throughput-response');
    if (kibPerSecond === undefined || kibPerSecond < 1) return undefined;
    const header = limit.kibPerSecond === undefined ? 'x-envoy-fault-throughput-response-percentage' : undefined;
    return isHit(limit, stream, { header, runtimeKey: runtimeKeys.responseRateLimitPercent }) ? kibPerSecond : undefined;
  }

  #delay({ delay, runtimeKeys }: CompiledFault, stream: HttpStream): number | undefined {
    if (delay === undefined) return undefined;
    const delayMs =
      delay.delayMs === undefined
        ? numberHeader(stream, 'x-envoy-fault-delay-request')
        : stream.runtime.context.runtimeValues.number(runtimeKeys.delayMs, delay.delayMs);
    if (delayMs === undefined || delayMs <= 0) return undefined;
    const header = delay.delayMs === undefined ? 'x-envoy-fault-delay-request-percentage' : undefined;
    return isHit(delay, stream, { header, runtimeKey: runtimeKeys.delayPercent }) ? delayMs : undefined;
  }

  #abort(injection: Injection, stream: HttpStream): FilterDecision {
    const { abort, runtimeKeys } = injection.fault;
    const status = abort && abortStatus(abort, runtimeKeys, stream);
    if (abort === undefined || status === undefined) return 'continue';
    const header = abort.httpStatus === undefined ? 'x-envoy-fault-abort-request-percentage' : undefined;
    if (!isHit(abort, stream, { header, runtimeKey: runtimeKeys.abortPercent })) return 'continue';
    if (!this.#begin(injection, stream)) return 'continue';
    this.#stats.abortsInjected++;
    const ofCluster = this.#countsOf(injection.fault, stream);
    if (ofCluster !== undefined) ofCluster.abortsInjected++;
    const reply = { status: status.httpStatus, details: 'fault_filter_abort', flag: 'faultInjected', body: 'fault filter abort' } as const;
    stream.reply(status.grpcStatus === undefined ? reply : { ...reply, grpcStatus: status.grpcStatus });
    return 'stop';
  }

  #countsOf(fault: CompiledFault, stream: HttpStream): Counts<typeof CLUSTER_FAULT_STATS> | undefined {
    const cluster = fault.countsByDownstreamCluster ? stream.info.requestHeader('x-envoy-downstream-service-cluster') : undefined;
    if (cluster === undefined || cluster === '') return undefined;
    const known = this.#byCluster.get(cluster);
    if (known !== undefined || this.#byCluster.size >= MAX_DOWNSTREAM_CLUSTERS) return known;
    const { context, statPrefix } = this.#environment;
    const counts = context.stats.counts(CLUSTER_FAULT_STATS, {
      prefix: `http.${statPrefix}.fault.${cluster}`,
      tags: [
        ['envoy.http_conn_manager_prefix', statPrefix],
        ['envoy.fault_downstream_cluster', cluster],
      ],
    });
    this.#byCluster.set(cluster, counts);
    return counts;
  }
}

function applies(fault: CompiledFault, stream: HttpStream): boolean {
  if (fault.upstreamCluster !== '' && fault.upstreamCluster !== stream.target?.cluster) return false;
  if (fault.downstreamNodes.size > 0 && !fault.downstreamNodes.has(stream.info.requestHeader('x-envoy-downstream-service-node') ?? ''))
    return false;
  return fault.conditions.every((holds) => holds(stream.info));
}

/** The runtime may say another share; a header may make it smaller, never larger. */
function isHit(
  { ratio: ofMessage, denominator }: FaultShare,
  stream: HttpStream,
  { header, runtimeKey }: { readonly header: string | undefined; readonly runtimeKey: string },
): boolean {
  const ratio = stream.runtime.context.runtimeValues.number(runtimeKey, ofMessage * 100) / 100;
  const asked = header === undefined ? undefined : numberHeader(stream, header);
  const share = asked === undefined ? ratio : Math.min(asked / denominator, ratio);
  return share > 0 && (share >= 1 || stream.runtime.context.random() < share);
}

function abortStatus(
  abort: NonNullable<CompiledFault['abort']>,
  keys: CompiledFault['runtimeKeys'],
  stream: HttpStream,
): { readonly httpStatus: number; readonly grpcStatus: number | undefined } | undefined {
  const { runtimeValues } = stream.runtime.context;
  if (abort.grpcStatus !== undefined) return { httpStatus: 200, grpcStatus: runtimeValues.number(keys.abortGrpcStatus, abort.grpcStatus) };
  if (abort.httpStatus !== undefined)
    return { httpStatus: runtimeValues.number(keys.abortHttpStatus, abort.httpStatus), grpcStatus: undefined };
  const httpStatus = numberHeader(stream, 'x-envoy-fault-abort-request');
  if (httpStatus !== undefined && httpStatus >= 200 && httpStatus <= 599) return { httpStatus, grpcStatus: undefined };
  const grpcStatus = numberHeader(stream, 'x-envoy-fault-abort-grpc-request');
  return grpcStatus === undefined ? undefined : { httpStatus: 200, grpcStatus };
}

function numberHeader(stream: HttpStream, name: string): number | undefined {
  const value = stream.info.requestHeader(name);
  return value !== undefined && /^\d{1,10}$/.test(value) ? Number(value) : undefined;
}
