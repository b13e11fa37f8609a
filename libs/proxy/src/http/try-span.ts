import { RESPONSE_FLAG, type TrySpan } from '@mizzen/telemetry';
import { resetDetails, resetFlag } from './local-reply.ts';
import type { HttpStreamInfo } from './stream-info.ts';
import type { UpstreamAttempt } from './upstream-attempt.ts';

/** Ends the span of a try by what became of it. */
export function endTrySpan(span: TrySpan, info: HttpStreamInfo, attempt: UpstreamAttempt): void {
  const { endpoint, stream, status, ending, startedMs } = attempt;
  const { cluster } = endpoint;
  const reason = ending === 'canceled' ? undefined : ending;
  span.end({
    info,
    startMonotonicMs: startedMs,
    endMonotonicMs: attempt.nowMs,
    address: endpoint.addressText,
    cluster: cluster.name,
    clusterAlias: cluster.observabilityName,
    protocol: stream?.protocol ?? '',
    status,
    retry: info.upstreamAttempts - 1,
    flags: reason === undefined ? '-' : RESPONSE_FLAG[resetFlag(reason)],
    isCanceled: ending === 'canceled',
    failure: reason === undefined ? '' : resetDetails(reason, '').replaceAll('_', ' '),
  });
}
