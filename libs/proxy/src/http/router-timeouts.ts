import type { CompiledRouteAction } from '@mizzen/matching';
import { type HeaderMap, SEEN } from './headers.ts';
import type { RouterConfig } from './router-config.ts';
import type { HttpStreamInfo } from './stream-info.ts';

/** How long the upstream may take. 0: no limit. */
export interface RequestTimeouts {
  /** From the end of the request to the end of the response, all tries together. */
  readonly globalMs: number;
  /** One try, until its response begins. */
  readonly perTryMs: number;
  /** The longest pause of one try. */
  readonly perTryIdleMs: number;
  /** The request is gRPC, and the upstream is told its time by `grpc-timeout`. */
  readonly setsGrpcTimeout: boolean;
  /** A caller of the mesh asked for 204 in the place of 504. */
  readonly answersWith204: boolean;
}

export const NO_TIMEOUTS: RequestTimeouts = { globalMs: 0, perTryMs: 0, perTryIdleMs: 0, setsGrpcTimeout: false, answersWith204: false };

const ALT_RESPONSE = 'x-envoy-upstream-rq-timeout-alt-response';

/**
 * The route's limits and those that headers of the mesh ask for, which are taken away here.
 * Source: envoy FilterUtility::finalTimeout (1.40).
 */
export function requestTimeouts(
  info: HttpStreamInfo,
  action: CompiledRouteAction,
  options: Pick<RouterConfig, 'respectsExpectedTimeout'>,
): RequestTimeouts {
  const { headers } = info.head;
  const isGrpc = action.maxGrpcTimeoutMs !== undefined && !action.usesStreamDuration && isGrpcContentType(headers.get('content-type'));
  let globalMs = action.usesStreamDuration ? 0 : isGrpc ? grpcTimeout(headers, action) : action.timeoutMs;
  let perTryMs = action.retryPolicy?.perTryTimeoutMs ?? 0;
  let answersWith204 = false;
  if ((headers.seen & SEEN.envoyInternal) !== 0) {
    globalMs = askedTimeout(headers, options) ?? globalMs;
    perTryMs = takeNumber(headers, 'x-envoy-upstream-rq-per-try-timeout-ms') ?? perTryMs;
    answersWith204 = headers.has(ALT_RESPONSE);
    if (answersWith204) headers.remove(ALT_RESPONSE);
  }
  if (globalMs > 0 && perTryMs >= globalMs) perTryMs = 0;
  return { globalMs, perTryMs, perTryIdleMs: action.retryPolicy?.perTryIdleTimeoutMs ?? 0, setsGrpcTimeout: isGrpc, answersWith204 };
}

/**
 * Tells the upstream how much time it has; again before every try. `elapsedMs` is undefined before the first one.
 * Source: envoy FilterUtility::setTimeoutHeaders (1.40).
 */
export function setTimeoutHeaders(
  headers: HeaderMap,
  timeouts: RequestTimeouts,
  elapsedMs: number | undefined,
  { suppressesEnvoyHeaders }: Pick<RouterConfig, 'suppressesEnvoyHeaders'>,
): void {
  const { globalMs, perTryMs } = timeouts;
  let expectedMs = perTryMs > 0 ? perTryMs : globalMs;
  if (expectedMs <= 0) return;
  // 0 would be no limit at all.
  if (globalMs > 0 && elapsedMs !== undefined) expectedMs = elapsedMs >= globalMs ? 1 : Math.min(expectedMs, globalMs - elapsedMs);
  const text = String(Math.ceil(expectedMs));
  if (!suppressesEnvoyHeaders) {
    // A header that nobody can have sent need not be looked for.
    if (elapsedMs === undefined && (headers.seen & SEEN.envoyInternal) === 0) headers.push('x-envoy-expected-rq-timeout-ms', text);
    else headers.set('x-envoy-expected-rq-timeout-ms', text);
  }
  if (timeouts.setsGrpcTimeout) headers.set('grpc-timeout', formatGrpcTimeout(Number(text)));
}

/**
 * How long the whole stream may take, 0: no limit; `ofManager` where the route says nothing. What is left of a `grpc-timeout` is told to the
 * upstream. Source: envoy ActiveStream::refreshDurationTimeout (1.40).
 */
export function streamDurationMs(info: HttpStreamInfo, action: CompiledRouteAction, ofManager: number): number {
  const { headers } = info.head;
  const { grpcStreamDuration } = action;
  const asked =
    grpcStreamDuration === undefined || (headers.seen & SEEN.grpcTimeout) === 0 ? undefined : parseGrpcTimeout(headers.get('grpc-timeout'));
  if (grpcStreamDuration === undefined || asked === undefined) return action.maxStreamDurationMs ?? ofManager;
  const { maxMs, offsetMs } = grpcStreamDuration;
  const limitedMs = maxMs > 0 ? Math.min(asked, maxMs) : asked;
  const durationMs = Math.max(0, limitedMs - offsetMs);
  headers.set('grpc-timeout', formatGrpcTimeout(Math.ceil(durationMs)));
  // Nothing left is the end at once, and not no limit.
  return Math.max(durationMs, 1);
}

function askedTimeout(headers: HeaderMap, { respectsExpectedTimeout }: Pick<RouterConfig, 'respectsExpectedTimeout'>): number | undefined {
  if (respectsExpectedTimeout && headers.has('x-envoy-expected-rq-timeout-ms'))
    return parseWholeNumber(headers.get('x-envoy-expected-rq-timeout-ms'));
  return takeNumber(headers, 'x-envoy-upstream-rq-timeout-ms');
}

function grpcTimeout(headers: HeaderMap, action: CompiledRouteAction): number {
  const { maxGrpcTimeoutMs = 0, grpcTimeoutOffsetMs } = action;
  let timeoutMs = (headers.seen & SEEN.grpcTimeout) === 0 ? 0 : (parseGrpcTimeout(headers.get('grpc-timeout')) ?? 0);
  // An offset that would leave nothing is not applied: 0 means no limit.
  if (grpcTimeoutOffsetMs < timeoutMs) timeoutMs -= grpcTimeoutOffsetMs;
  return maxGrpcTimeoutMs > 0 && (timeoutMs === 0 || timeoutMs > maxGrpcTimeoutMs) ? maxGrpcTimeoutMs : timeoutMs;
}

/** Reads and removes a header that holds a number; undefined where it is absent or holds something else. */
export function takeNumber(headers: HeaderMap, name: string): number | undefined {
  const text = headers.get(name);
  if (text === undefined) return undefined;
  headers.remove(name);
  return parseWholeNumber(text);
}

function parseWholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text.trim()) ? Number(text) : undefined;
}

/** `application/grpc`, alone or with a suffix as `+proto`; not gRPC-Web. */
export function isGrpcContentType(contentType: string | undefined): boolean {
  return contentType?.startsWith('application/grpc') === true && /^application\/grpc(?:\+|$)/.test(contentType);
}

const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000_001 };

/** `100m`, `5S` in milliseconds; undefined where it is not valid. Source: gRPC over HTTP/2, "Timeout". */
function parseGrpcTimeout(text: string | undefined): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(text ?? '');
  return match === null ? undefined : Number(match[1]) * (UNIT_MS[match[2] as string] as number);
}

/** At most eight digits, as gRPC wants. Source: envoy Grpc::Common::toGrpcTimeout (1.40). */
function formatGrpcTimeout(timeoutMs: number): string {
  const longest = 99_999_999;
  if (timeoutMs <= longest) return `${timeoutMs}m`;
  const seconds = Math.floor(timeoutMs / 1000);
  if (seconds <= longest) return `${seconds}S`;
  const minutes = Math.floor(seconds / 60);
  return minutes <= longest ? `${minutes}M` : `${Math.min(Math.floor(minutes / 60), longest)}H`;
}
