import type { FrameHeader } from './frame-reader.ts';
import { ERROR, FLAG, FRAME, FRAME_HEADER_BYTES, MAX_WINDOW_BYTES } from './frames.ts';
import { HeaderBlock } from './header-block.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import type { InboundLimits } from './inbound-limits.ts';
import type { Http2ConnectionOptions } from './options.ts';

/** A block may be this much longer coded than its fields are, before it is no block but a flood. */
const BLOCK_SLACK_BYTES = 64 * 1024;
const PRIORITY_BYTES = 5;

/** A header block that is complete; its fields stand in the assembler's `block`. One object for all of a connection: it holds until the next one. */
export interface ReceivedBlock {
  readonly streamId: number;
  readonly isEnd: boolean;
  readonly wireBytes: number;
}

export interface BlockHandler {
  onBlock(received: ReceivedBlock): void;
  fail(code: number, details: string): void;
}

/** Puts the header blocks of one connection together from HEADERS and CONTINUATION, and decodes them. */
export class HeaderAssembler {
  readonly block: HeaderBlock;
  readonly #handler: BlockHandler;
  readonly #limits: InboundLimits;
  readonly #options: Http2ConnectionOptions;
  readonly #decoder = new HpackDecoder();
  readonly #received = { streamId: 0, isEnd: false, wireBytes: 0 };
  readonly #range: [start: number, end: number] = [0, 0];
  /** The stream of the block under way; 0: there is none. */
  openStreamId = 0;
  #isEnd = false;
  #parts: Buffer[] = [];
  #bytes = 0;
  #wireBytes = 0;

  constructor(handler: BlockHandler, limits: InboundLimits, options: Http2ConnectionOptions) {
    this.#handler = handler;
    this.#limits = limits;
    this.#options = options;
    this.block = new HeaderBlock(options);
    this.#decoder.setLimit(options.hpackTableBytes, false);
  }

  /** From now on the peer's table is as large as our SETTINGS said. */
  onSettingsAcknowledged(): void {
    this.#decoder.setLimit(this.#options.hpackTableBytes, true);
  }

  onHeaders(frame: FrameHeader, bytes: Buffer, start: number): void {
    const { streamId, flags, length } = frame;
    let from = start;
    let to = start + length;
    if ((flags & FLAG.padded) !== 0) to -= length > 0 ? (bytes[from++] as number) : 1;
    if ((flags & FLAG.priority) !== 0) from += PRIORITY_BYTES;
    if ((streamId & 1) === 0 || from > to) {
      this.#handler.fail(ERROR.protocolError, 'http2.protocol_error');
      return;
    }
    if ((flags & FLAG.priority) !== 0 && (bytes.readUInt32BE(from - PRIORITY_BYTES) & MAX_WINDOW_BYTES) === streamId) {
      this.#handler.fail(ERROR.protocolError, 'http2.protocol_error');
      return;
    }
    if (!this.#limits.onPayload(to - from, flags) || !this.#limits.onBlockFrame(FRAME.headers)) {
      this.#handler.fail(ERROR.enhanceYourCalm, 'http2.inbound_empty_frames_flood');
      return;
    }
    this.openStreamId = streamId;
    this.#isEnd = (flags & FLAG.endStream) !== 0;
    this.#wireBytes = FRAME_HEADER_BYTES + length;
    if ((flags & FLAG.endHeaders) !== 0) this.#decode(bytes, from, to);
    else this.#collect(bytes, from, to);
  }

  onContinuation(frame: FrameHeader, bytes: Buffer, start: number): void {
    if (this.openStreamId === 0 || frame.streamId !== this.openStreamId) {
      this.#handler.fail(ERROR.protocolError, 'http2.protocol_error');
      return;
    }
    this.#wireBytes += FRAME_HEADER_BYTES + frame.length;
    if (!this.#limits.onPayload(frame.length, 0) || !this.#limits.onBlockFrame(FRAME.continuation)) {
      this.#handler.fail(ERROR.enhanceYourCalm, 'http2.inbound_continuation_frames_flood');
      return;
    }
    if (!this.#collect(bytes, start, start + frame.length) || (frame.flags & FLAG.endHeaders) === 0) return;
    const all = Buffer.concat(this.#parts);
    this.#decode(all, 0, all.length);
  }

  #collect(bytes: Buffer, from: number, to: number): boolean {
    this.#bytes += to - from;
    if (this.#bytes > this.#options.maxHeaderBytes + BLOCK_SLACK_BYTES) {
      this.#options.stats.headerOverflow++;
      this.#handler.fail(ERROR.enhanceYourCalm, 'http2.too_many_headers');
      return false;
    }
    this.#parts.push(Buffer.from(bytes.subarray(from, to)));
    return true;
  }

  #decode(bytes: Buffer, from: number, to: number): void {
    const received = this.#received;
    received.streamId = this.openStreamId;
    received.isEnd = this.#isEnd;
    received.wireBytes = this.#wireBytes;
    this.#range[0] = from;
    this.#range[1] = to;
    this.openStreamId = 0;
    if (this.#bytes > 0) {
      this.#parts = [];
      this.#bytes = 0;
    }
    this.block.begin();
    if (this.#decoder.decode(bytes, this.#range, this.block)) {
      this.#handler.onBlock(received);
      this.block.release();
    } else this.#handler.fail(ERROR.compressionError, 'http2.compression_error');
  }
}
