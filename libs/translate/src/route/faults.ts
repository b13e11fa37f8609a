import type { Any } from '@bufbuild/protobuf/wkt';
import { GRPC_STATUSES, type HttpFaultInjection } from '@mizzen/mesh-api';
import { HTTPFaultSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/fault/v3/fault';
import { any, fractionalPercent, type Init, optionalDuration } from '../messages.ts';

type HttpFaultInit = Init<typeof HTTPFaultSchema>;

export const FAULT_FILTER = 'envoy.filters.http.fault';

/** The fault of a rule for the fault filter; undefined where it has none that can happen. A fault without percentage never happens. */
export function faultConfig(fault: HttpFaultInjection | undefined): Any | undefined {
  const delay = faultDelay(fault?.delay);
  const abort = faultAbort(fault?.abort);
  return delay || abort ? any(HTTPFaultSchema, { ...(delay && { delay }), ...(abort && { abort }) }) : undefined;
}

function faultDelay(delay: HttpFaultInjection['delay']): HttpFaultInit['delay'] | undefined {
  const fixedDelay = optionalDuration(delay?.fixedDelay);
  if (delay === undefined || fixedDelay === undefined) return undefined;
  return {
    faultDelaySecifier: { case: 'fixedDelay', value: fixedDelay },
    percentage: fractionalPercent(delay.percentage?.value ?? delay.percent ?? 0),
  };
}

function faultAbort(abort: HttpFaultInjection['abort']): HttpFaultInit['abort'] | undefined {
  if (abort === undefined) return undefined;
  const percentage = fractionalPercent(abort.percentage?.value ?? 0);
  if (abort.httpStatus !== undefined) return { errorType: { case: 'httpStatus', value: abort.httpStatus }, percentage };
  const grpcStatus = grpcStatusNumber(abort.grpcStatus);
  return grpcStatus === undefined ? undefined : { errorType: { case: 'grpcStatus', value: grpcStatus }, percentage };
}

function grpcStatusNumber(status: string | undefined): number | undefined {
  if (status === undefined) return undefined;
  const number = /^\d+$/.test(status) ? Number(status) : GRPC_STATUSES.indexOf(status.toUpperCase());
  return number >= 0 && number < GRPC_STATUSES.length ? number : undefined;
}
