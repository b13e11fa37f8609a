import { Bag } from '../http/bag.ts';
import type { HeaderMap } from '../http/headers.ts';
import type { FrameWriter } from './frame-writer.ts';
import { DEFAULT_WINDOW_BYTES, FLAG, FRAME_HEADER_BYTES, MAX_FRAME_BYTES } from './frames.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import type { InboundLimits } from './inbound-limits.ts';
import type { Http2Stats } from './stats.ts';
import type { Http2Stream } from './stream.ts';

const NOTHING = Buffer.alloc(0);

export interface OutputOptions {
  readonly writer: FrameWriter;
  readonly limits: InboundLimits;
  readonly stats: Http2Stats;
  readonly hpackTableBytes: number;
  /** END_STREAM of a message was written. */
  readonly onFlushed: (stream: Http2Stream) => void;
}

/** What the streams of one connection send: messages become frames, as far as the peer's windows and the socket take them. */
export class Output {
  readonly encoder: HpackEncoder;
  readonly #writer: FrameWriter;
  readonly #limits: InboundLimits;
  readonly #stats: Http2Stats;
  readonly #onFlushed: (stream: Http2Stream) => void;
  /** Streams whose data waits for the connection's window or the socket. */
  readonly #blocked = new Bag<Http2Stream>();
  /** Streams whose listeners wait for `onWritable`. */
  readonly #waiting = new Bag<Http2Stream>();
  /** What the peer takes on the connection. */
  window = DEFAULT_WINDOW_BYTES;

  constructor(options: OutputOptions) {
    this.#writer = options.writer;
    this.#limits = options.limits;
    this.#stats = options.stats;
    this.#onFlushed = options.onFlushed;
    this.encoder = new HpackEncoder(options.hpackTableBytes);
  }

  get isBlocked(): boolean {
    return this.#writer.isBlocked;
  }

  countPending(bytes: number): void {
    this.#stats.pendingSendBytes += bytes;
  }

  forget(stream: Http2Stream): void {
    this.#blocked.delete(stream);
    if (stream.isListenerWaiting) this.#waiting.delete(stream);
  }

  /** Writes what the encoder holds as the head of a message, or of its trailers. */
  writeHeaders(stream: Http2Stream, isEnd: boolean): void {
    const { length } = this.encoder;
    stream.lastFrameAt = this.#writer.headers(stream.id, isEnd ? FLAG.endStream : 0, this.encoder);
    stream.lastFrameEpoch = this.#writer.epoch;
    stream.sentBytes += FRAME_HEADER_BYTES * Math.max(1, Math.ceil(length / MAX_FRAME_BYTES)) + length;
  }

  writeTrailers(stream: Http2Stream, trailers: HeaderMap): void {
    this.#stats.trailers++;
    this.encoder.begin();
    encodeFields(this.encoder, trailers);
    this.writeHeaders(stream, true);
    this.#onFlushed(stream);
  }

  /** Writes data that both windows allow. */
  writeData(stream: Http2Stream, chunk: Buffer): void {
    const writer = this.#writer;
    const { length } = chunk;
    this.window -= length;
    stream.sendWindow -= length;
    for (let at = 0; at < length; at += MAX_FRAME_BYTES) {
      const part = length <= MAX_FRAME_BYTES ? chunk : chunk.subarray(at, at + MAX_FRAME_BYTES);
      stream.lastFrameAt = writer.data(stream.id, part, false);
      this.#limits.sentDataFrames++;
      stream.sentBytes += FRAME_HEADER_BYTES + part.length;
    }
    stream.lastFrameEpoch = writer.epoch;
  }

  /** Ends the message: on the last frame of the stream where that has not been written yet, otherwise on one of its own. */
  writeEnd(stream: Http2Stream): void {
    if (!this.#writer.markEnd(stream.lastFrameAt, stream.lastFrameEpoch)) {
      this.#writer.data(stream.id, NOTHING, true);
      stream.sentBytes += FRAME_HEADER_BYTES;
    }
    this.#onFlushed(stream);
  }

  /** Sends of what waits on the stream as much as the windows and the socket take. */
  pump(stream: Http2Stream): void {
    while (!this.#writer.isBlocked && stream.pumpOnce(Math.min(this.window, MAX_FRAME_BYTES)));
    if (stream.isClosed) return;
    if (stream.pendingBytes === 0) this.#tellWritable(stream);
    else if (stream.sendWindow > 0) this.#blocked.add(stream);
  }

  /** Is sent to by the next {@link pumpBlocked}. */
  block(stream: Http2Stream): void {
    this.#blocked.add(stream);
  }

  /** One frame of each in turn, so that none waits for all of another. */
  pumpBlocked(): void {
    const blocked = this.#blocked;
    while (blocked.size > 0) {
      for (const stream of blocked.list()) {
        if (this.window <= 0 || this.#writer.isBlocked) return;
        const isSent = stream.pumpOnce(Math.min(this.window, MAX_FRAME_BYTES));
        if (!isSent || stream.pendingBytes === 0 || stream.sendWindow <= 0) blocked.delete(stream);
        if (!stream.isClosed && stream.pendingBytes === 0) this.#tellWritable(stream);
      }
    }
  }

  /** Its listener is told when there is room again. */
  waitForRoom(stream: Http2Stream): void {
    if (stream.isListenerWaiting) return;
    stream.isListenerWaiting = true;
    this.#waiting.add(stream);
  }

  /** The socket takes more. */
  onDrained(): void {
    this.#writer.onDrained();
    this.pumpBlocked();
    for (const stream of this.#waiting.list()) if (stream.pendingBytes === 0) this.#tellWritable(stream);
  }

  #tellWritable(stream: Http2Stream): void {
    if (!stream.isListenerWaiting || this.#writer.isBlocked) return;
    stream.isListenerWaiting = false;
    this.#waiting.delete(stream);
    stream.listener?.onWritable();
  }
}

/** The fields of a map, as a block has them. */
export function encodeFields(encoder: HpackEncoder, { names, values }: HeaderMap): void {
  for (let index = 0; index < names.length; index++) encoder.field(names[index] as string, values[index] as string);
}
