import { durationMs, type Field, refuseFields } from '@mizzen/matching';
import type { Http2ProtocolOptions, KeepaliveSettings } from '@mizzen/xds-api/envoy/config/core/v3/protocol';
import type { Http2Stats } from './stats.ts';

/** Keep-alive by PING. Source: envoy KeepaliveSettings. */
export interface Http2Keepalive {
  /** 0: no PING at intervals. */
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** 0 to 1: how much of the interval is added by chance. */
  readonly jitterRatio: number;
  /** A request on a connection that was silent for this long is preceded by a PING; 0: never. */
  readonly idleIntervalMs: number;
}

/** Http2ProtocolOptions, checked and with Envoy's defaults filled in. */
export interface Http2Options {
  /** Of the dynamic tables, ours and the one that the peer may use towards us. */
  readonly hpackTableBytes: number;
  readonly maxConcurrentStreams: number;
  readonly initialStreamWindowBytes: number;
  readonly initialConnectionWindowBytes: number;
  /** Extended CONNECT (RFC 8441). */
  readonly allowsConnect: boolean;
  readonly maxOutboundFrames: number;
  readonly maxOutboundControlFrames: number;
  readonly maxConsecutiveEmptyFrames: number;
  readonly maxPriorityFramesPerStream: number;
  readonly maxWindowUpdateFramesPerDataFrame: number;
  /** A malformed message ends its stream only; undefined: as the connection manager says, or else the whole connection. */
  readonly isStreamErrorOnInvalidMessage: boolean | undefined;
  readonly keepalive: Http2Keepalive | undefined;
}

/** What both sides of a connection need beside the message. */
export interface Http2ConnectionOptions extends Http2Options {
  /** Of the names and values of one header block, decoded. */
  readonly maxHeaderBytes: number;
  /** Of one header block, pseudo headers and cookie crumbs included. */
  readonly maxHeaders: number;
  readonly stats: Http2Stats;
  /** 0 to 1, for the jitter of keep-alive; absent: no jitter. */
  readonly random?: () => number;
}

export interface Http2ServerOptions extends Http2ConnectionOptions {
  /** 0: none. How long a connection may be without a request. */
  readonly idleTimeoutMs: number;
  /** From the first frame of a header block to its last. 0: as long as `idleTimeoutMs`. */
  readonly headersTimeoutMs: number;
  /** 0: any number. */
  readonly maxRequestsPerConnection: number;
  /** How long the rest of a response that is complete on our side may wait for the client's window. 0: without end. */
  readonly flushTimeoutMs: number;
}

export type Http2ClientOptions = Http2ConnectionOptions;

const KIB = 1024;
const MIB = 1024 * KIB;
const MAX_WINDOW_BYTES = 2 ** 31 - 1;
const MIN_WINDOW_BYTES = 65_535;

/** As a connection has them that is configured nowhere. Source: what Envoy 1.40 sends, Http2::Utility::OptionsLimits. */
export const DEFAULT_HTTP2_OPTIONS: Http2Options = {
  hpackTableBytes: 4096,
  maxConcurrentStreams: 1024,
  initialStreamWindowBytes: 16 * MIB,
  initialConnectionWindowBytes: 24 * MIB,
  allowsConnect: false,
  maxOutboundFrames: 10_000,
  maxOutboundControlFrames: 1000,
  maxConsecutiveEmptyFrames: 1,
  maxPriorityFramesPerStream: 100,
  maxWindowUpdateFramesPerDataFrame: 10,
  isStreamErrorOnInvalidMessage: undefined,
  keepalive: undefined,
};

/** Limits of header blocks, unless the connection manager or the cluster says otherwise. Source: envoy DEFAULT_MAX_REQUEST_HEADERS_KB. */
export const DEFAULT_HEADER_LIMITS = { maxHeaderBytes: 60 * KIB, maxHeaders: 100 } as const;

/** `message` absent: Envoy's defaults. Values out of range are rejected at `field`. */
export function compileHttp2Options(message: Http2ProtocolOptions | undefined, field: Field): Http2Options {
  const defaults = DEFAULT_HTTP2_OPTIONS;
  if (message === undefined) return defaults;
  refuseFields(field, message, ['allowMetadata', 'customSettingsParameters']);
  const windowRange = [MIN_WINDOW_BYTES, MAX_WINDOW_BYTES] as const;
  inRange(field.child('max_concurrent_streams'), message.maxConcurrentStreams, [1, MAX_WINDOW_BYTES]);
  inRange(field.child('initial_stream_window_size'), message.initialStreamWindowSize, windowRange);
  inRange(field.child('initial_connection_window_size'), message.initialConnectionWindowSize, windowRange);
  inRange(field.child('max_outbound_frames'), message.maxOutboundFrames, [1, 2 ** 32 - 1]);
  inRange(field.child('max_outbound_control_frames'), message.maxOutboundControlFrames, [1, 2 ** 32 - 1]);
  inRange(field.child('max_inbound_window_update_frames_per_data_frame_sent'), message.maxInboundWindowUpdateFramesPerDataFrameSent, [
    1,
    2 ** 32 - 1,
  ]);
  const keepalive = message.connectionKeepalive && compileKeepalive(message.connectionKeepalive, field.child('connection_keepalive'));
  return {
    hpackTableBytes: message.hpackTableSize ?? defaults.hpackTableBytes,
    maxConcurrentStreams: message.maxConcurrentStreams ?? defaults.maxConcurrentStreams,
    initialStreamWindowBytes: message.initialStreamWindowSize ?? defaults.initialStreamWindowBytes,
    initialConnectionWindowBytes: message.initialConnectionWindowSize ?? defaults.initialConnectionWindowBytes,
    allowsConnect: message.allowConnect,
    maxOutboundFrames: message.maxOutboundFrames ?? defaults.maxOutboundFrames,
    maxOutboundControlFrames: message.maxOutboundControlFrames ?? defaults.maxOutboundControlFrames,
    maxConsecutiveEmptyFrames: message.maxConsecutiveInboundFramesWithEmptyPayload ?? defaults.maxConsecutiveEmptyFrames,
    maxPriorityFramesPerStream: message.maxInboundPriorityFramesPerStream ?? defaults.maxPriorityFramesPerStream,
    maxWindowUpdateFramesPerDataFrame: message.maxInboundWindowUpdateFramesPerDataFrameSent ?? defaults.maxWindowUpdateFramesPerDataFrame,
    isStreamErrorOnInvalidMessage:
      message.overrideStreamErrorOnInvalidHttpMessage ?? (message.streamErrorOnInvalidHttpMessaging ? true : undefined),
    keepalive,
  };
}

function compileKeepalive(message: KeepaliveSettings, field: Field): Http2Keepalive {
  const timeoutMs = durationMs(message.timeout);
  if (timeoutMs === undefined) field.child('timeout').reject('is required');
  return {
    intervalMs: durationMs(message.interval) ?? 0,
    timeoutMs: timeoutMs ?? 0,
    jitterRatio: (message.intervalJitter?.value ?? 15) / 100,
    idleIntervalMs: durationMs(message.connectionIdleInterval) ?? 0,
  };
}

function inRange(field: Field, value: number | undefined, [least, most]: readonly [number, number]): void {
  if (value !== undefined && (value < least || value > most)) field.reject(`must be between ${least} and ${most}, not ${value}`);
}
