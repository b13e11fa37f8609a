import { durationMs, type Field } from '@mizzen/matching';
import {
  HttpConnectionManager_CodecType as CodecType,
  type HttpConnectionManager,
} from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import type { ServerCodecOptions } from '../http1/server-options.ts';
import { compileHttp2Options, type Http2ServerOptions } from '../http2/options.ts';
import { createHttp2Stats } from '../http2/stats.ts';

/** The versions of HTTP that clients may speak: one, or whichever they begin with. */
export type DownstreamCodec = 'auto' | 'http1' | 'http2';

export function compileCodecType({ codecType }: HttpConnectionManager, field: Field): DownstreamCodec {
  if (codecType === CodecType.HTTP1) return 'http1';
  if (codecType === CodecType.HTTP2) return 'http2';
  if (codecType !== CodecType.AUTO) field.child('codec_type').reject('HTTP/3 is not supported by this proxy; use AUTO, HTTP1 or HTTP2');
  return 'auto';
}

/** How HTTP/2 is spoken to clients. What both versions of HTTP have in common is taken from `http1`. */
export function compileHttp2Server(message: HttpConnectionManager, field: Field, http1: ServerCodecOptions): Http2ServerOptions {
  const options = compileHttp2Options(message.http2ProtocolOptions, field.child('http2_protocol_options'));
  return {
    ...options,
    isStreamErrorOnInvalidMessage: options.isStreamErrorOnInvalidMessage ?? message.streamErrorOnInvalidHttpMessage,
    maxHeaderBytes: http1.limits.maxHeadBytes,
    maxHeaders: http1.limits.maxHeaders,
    idleTimeoutMs: http1.idleTimeoutMs,
    headersTimeoutMs: http1.headersTimeoutMs,
    maxRequestsPerConnection: http1.maxRequestsPerConnection,
    // As long as a stream may be idle. Source: envoy HttpConnectionManager.stream_idle_timeout (1.40).
    flushTimeoutMs: durationMs(message.streamIdleTimeout) ?? DEFAULT_FLUSH_TIMEOUT_MS,
    stats: createHttp2Stats(),
  };
}

const DEFAULT_FLUSH_TIMEOUT_MS = 300_000;
