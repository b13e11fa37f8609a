import { HeaderMap } from './headers.ts';
import { isGrpcContentType } from './router-timeouts.ts';
import type { HttpStreamInfo } from './stream-info.ts';

/** The status that a gRPC client makes of one of HTTP. Source: gRPC, "HTTP to gRPC Status Code Mapping"; envoy Grpc::Utility::httpToGrpcStatus (1.40). */
export function grpcStatusOfHttp(status: number): number {
  switch (status) {
    case 400:
      return 13;
    case 401:
      return 16;
    case 403:
      return 7;
    case 404:
      return 12;
    case 429:
    case 502:
    case 503:
    case 504:
      return 14;
    default:
      return 2;
  }
}

/** What `grpc-message` may not hold as it is: the rest of UTF-8, and the sign of the escape. Source: gRPC over HTTP/2, "Percent-Encoded". */
export function encodeGrpcMessage(text: string): string {
  if (!/[^\x20-\x7d]|%/.test(text)) return text;
  let encoded = '';
  for (const byte of Buffer.from(text)) {
    const isPlain = byte >= 0x20 && byte < 0x7e && byte !== 0x25;
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}

/** The headers of an answer that is trailers only: HTTP says 200, gRPC what is the matter. */
export function grpcReplyHeaders(reply: {
  readonly status: number;
  readonly grpcStatus?: number;
  readonly body: string | Buffer;
}): HeaderMap {
  const headers = new HeaderMap();
  headers.push('content-type', 'application/grpc');
  headers.push('grpc-status', String(reply.grpcStatus ?? grpcStatusOfHttp(reply.status)));
  if (reply.body.length > 0) headers.push('grpc-message', encodeGrpcMessage(reply.body.toString().trimEnd()));
  return headers;
}

/**
 * How a gRPC call ended: by its trailers, by its headers where it is trailers only, else by the status of HTTP. '' where it was no gRPC call.
 * Source: envoy Grpc::Common::getGrpcStatus (1.40).
 */
export function grpcStatusOf(info: HttpStreamInfo): string {
  const told = info.responseTrailers?.get('grpc-status') ?? info.responseHeaders?.get('grpc-status');
  if (told !== undefined) return told;
  return info.responseCode !== 0 && isGrpcContentType(info.requestHeader('content-type'))
    ? String(grpcStatusOfHttp(info.responseCode))
    : '';
}
