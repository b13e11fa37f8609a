import { ERROR } from '../http2/frames.ts';
import { grpcStatusOf } from './grpc.ts';
import { countResponse, recordRequestTime } from './hcm-stats.ts';
import type { HttpStream } from './http-stream.ts';

/** The client went away, gave the stream up, or sends what is no HTTP. `code`: of HTTP/2. */
export function endByClient(stream: HttpStream, details: string, code: number | undefined): void {
  const { info, runtime } = stream;
  const isGivenUp = isRemoteReset(details);
  const isProtocolError = details !== 'downstream_remote_disconnect' && !isGivenUp;
  if (isProtocolError && !stream.isResponseStarted) {
    stream.isRequestReceived = true;
    stream.giveUp({ status: 400, details, flag: 'downstreamProtocolError', body: 'Bad Request' });
    return;
  }
  runtime.stats.downstreamRqRxReset++;
  // As Envoy has it, a stream that was given up without an error has just ended.
  if (!isGivenUp || code !== ERROR.noError) {
    info.responseCodeDetails = details;
    if (isProtocolError || (isGivenUp && code === ERROR.protocolError)) info.addFlag('downstreamProtocolError');
    else info.addFlag(isGivenUp ? 'downstreamRemoteReset' : 'downstreamConnectionTermination');
  }
  if (!stream.isResponseStarted) info.responseCode = 0;
  stream.router?.cancel();
  if (isProtocolError) stream.sender.reset();
  stream.finish();
}

/** RST_STREAM of the client. */
function isRemoteReset(details: string): boolean {
  return details === 'http2.remote_reset' || details === 'http2.remote_refuse';
}

/** Counts an exchange that is over, and tells its filters and observers. One that was handed over goes on with another listener. */
export function recordEnd(stream: HttpStream, how: 'ended' | 'handed-over'): void {
  const { info, runtime } = stream;
  const { stats, observers, context } = runtime;
  stats.downstreamRqActive--;
  if (stream.isTunnelOpen) stats.downstreamCxUpgradesActive--;
  if (info.responseCode !== 0) countResponse(stats, info.responseCode);
  info.endMonotonicMs = context.clock.monotonic();
  recordRequestTime(stats, info.endMonotonicMs - info.startMonotonicMs);
  info.grpcStatus = grpcStatusOf(info);
  for (const filter of stream.filters) filter.onStreamEnd?.(stream);
  if (how === 'handed-over') {
    observers.onStreamHandedOver(info);
    return;
  }
  stream.span?.end(info);
  observers.onStreamEnd(info);
}
