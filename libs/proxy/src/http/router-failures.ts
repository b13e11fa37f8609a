import type { UpstreamCluster } from '../contract.ts';
import { countUpstreamResponse } from '../observe/cluster-stats.ts';
import {
  type LocalReply,
  perTryTimeout,
  REQUEST_TOO_LARGE_TO_RETRY,
  resetDetails,
  resetFlag,
  resetReply,
  responseTimeout,
} from './local-reply.ts';
import type { Router } from './router.ts';
import { KeptBody } from './router-body.ts';
import { retriesReset, retriesStaleConnection, retryLater } from './router-retries.ts';
import { countAnswer } from './router-stats.ts';
import type { ResetReason } from './stream.ts';
import type { UpstreamAttempt } from './upstream-attempt.ts';

/** A try ended without a whole answer: another one, or an answer of the proxy; a response that has begun ends as it can. */
export function onTryLost(
  router: Router,
  attempt: UpstreamAttempt,
  { reason, transportFailure }: { readonly reason: ResetReason; readonly transportFailure: string },
): void {
  const { stream } = router;
  const { info } = stream;
  router.attempt = undefined;
  if (transportFailure !== '') info.upstreamTransportFailureReason = transportFailure.replaceAll(' ', '_');
  if (stream.isResponseStarted) {
    router.end();
    info.responseCodeDetails = `upstream_reset_after_response_started{${resetDetails(reason, transportFailure)}}`;
    info.addFlag(resetFlag(reason));
    stream.resetResponse();
  } else if (retriesStaleConnection(router, attempt, reason)) router.try();
  else if (retriesReset(router, reason, attempt.stream !== undefined)) retryLater(router, false);
  else answerReset(router, reason, transportFailure);
}

/** A try took too long. `details` says which of its limits passed. */
export function giveUpTry(router: Router, attempt: UpstreamAttempt, details: string): void {
  const isSent = attempt.stream !== undefined;
  attempt.endpoint.onFailure();
  attempt.cancel();
  router.attempt = undefined;
  if (!router.stream.isResponseStarted && retriesReset(router, 'local-reset', isSent)) {
    retryLater(router, true);
    return;
  }
  router.end();
  replyForUpstream(router, perTryTimeout(details, router.timeouts.answersWith204));
}

/** All tries together took too long. */
export function giveUpRequest(router: Router): void {
  const { attempt, stream, counts } = router;
  const cluster = router.cluster as UpstreamCluster;
  cluster.stats.upstreamRqTimeout++;
  if (!stream.isResponseStarted) countUpstreamResponse(cluster.stats, 504);
  for (const stats of counts) {
    stats.upstreamRqTimeout++;
    if (!stream.isResponseStarted) countAnswer(stats, 504);
  }
  if (attempt !== undefined) attempt.endpoint.stats.requestsTimeout++;
  if (attempt !== undefined && !attempt.hasResponse) attempt.endpoint.onFailure();
  router.end();
  attempt?.cancel();
  replyForUpstream(router, responseTimeout(router.timeouts.answersWith204));
}

/** Keeps a part of the request's body. Once it is too large to be sent again, there is no further try. */
export function keepForNextTry(router: Router, chunk: Buffer, isSent: boolean): void {
  router.body ??= KeptBody.of(router.stream.route);
  const { body } = router;
  const wasComplete = body.isComplete;
  body.keep(chunk, isSent);
  if (!wasComplete || body.isComplete || router.retry === undefined) return;
  (router.cluster as UpstreamCluster).stats.retryOrShadowAbandoned++;
  if (router.backOff?.isArmed !== true) return;
  router.end();
  replyForUpstream(router, REQUEST_TOO_LARGE_TO_RETRY);
}

/** There is no further try: says why the last one was none. */
export function answerReset(router: Router, reason: ResetReason, transportFailure: string): void {
  const { stream, cluster } = router;
  const hasRetried = router.retry?.hasRetried === true;
  router.end();
  if (cluster !== undefined) countUpstreamResponse(cluster.stats, 503);
  for (const stats of router.counts) countAnswer(stats, 503);
  replyForUpstream(
    router,
    resetReply(reason, { transportFailure, hasRetried, tellsOverload: !stream.runtime.config.suppressesEnvoyHeaders }),
  );
}

/** A local answer after the request was meant to go upstream. */
export function replyForUpstream({ stream }: Router, reply: LocalReply): void {
  const { info, route } = stream;
  if (route?.virtualHost.includesAttemptCountInResponse !== true) {
    stream.reply(reply);
    return;
  }
  const attempts = ['x-envoy-attempt-count', String(Math.max(info.upstreamAttempts, 1))] as const;
  stream.reply({ ...reply, headers: [...(reply.headers ?? []), attempts] });
}
