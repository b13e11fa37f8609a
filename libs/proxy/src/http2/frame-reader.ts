import { FLAG, FRAME, FRAME_HEADER_BYTES, MAX_FRAME_BYTES } from './frames.ts';

/** A frame's header. One object for all frames of a connection: it holds until the next one. */
export interface FrameHeader {
  type: number;
  flags: number;
  streamId: number;
  /** Of the payload. */
  length: number;
}

/** Is told the frames. After an error it calls {@link FrameReader.stop}. */
export interface FrameHandler {
  /** A frame other than DATA; its payload stands in `bytes` from `start` on. */
  onFrame(frame: FrameHeader, bytes: Buffer, start: number): void;
  /** A DATA frame begins: `dataBytes` of its payload are data, the rest is padding. */
  onDataFrame(frame: FrameHeader, dataBytes: number): void;
  /** A part of its data. */
  onDataChunk(chunk: Buffer): void;
  /** All of it, padding included, was there. */
  onDataFrameEnd(frame: FrameHeader): void;
  /** The frame is longer than it may be, or shorter than its padding. */
  onFrameError(kind: 'size' | 'padding'): void;
}

const EMPTY = Buffer.alloc(0);

/**
 * Cuts what reads bring into frames, in place. Data is handed on as it arrives; other frames are put together from the reads that they are
 * spread over, so that never more than one frame is held.
 */
export class FrameReader {
  readonly #handler: FrameHandler;
  readonly #frame: FrameHeader = { type: 0, flags: 0, streamId: 0, length: 0 };
  /** The beginning of a frame that the last read cut off. */
  #held: Buffer = EMPTY;
  #heldBytes = 0;
  /** How many of its bytes must be there before it can be looked at again. */
  #targetBytes = 0;
  #dataLeft = 0;
  #paddingLeft = 0;
  #isInData = false;
  #isStopped = false;
  /** Frames that were told. */
  frames = 0;

  constructor(handler: FrameHandler) {
    this.#handler = handler;
  }

  /** Nothing is read any more. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Whether a frame has begun and cannot be told before more of it comes. Data that is awaited does not count. */
  get holdsFrame(): boolean {
    return this.#heldBytes > 0;
  }

  execute(chunk: Buffer): void {
    const { length } = chunk;
    let position = 0;
    while (position < length && !this.#isStopped) {
      if (this.#isInData) position = this.#readData(chunk, position);
      else if (this.#heldBytes > 0) position = this.#complete(chunk, position);
      else position = this.#readFrame(chunk, position);
    }
  }

  /** Reads a frame, or its beginning, that stands at `position`; returns the position behind it. */
  #readFrame(bytes: Buffer, position: number): number {
    const available = bytes.length - position;
    const needed = this.#neededBytes(bytes, position, available);
    if (needed === 0) return bytes.length;
    if (available < needed) {
      this.#targetBytes = needed;
      this.#hold(bytes, position, available);
      return bytes.length;
    }
    this.#readHeader(bytes, position);
    this.frames++;
    if (this.#frame.type === FRAME.data) this.#beginData(bytes, position);
    else this.#handler.onFrame(this.#frame, bytes, position + FRAME_HEADER_BYTES);
    return position + needed;
  }

  /** How many bytes must be there before the frame at `position` can be told: of DATA its header and the length of its padding. 0: an error. */
  #neededBytes(bytes: Buffer, position: number, available: number): number {
    if (available < FRAME_HEADER_BYTES) return FRAME_HEADER_BYTES;
    const length = ((bytes[position] as number) << 16) | ((bytes[position + 1] as number) << 8) | (bytes[position + 2] as number);
    if (length > MAX_FRAME_BYTES) return this.#fail('size');
    if (bytes[position + 3] !== FRAME.data) return FRAME_HEADER_BYTES + length;
    if (((bytes[position + 4] as number) & FLAG.padded) === 0) return FRAME_HEADER_BYTES;
    return length === 0 ? this.#fail('size') : FRAME_HEADER_BYTES + 1;
  }

  #fail(kind: 'size' | 'padding'): 0 {
    this.#isStopped = true;
    this.#handler.onFrameError(kind);
    return 0;
  }

  #readHeader(bytes: Buffer, position: number): void {
    const frame = this.#frame;
    frame.length = ((bytes[position] as number) << 16) | ((bytes[position + 1] as number) << 8) | (bytes[position + 2] as number);
    frame.type = bytes[position + 3] as number;
    frame.flags = bytes[position + 4] as number;
    frame.streamId =
      (((bytes[position + 5] as number) & 0x7f) << 24) |
      ((bytes[position + 6] as number) << 16) |
      ((bytes[position + 7] as number) << 8) |
      (bytes[position + 8] as number);
  }

  /** Adds to the frame that is held what it lacks; returns the position behind it. */
  #complete(bytes: Buffer, position: number): number {
    const taken = Math.min(this.#targetBytes - this.#heldBytes, bytes.length - position);
    this.#hold(bytes, position, taken);
    const behind = position + taken;
    if (this.#heldBytes < this.#targetBytes) return behind;
    // The header may only now say how long the frame is.
    const needed = this.#neededBytes(this.#held, 0, this.#heldBytes);
    if (needed > this.#heldBytes) {
      this.#targetBytes = needed;
      return behind;
    }
    const frame = this.#held.subarray(0, this.#heldBytes);
    this.#held = EMPTY;
    this.#heldBytes = 0;
    if (needed > 0) this.#readFrame(frame, 0);
    return behind;
  }

  /** A copy: the few bytes would otherwise keep all of the read. It grows with what comes, not with what a header promises. */
  #hold(bytes: Buffer, position: number, count: number): void {
    const total = this.#heldBytes + count;
    if (total > this.#held.length) {
      const grown = Buffer.allocUnsafeSlow(Math.min(this.#targetBytes, Math.max(this.#held.length * 2, total)));
      this.#held.copy(grown, 0, 0, this.#heldBytes);
      this.#held = grown;
    }
    bytes.copy(this.#held, this.#heldBytes, position, position + count);
    this.#heldBytes = total;
  }

  #beginData(bytes: Buffer, position: number): void {
    const frame = this.#frame;
    const isPadded = (frame.flags & FLAG.padded) !== 0;
    const padding = isPadded ? (bytes[position + FRAME_HEADER_BYTES] as number) : 0;
    const dataBytes = frame.length - padding - (isPadded ? 1 : 0);
    if (dataBytes < 0) {
      this.#fail('padding');
      return;
    }
    this.#dataLeft = dataBytes;
    this.#paddingLeft = padding;
    this.#isInData = dataBytes + padding > 0;
    this.#handler.onDataFrame(frame, dataBytes);
    if (!this.#isInData && !this.#isStopped) this.#handler.onDataFrameEnd(frame);
  }

  #readData(bytes: Buffer, position: number): number {
    const available = bytes.length - position;
    if (this.#dataLeft > 0) {
      const taken = Math.min(this.#dataLeft, available);
      this.#dataLeft -= taken;
      this.#handler.onDataChunk(bytes.subarray(position, position + taken));
      this.#endDataIfDone();
      return position + taken;
    }
    const taken = Math.min(this.#paddingLeft, available);
    this.#paddingLeft -= taken;
    this.#endDataIfDone();
    return position + taken;
  }

  #endDataIfDone(): void {
    if (this.#dataLeft + this.#paddingLeft > 0) return;
    this.#isInData = false;
    if (!this.#isStopped) this.#handler.onDataFrameEnd(this.#frame);
  }
}
