import { type AsyncCall, type CallRuntime, sendAsyncRequest } from '../http/async-client.ts';
import { grpcStatusOfHttp } from '../http/grpc.ts';
import { HeaderMap } from '../http/headers.ts';

/** A gRPC call with one message there and one back. */
export interface UnaryCall {
  readonly cluster: string;
  /** `/package.Service/Method`. */
  readonly method: string;
  /** '' : the cluster's name, as Envoy says. */
  readonly authority?: string;
  readonly message: Uint8Array;
  /** Names lower-case. */
  readonly metadata?: readonly (readonly [name: string, value: string])[];
  /** 0: without end. Told to the server as grpc-timeout. */
  readonly timeoutMs: number;
}

/** `status` is a gRPC code; 0 comes with the answer's message. */
export interface UnaryResult {
  readonly status: number;
  readonly message: Buffer | undefined;
  /** What went wrong; '' with status 0. */
  readonly details: string;
}

export const GRPC_OK = 0;
const GRPC_UNKNOWN = 2;
const GRPC_DEADLINE_EXCEEDED = 4;
const GRPC_INTERNAL = 13;
const GRPC_UNAVAILABLE = 14;

const PREFIX_BYTES = 5;

/**
 * Makes a unary gRPC call over a cluster that speaks HTTP/2. Never throws; `done` is called once, never before this has returned.
 * Source: gRPC over HTTP2 (PROTOCOL-HTTP2.md).
 */
export function callUnary(runtime: CallRuntime, call: UnaryCall, done: (result: UnaryResult) => void): AsyncCall {
  const headers = new HeaderMap();
  headers.push('te', 'trailers');
  if (call.timeoutMs > 0) headers.push('grpc-timeout', `${Math.ceil(call.timeoutMs)}m`);
  headers.push('content-type', 'application/grpc');
  for (const [name, value] of call.metadata ?? []) headers.append(name, value);
  const request = {
    cluster: call.cluster,
    method: 'POST',
    path: call.method,
    authority: call.authority || call.cluster,
    headers,
    body: frameMessage(call.message),
    timeoutMs: call.timeoutMs,
    isHttp2: true,
  };
  return sendAsyncRequest(runtime, request, {
    onResponse: (response) => done(resultOf(response)),
    onFailure: (failure, details) => done(failed(failure === 'timeout' ? GRPC_DEADLINE_EXCEEDED : GRPC_UNAVAILABLE, details)),
  });
}

/** One message with its length before it, not compressed. */
export function frameMessage(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  framed[0] = 0;
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, PREFIX_BYTES);
  return framed;
}

function resultOf(response: {
  readonly status: number;
  readonly headers: HeaderMap;
  readonly body: Buffer;
  readonly trailers: HeaderMap | undefined;
}): UnaryResult {
  const { status, headers, body } = response;
  // Without a body the status stands in the head ("Trailers-Only").
  const from = response.trailers?.has('grpc-status') ? response.trailers : headers;
  const code = from.get('grpc-status');
  if (code === undefined)
    return status === 200
      ? failed(GRPC_UNKNOWN, 'the answer has no grpc-status')
      : failed(grpcStatusOfHttp(status), `the answer is HTTP status ${status} and no gRPC`);
  if (!/^\d{1,2}$/.test(code)) return failed(GRPC_UNKNOWN, 'grpc-status is not a number');
  if (Number(code) !== GRPC_OK) return failed(Number(code), decodeMessage(from.get('grpc-message') ?? ''));
  if (body.length < PREFIX_BYTES || body.readUInt32BE(1) !== body.length - PREFIX_BYTES)
    return failed(GRPC_INTERNAL, 'the answer is not one gRPC message');
  if (body[0] !== 0) return failed(GRPC_INTERNAL, 'the answer is compressed, which was not asked for');
  return { status: GRPC_OK, message: body.subarray(PREFIX_BYTES), details: '' };
}

function failed(status: number, details: string): UnaryResult {
  return { status, message: undefined, details };
}

// grpc-message is percent-encoded; what does not decode is shown as it came.
function decodeMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
