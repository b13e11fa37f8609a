import type { RetryDecision, RetryState } from './retry-state.ts';
import type { Router } from './router.ts';
import { setTimeoutHeaders } from './router-timeouts.ts';
import type { ResetReason, ResponseHead } from './stream.ts';
import { Deadline } from './timer-wheel.ts';
import type { UpstreamAttempt } from './upstream-attempt.ts';

/** How often a request that met a connection which the upstream was just closing is sent again. */
const MAX_STALE_CONNECTIONS = 3;

/** Whether there is another try instead of this answer; `retryLater` makes it. */
export function retriesHead(router: Router, head: ResponseHead): boolean {
  const { retry } = router;
  return retry !== undefined && head.upgrade === '' && mayRetry(router) && heed(router, retry.onHead(head));
}

/** The same where a try ended without an answer. `isSent`: bytes of the request may have reached the upstream. */
export function retriesReset(router: Router, reason: ResetReason, isSent: boolean): boolean {
  const { retry } = router;
  return retry !== undefined && mayRetry(router) && heed(router, retry.onReset(reason, isSent));
}

function mayRetry({ body, stream }: Router): boolean {
  return body?.isComplete !== false && !stream.isOver;
}

/** Whether to try again; why not is told to the access log. */
function heed({ stream }: Router, decision: RetryDecision): boolean {
  if (decision === 'limit-exceeded') stream.info.addFlag('upstreamRetryLimitExceeded');
  else if (decision === 'overflow') stream.info.addFlag('upstreamOverflow');
  return decision === 'retry';
}

/** Tries again after the back-off. */
export function retryLater(router: Router, isAfterTimeout: boolean): void {
  const { route, info, runtime } = router.stream;
  router.attempt = undefined;
  router.perTryIdle?.cancel();
  router.backOff ??= new Deadline<Router>(runtime.wheel, retryNow, router);
  const delayMs = (router.retry as RetryState).backOffMs();
  if (route?.virtualHost.includesIsTimeoutRetry === true) info.head.headers.set('x-envoy-is-timeout-retry', String(isAfterTimeout));
  router.backOff.arm(Math.max(delayMs, 1));
}

function retryNow(router: Router): void {
  const { info, runtime } = router.stream;
  const elapsedMs = router.isRequestDone ? Math.floor(runtime.context.clock.monotonic() - router.requestDoneMs) : 0;
  setTimeoutHeaders(info.head.headers, router.timeouts, elapsedMs, runtime.config);
  router.try();
}

/**
 * The upstream closed an idle connection while the request was on its way to it (RFC 9112 §9.3.1). A safe request that got not one byte of
 * an answer goes out again on another connection, without a retry policy. @deviation: Envoy answers 503 UC.
 */
export function retriesStaleConnection(router: Router, attempt: UpstreamAttempt, reason: ResetReason): boolean {
  const { stream } = attempt;
  if (stream === undefined || !stream.isReused || stream.receivedWireBytes > 0 || reason !== 'connection-termination') return false;
  const { info } = router.stream;
  const isSafe = (info.method === 'GET' || info.method === 'HEAD' || info.method === 'OPTIONS') && !info.head.hasBody;
  if (!isSafe || router.staleConnections >= MAX_STALE_CONNECTIONS) return false;
  router.staleConnections++;
  info.upstreamAttempts--;
  return true;
}
