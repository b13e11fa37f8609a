import type { ServerCodecEvents } from '../http/codec.ts';
import type { TimerWheel } from '../http/timer-wheel.ts';
import type { ParserLimits } from './message-head.ts';

export interface ServerCodecOptions {
  readonly limits: ParserLimits;
  readonly acceptsHttp10: boolean;
  readonly defaultHostForHttp10: string;
  readonly sendsTrailers: boolean;
  /** 0: none. How long a connection may be without a request. */
  readonly idleTimeoutMs: number;
  /** From the first byte of a head to its last. 0: as long as `idleTimeoutMs`. */
  readonly headersTimeoutMs: number;
  /** 0: any number. */
  readonly maxRequestsPerConnection: number;
  /** After the last answer the client gets this long to read it before the socket goes, so that no reset destroys it on its way; 0: no time. */
  readonly lingerMs: number;
  /** Names of response headers are sent as `Content-Type`; else in small letters. */
  readonly sendsProperCase: boolean;
}

export interface ServerConnectionOptions {
  readonly codec: ServerCodecOptions;
  readonly events: ServerCodecEvents;
  readonly wheel: TimerWheel;
  /**
   * The client speaks HTTP/2 without having said so before: the paused socket is the callee's now, and what was read of it. undefined: such a
   * client is refused.
   */
  readonly onHttp2?: ((initialData: Buffer) => void) | undefined;
}

/** Where nothing limits a head, half of one must still not keep a connection longer than none at all does. */
export function headTimeoutMs(options: ServerCodecOptions): number {
  return options.headersTimeoutMs > 0 ? options.headersTimeoutMs : options.idleTimeoutMs;
}
