import type { HTTPFault } from '@mizzen/xds-api/envoy/extensions/filters/http/fault/v3/fault';
import { compileRequestHeaders, fractionOf, type RequestCondition } from './conditions.ts';
import { durationMs } from './duration.ts';
import { type Field, refuseFields } from './field.ts';

/** Faults to inject. Ratios are between 0 and 1. */
export interface CompiledFault {
  readonly delay: { readonly ratio: number; readonly delayMs: number } | undefined;
  readonly abort: { readonly ratio: number; readonly httpStatus: number; readonly grpcStatus: number | undefined } | undefined;
  /** All must hold. */
  readonly conditions: readonly RequestCondition[];
  /** '' for any. */
  readonly upstreamCluster: string;
  readonly maxActiveFaults: number;
}

export function compileFault(fault: HTTPFault, field: Field): CompiledFault {
  refuseFields(field, fault, ['downstreamNodes', 'responseRateLimit']);
  return {
    delay: compileDelay(fault, field.child('delay')),
    abort: compileAbort(fault, field.child('abort')),
    conditions: compileRequestHeaders(fault.headers, field),
    upstreamCluster: fault.upstreamCluster,
    maxActiveFaults: fault.maxActiveFaults ?? Number.POSITIVE_INFINITY,
  };
}

function compileDelay({ delay }: HTTPFault, field: Field): CompiledFault['delay'] {
  if (delay === undefined) return undefined;
  if (delay.faultDelaySecifier.case !== 'fixedDelay') {
    field.reject('only fixed_delay is supported');
    return undefined;
  }
  return { ratio: fractionOf(delay.percentage), delayMs: durationMs(delay.faultDelaySecifier.value) ?? 0 };
}

function compileAbort({ abort }: HTTPFault, field: Field): CompiledFault['abort'] {
  if (abort === undefined) return undefined;
  const ratio = fractionOf(abort.percentage);
  switch (abort.errorType.case) {
    case 'httpStatus': {
      const httpStatus = abort.errorType.value;
      if (httpStatus < 200 || httpStatus > 599) field.child('http_status').reject('must be between 200 and 599');
      return { ratio, httpStatus, grpcStatus: undefined };
    }
    case 'grpcStatus':
      return { ratio, httpStatus: 200, grpcStatus: abort.errorType.value };
    default:
      field.reject('only http_status and grpc_status are supported');
      return undefined;
  }
}
