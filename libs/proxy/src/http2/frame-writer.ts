import type { Socket } from 'node:net';
import { flushLater } from './flush-queue.ts';
import { FLAG, FRAME, FRAME_HEADER_BYTES, MAX_FRAME_BYTES } from './frames.ts';

const FIRST_SLAB_BYTES = 2 * 1024;
const MAX_SLAB_BYTES = 64 * 1024;
/** A slab with less left is not begun again. */
const MIN_ROOM_BYTES = 256;
const COPIED_BYTES = 4 * 1024;
/** In the place of where flags stand: they cannot be altered any more. */
const WRITTEN = -1;
/** What is gathered at most before it is written in the middle of a round. */
const MAX_GATHERED_BYTES = 256 * 1024;

export interface WriterLimits {
  readonly maxOutboundFrames: number;
  readonly maxOutboundControlFrames: number;
}

const EMPTY = Buffer.alloc(0);

/** Gathers the frames of one connection, and writes them together. */
export class FrameWriter {
  readonly #socket: Socket;
  readonly #limits: WriterLimits;
  readonly #onFlood: (kind: 'control' | 'all') => void;
  #slab: Buffer = EMPTY;
  #start = 0;
  #position = 0;
  #slabBytes = FIRST_SLAB_BYTES;
  /** What stands before the slab's own bytes. */
  #segments: Buffer[] = [];
  #segmentBytes = 0;
  #isQueued = false;
  #isClosed = false;
  /** Frames that the socket has not taken yet, and how many of them were caused by frames of the peer. */
  #frames = 0;
  #controlFrames = 0;
  /** Of those, the ones that are not with the socket yet. */
  #gatheredFrames = 0;
  #gatheredControlFrames = 0;
  /** How many of each went with the writes that are under way, oldest first. */
  readonly #inFlight: number[] = [];
  readonly #onWritten = (): void => {
    this.#frames -= this.#inFlight.shift() ?? 0;
    this.#controlFrames -= this.#inFlight.shift() ?? 0;
  };
  /** Changes when what was gathered cannot be altered any more. */
  epoch = 0;
  /** There are streams: what is left of the slab will be needed soon. */
  isBusy = false;
  /** The socket's buffer is over its mark. */
  isBlocked = false;

  constructor(socket: Socket, limits: WriterLimits, onFlood: (kind: 'control' | 'all') => void) {
    this.#socket = socket;
    this.#limits = limits;
    this.#onFlood = onFlood;
  }

  /** Nothing is written any more. */
  close(): void {
    this.#isClosed = true;
    this.#segments = [];
    this.#slab = EMPTY;
    this.#start = 0;
    this.#position = 0;
  }

  /** The socket has taken everything. */
  onDrained(): void {
    this.isBlocked = false;
  }

  get hasGathered(): boolean {
    return this.#segmentBytes + this.#position - this.#start > 0;
  }

  /** Writes a whole frame; returns where its flags stand, good until `epoch` changes. */
  frame(type: number, flags: number, streamId: number, payload: Buffer): number {
    const at = this.#header(payload.length, type, flags, streamId);
    this.#payload(payload, 0, payload.length);
    this.#count(isControl(type, flags));
    return at;
  }

  /** A frame whose payload is one or two numbers of 32 bits: RST_STREAM, WINDOW_UPDATE, GOAWAY. */
  numberFrame(type: number, streamId: number, first: number, second?: number): void {
    this.#header(second === undefined ? 4 : 8, type, 0, streamId);
    this.#number(first);
    if (second !== undefined) this.#number(second);
    this.#count(type === FRAME.resetStream);
  }

  /** Writes a header block as HEADERS and as many CONTINUATION as it takes; returns where the flags of HEADERS stand. */
  headers(streamId: number, flags: number, encoded: { readonly block: Buffer; readonly length: number }): number {
    const { block, length } = encoded;
    // The encoder uses its buffer again for the next block.
    const bytes = length > COPIED_BYTES ? Buffer.from(block.subarray(0, length)) : block;
    const first = Math.min(length, MAX_FRAME_BYTES);
    const at = this.#header(first, FRAME.headers, flags | (first === length ? FLAG.endHeaders : 0), streamId);
    this.#payload(bytes, 0, first);
    this.#count(false);
    for (let done = first; done < length; done += MAX_FRAME_BYTES) {
      const part = Math.min(length - done, MAX_FRAME_BYTES);
      this.#header(part, FRAME.continuation, done + part === length ? FLAG.endHeaders : 0, streamId);
      this.#payload(bytes, done, part);
      this.#count(false);
    }
    // END_STREAM stands on HEADERS, which a slab behind it would have moved out of reach.
    return first === length ? at : WRITTEN;
  }

  /** A DATA frame; returns where its flags stand. `chunk` is not copied where it is large, and must not change. */
  data(streamId: number, chunk: Buffer, isEnd: boolean): number {
    const at = this.#header(chunk.length, FRAME.data, isEnd ? FLAG.endStream : 0, streamId);
    this.#payload(chunk, 0, chunk.length);
    this.#count(false);
    if (this.#segmentBytes <= MAX_GATHERED_BYTES) return at;
    this.flush();
    return WRITTEN;
  }

  /** Sets END_STREAM on a frame that is still here. False: it is not. */
  markEnd(at: number, epoch: number): boolean {
    if (epoch !== this.epoch || at === WRITTEN) return false;
    this.#slab[at] = (this.#slab[at] as number) | FLAG.endStream;
    return true;
  }

  flush(): void {
    this.#isQueued = false;
    if (this.#isClosed || !this.hasGathered) return;
    this.epoch++;
    const segments = this.#segments;
    const rest = this.#position > this.#start ? this.#slab.subarray(this.#start, this.#position) : undefined;
    this.#closeGathering();
    this.#inFlight.push(this.#gatheredFrames, this.#gatheredControlFrames);
    this.#gatheredFrames = 0;
    this.#gatheredControlFrames = 0;
    if (segments.length === 0) this.#socket.write(rest as Buffer, this.#onWritten);
    else {
      this.#segments = [];
      this.#segmentBytes = 0;
      if (rest !== undefined) segments.push(rest);
      const last = segments.pop() as Buffer;
      this.#socket.cork();
      for (const segment of segments) this.#socket.write(segment);
      this.#socket.write(last, this.#onWritten);
      this.#socket.uncork();
    }
    this.isBlocked = this.#socket.writableNeedDrain && this.#socket.writableLength > 0;
  }

  #closeGathering(): void {
    const gathered = this.#segmentBytes + this.#position - this.#start;
    if (gathered > this.#slabBytes >> 1) this.#slabBytes = Math.min(this.#slabBytes * 2, MAX_SLAB_BYTES);
    else if (gathered < this.#slabBytes >> 4) this.#slabBytes = Math.max(this.#slabBytes >> 1, FIRST_SLAB_BYTES);
    this.#start = this.#position;
    if (!this.isBusy || this.#slab.length - this.#position < MIN_ROOM_BYTES) this.#dropSlab();
  }

  #dropSlab(): void {
    this.#slab = EMPTY;
    this.#start = 0;
    this.#position = 0;
  }

  /** Returns where the flags stand. */
  #header(length: number, type: number, flags: number, streamId: number): number {
    if (!this.#isQueued) {
      this.#isQueued = true;
      flushLater(this);
    }
    // Header and copied payload stand together, so that where the flags stand is good for all of the frame.
    const room = FRAME_HEADER_BYTES + (length <= COPIED_BYTES ? length : 0);
    if (this.#slab.length - this.#position < room) this.#newSlab(room);
    const slab = this.#slab;
    const at = this.#position;
    slab[at] = length >> 16;
    slab[at + 1] = length >> 8;
    slab[at + 2] = length;
    slab[at + 3] = type;
    slab[at + 4] = flags;
    this.#position = at + 5;
    this.#number(streamId);
    return at + 4;
  }

  #number(value: number): void {
    const slab = this.#slab;
    const at = this.#position;
    slab[at] = value >>> 24;
    slab[at + 1] = value >>> 16;
    slab[at + 2] = value >>> 8;
    slab[at + 3] = value;
    this.#position = at + 4;
  }

  /** Short ones are copied beside their header, so that many frames are one write of one buffer. */
  #payload(bytes: Buffer, start: number, length: number): void {
    if (length === 0) return;
    if (length > COPIED_BYTES) {
      this.#cut();
      this.#segments.push(bytes.subarray(start, start + length));
      this.#segmentBytes += length;
      return;
    }
    bytes.copy(this.#slab, this.#position, start, start + length);
    this.#position += length;
  }

  /** What stands in the slab becomes a segment of its own. */
  #cut(): void {
    if (this.#position === this.#start) return;
    this.#segments.push(this.#slab.subarray(this.#start, this.#position));
    this.#segmentBytes += this.#position - this.#start;
    this.#start = this.#position;
  }

  #newSlab(room: number): void {
    if (this.hasGathered) this.#slabBytes = Math.min(this.#slabBytes * 2, MAX_SLAB_BYTES);
    this.#cut();
    this.epoch++;
    this.#slab = Buffer.allocUnsafe(Math.max(this.#slabBytes, room));
    this.#start = 0;
    this.#position = 0;
  }

  #count(isControlFrame: boolean): void {
    this.#frames++;
    this.#gatheredFrames++;
    if (isControlFrame) {
      this.#controlFrames++;
      this.#gatheredControlFrames++;
    }
    if (this.#controlFrames > this.#limits.maxOutboundControlFrames) this.#onFlood('control');
    else if (this.#frames > this.#limits.maxOutboundFrames) this.#onFlood('all');
  }
}

/** Frames that a peer can cause without end. Source: envoy ProtocolConstraints (1.40). */
function isControl(type: number, flags: number): boolean {
  return (type === FRAME.ping || type === FRAME.settings) && (flags & FLAG.ack) !== 0;
}
