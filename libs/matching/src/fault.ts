import type { JsonObject } from '@bufbuild/protobuf';
import type { HTTPFault } from '@mizzen/xds-api/envoy/extensions/filters/http/fault/v3/fault';
import type { FractionalPercent } from '@mizzen/xds-api/envoy/type/v3/percent';
import { compileRequestHeaders, fractionOf, type RequestCondition } from './conditions.ts';
import { durationMs } from './duration.ts';
import type { Field } from './field.ts';

/** Names of runtime values that override what the message says. */
export interface FaultRuntimeKeys {
  readonly delayPercent: string;
  readonly delayMs: string;
  readonly abortPercent: string;
  readonly abortHttpStatus: string;
  readonly abortGrpcStatus: string;
  readonly maxActiveFaults: string;
  readonly responseRateLimitPercent: string;
}

/** How often a fault is injected, where no header of the request says less. */
export interface FaultShare {
  /** Between 0 and 1. */
  readonly ratio: number;
  /** What stands for all: a header gives the numerator of a smaller share. */
  readonly denominator: number;
}

/** Faults to inject. What a request's own headers decide is undefined here. */
export interface CompiledFault {
  readonly delay: (FaultShare & { readonly delayMs: number | undefined }) | undefined;
  /** Both undefined: by header. */
  readonly abort: (FaultShare & { readonly httpStatus: number | undefined; readonly grpcStatus: number | undefined }) | undefined;
  readonly responseRateLimit: (FaultShare & { readonly kibPerSecond: number | undefined }) | undefined;
  /** All must hold. */
  readonly conditions: readonly RequestCondition[];
  /** '' for any. */
  readonly upstreamCluster: string;
  /** Values of x-envoy-downstream-service-node; empty for any. */
  readonly downstreamNodes: ReadonlySet<string>;
  readonly maxActiveFaults: number;
  /** Counts for each value of x-envoy-downstream-service-cluster too. */
  readonly countsByDownstreamCluster: boolean;
  readonly runtimeKeys: FaultRuntimeKeys;
  /** Put into the dynamic metadata of requests that it may be injected into. */
  readonly metadata: JsonObject | undefined;
}

/** Source: envoy FaultFilterConfig (1.40). */
export function compileFault(fault: HTTPFault, field: Field): CompiledFault {
  return {
    delay: compileDelay(fault, field.child('delay')),
    abort: compileAbort(fault, field.child('abort')),
    responseRateLimit: compileRateLimit(fault, field.child('response_rate_limit')),
    conditions: compileRequestHeaders(fault.headers, field),
    upstreamCluster: fault.upstreamCluster,
    downstreamNodes: new Set(fault.downstreamNodes),
    maxActiveFaults: fault.maxActiveFaults ?? Number.POSITIVE_INFINITY,
    countsByDownstreamCluster: !fault.disableDownstreamClusterStats,
    runtimeKeys: {
      delayPercent: fault.delayPercentRuntime || 'fault.http.delay.fixed_delay_percent',
      delayMs: fault.delayDurationRuntime || 'fault.http.delay.fixed_duration_ms',
      abortPercent: fault.abortPercentRuntime || 'fault.http.abort.abort_percent',
      abortHttpStatus: fault.abortHttpStatusRuntime || 'fault.http.abort.http_status',
      abortGrpcStatus: fault.abortGrpcStatusRuntime || 'fault.http.abort.grpc_status',
      maxActiveFaults: fault.maxActiveFaultsRuntime || 'fault.http.max_active_faults',
      responseRateLimitPercent: fault.responseRateLimitPercentRuntime || 'fault.http.rate_limit.response_percent',
    },
    metadata: fault.filterMetadata,
  };
}

function shareOf(percent: FractionalPercent | undefined): FaultShare {
  const ratio = fractionOf(percent);
  const denominator = percent?.denominator === 2 ? 1_000_000 : percent?.denominator === 1 ? 10_000 : 100;
  return { ratio, denominator };
}

function compileDelay({ delay }: HTTPFault, field: Field): CompiledFault['delay'] {
  if (delay === undefined) return undefined;
  switch (delay.faultDelaySecifier.case) {
    case 'fixedDelay':
      return { ...shareOf(delay.percentage), delayMs: durationMs(delay.faultDelaySecifier.value) ?? 0 };
    case 'headerDelay':
      return { ...shareOf(delay.percentage), delayMs: undefined };
    default:
      field.reject('needs one of fixed_delay, header_delay');
      return undefined;
  }
}

function compileAbort({ abort }: HTTPFault, field: Field): CompiledFault['abort'] {
  if (abort === undefined) return undefined;
  const share = shareOf(abort.percentage);
  switch (abort.errorType.case) {
    case 'httpStatus': {
      const httpStatus = abort.errorType.value;
      if (httpStatus < 200 || httpStatus > 599) field.child('http_status').reject('must be between 200 and 599');
      return { ...share, httpStatus, grpcStatus: undefined };
    }
    case 'grpcStatus':
      return { ...share, httpStatus: 200, grpcStatus: abort.errorType.value };
    case 'headerAbort':
      return { ...share, httpStatus: undefined, grpcStatus: undefined };
    default:
      field.reject('needs one of http_status, grpc_status, header_abort');
      return undefined;
  }
}

function compileRateLimit({ responseRateLimit }: HTTPFault, field: Field): CompiledFault['responseRateLimit'] {
  if (responseRateLimit === undefined) return undefined;
  const share = shareOf(responseRateLimit.percentage);
  switch (responseRateLimit.limitType.case) {
    case 'fixedLimit': {
      const kibPerSecond = Number(responseRateLimit.limitType.value.limitKbps);
      if (kibPerSecond < 1) field.child('fixed_limit').child('limit_kbps').reject('must be at least 1');
      return { ...share, kibPerSecond };
    }
    case 'headerLimit':
      return { ...share, kibPerSecond: undefined };
    default:
      field.reject('needs one of fixed_limit, header_limit');
      return undefined;
  }
}
