import type { Router } from './router.ts';
import { giveUpRequest, giveUpTry } from './router-failures.ts';
import { Deadline } from './timer-wheel.ts';

/** Limits the time from the whole request to the whole response, all tries together. */
export function armTimeout(router: Router): void {
  const { globalMs } = router.timeouts;
  if (globalMs <= 0 || router.timeout !== undefined) return;
  router.timeout = new Deadline<Router>(router.stream.runtime.wheel, giveUpRequest, router);
  router.timeout.arm(globalMs);
}

/** Something of the present try moved, and may pause from here on. */
export function touchPerTryIdle(router: Router): void {
  const { perTryIdleMs } = router.timeouts;
  if (perTryIdleMs <= 0) return;
  router.perTryIdle ??= new Deadline<Router>(router.stream.runtime.wheel, onPerTryIdle, router);
  router.perTryIdle.arm(perTryIdleMs);
}

function onPerTryIdle(router: Router): void {
  const { attempt } = router;
  if (attempt === undefined) return;
  attempt.endpoint.cluster.stats.upstreamRqPerTryIdleTimeout++;
  giveUpTry(router, attempt, 'upstream_per_try_idle_timeout');
}

export function cancelDeadlines({ timeout, perTryIdle, backOff }: Router): void {
  timeout?.cancel();
  perTryIdle?.cancel();
  backOff?.cancel();
}
