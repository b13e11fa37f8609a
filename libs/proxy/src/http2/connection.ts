import type { Socket } from 'node:net';
import type { TimerWheel } from '../http/timer-wheel.ts';
import { BaseConnection } from './base-connection.ts';
import { type FrameHandler, type FrameHeader, FrameReader } from './frame-reader.ts';
import { ERROR, FLAG, FRAME, FRAME_HEADER_BYTES, MAX_WINDOW_BYTES } from './frames.ts';
import { type BlockHandler, HeaderAssembler, type ReceivedBlock } from './header-assembler.ts';
import type { HeaderBlock } from './header-block.ts';
import type { Http2ConnectionOptions } from './options.ts';
import type { Http2Stream } from './stream.ts';

/**
 * One HTTP/2 connection, either side: frames, windows, settings, floods. What requests and responses are is for the sides to say.
 * Source: RFC 9113.
 */
export abstract class Http2Connection extends BaseConnection implements FrameHandler, BlockHandler {
  protected readonly assembler: HeaderAssembler;
  readonly #reader: FrameReader;
  /** The stream that the DATA frame under way is for. */
  #dataStream: Http2Stream | undefined;

  constructor(socket: Socket, options: Http2ConnectionOptions, wheel: TimerWheel) {
    super(socket, options, wheel);
    this.#reader = new FrameReader(this);
    this.assembler = new HeaderAssembler(this, this.limits, options);
  }

  protected get block(): HeaderBlock {
    return this.assembler.block;
  }

  // --- what the sides say

  /** A block on a stream that is not known: a request, or an error. */
  protected abstract onNewStreamBlock(block: ReceivedBlock): void;
  /** A block on a stream that is open: a response, or trailers. */
  protected abstract onStreamBlock(stream: Http2Stream, block: ReceivedBlock): void;
  protected abstract onPeerSettings(): void;
  protected abstract onGoaway(lastStreamId: number, code: number): void;
  /** The stream is one of those that the peer may open, or that we opened already. */
  protected abstract isIdleStream(streamId: number): boolean;

  // --- reading

  protected onRead(chunk: Buffer): void {
    if (this.isFailed) return;
    const held = this.wheel.hold();
    try {
      this.readAtMs = this.wheel.nowMs();
      this.keepalive.onActivity();
      this.#reader.execute(chunk);
      this.tellReadEnd();
    } finally {
      held?.release();
    }
  }

  protected stopReading(): void {
    this.#reader.stop();
  }

  /** Names the header block, or else the frame, that has begun and not ended; 0: there is none. Data may take as long as its stream does. */
  protected get unfinished(): number {
    if (this.assembler.openStreamId !== 0) return -this.assembler.openStreamId;
    return this.#reader.holdsFrame ? this.#reader.frames + 1 : 0;
  }

  // --- frames

  onFrameError(kind: 'size' | 'padding'): void {
    this.fail(kind === 'size' ? ERROR.frameSizeError : ERROR.protocolError, `http2.${kind}`);
  }

  onFrame(frame: FrameHeader, bytes: Buffer, start: number): void {
    if (this.assembler.openStreamId !== 0 && frame.type !== FRAME.continuation) {
      this.#protocolError();
      return;
    }
    if (!this.peer.isKnown && (frame.type !== FRAME.settings || (frame.flags & FLAG.ack) !== 0)) {
      this.#protocolError();
      return;
    }
    switch (frame.type) {
      case FRAME.headers:
        this.assembler.onHeaders(frame, bytes, start);
        break;
      case FRAME.continuation:
        this.assembler.onContinuation(frame, bytes, start);
        break;
      case FRAME.windowUpdate:
        this.#onWindowUpdate(frame, bytes, start);
        break;
      case FRAME.resetStream:
        this.#onResetStream(frame, bytes, start);
        break;
      case FRAME.settings:
        this.#onSettings(frame, bytes, start);
        break;
      case FRAME.ping:
        this.#onPing(frame, bytes, start);
        break;
      case FRAME.goaway:
        if (frame.streamId !== 0) this.#protocolError();
        else if (frame.length < 8) this.fail(ERROR.frameSizeError, 'http2.goaway');
        else this.onGoaway(bytes.readUInt32BE(start) & MAX_WINDOW_BYTES, bytes.readUInt32BE(start + 4));
        break;
      case FRAME.priority:
        this.#onPriority(frame, bytes, start);
        break;
      case FRAME.pushPromise:
        this.#protocolError();
        break;
      // Others are extensions that nobody agreed upon (RFC 9113 §5.5).
    }
  }

  #protocolError(): void {
    this.fail(ERROR.protocolError, 'http2.protocol_error');
  }

  onBlock(received: ReceivedBlock): void {
    const stream = this.streams.get(received.streamId);
    if (stream === undefined) {
      this.onNewStreamBlock(received);
      return;
    }
    if (stream.isRemoteDone) {
      this.fail(ERROR.streamClosed, 'http2.stream_closed', stream);
      return;
    }
    stream.receivedBytes += received.wireBytes;
    if (!this.block.isTooLarge) {
      this.onStreamBlock(stream, received);
      return;
    }
    this.countOverflow();
    this.resetForFault(stream, ERROR.internalError, 'http2.too_many_headers');
  }

  protected countOverflow(): void {
    if (this.block.isListTooLong) this.stats.headerListSizeTooLarge++;
    else this.stats.headerOverflow++;
  }

  /** A block that nobody waits for any more. */
  protected onBlockOfClosedStream(streamId: number): void {
    this.stats.headersCbNoStream++;
    if (this.closedStreams.wasReset(streamId)) return;
    if (this.closedStreams.wasEnded(streamId)) this.fail(ERROR.streamClosed, 'http2.stream_closed');
    else this.#protocolError();
  }

  onDataFrame(frame: FrameHeader, dataBytes: number): void {
    const { streamId, length } = frame;
    if (this.assembler.openStreamId !== 0 || streamId === 0 || !this.peer.isKnown || this.isIdleStream(streamId)) {
      this.#protocolError();
      return;
    }
    if (!this.limits.onPayload(dataBytes, frame.flags)) {
      this.fail(ERROR.enhanceYourCalm, 'http2.inbound_empty_frames_flood');
      return;
    }
    if (length > this.receiveWindow) {
      this.fail(ERROR.flowControlError, 'http2.flow_control');
      return;
    }
    this.receiveWindow -= length;
    const stream = this.streams.get(streamId);
    this.#dataStream = stream;
    if (stream === undefined) {
      this.credit(length);
      // Once: what else comes finds it among the reset ones.
      if (!this.closedStreams.wasReset(streamId)) this.sendReset(streamId, ERROR.streamClosed);
      return;
    }
    this.#onStreamDataFrame(stream, frame, dataBytes);
  }

  #onStreamDataFrame(stream: Http2Stream, frame: FrameHeader, dataBytes: number): void {
    const { length } = frame;
    if (stream.isRemoteDone || length > stream.receiveWindow) {
      const code = stream.isRemoteDone ? ERROR.streamClosed : ERROR.flowControlError;
      this.#dataStream = undefined;
      this.credit(length);
      this.resetForFault(stream, code, 'http2.protocol_error');
      return;
    }
    stream.receiveWindow -= length;
    stream.receivedBytes += FRAME_HEADER_BYTES + length;
    const padding = length - dataBytes;
    if (padding > 0) this.creditStream(stream, padding);
    const isEnd = (frame.flags & FLAG.endStream) !== 0;
    if (stream.isHeadReceived && stream.takesLength(dataBytes, isEnd)) return;
    this.#dataStream = undefined;
    this.credit(dataBytes);
    this.failMessage(stream, stream.id);
  }

  onDataChunk(chunk: Buffer): void {
    const stream = this.#dataStream;
    if (stream === undefined) return;
    if (stream.isClosed) {
      this.credit(chunk.length);
      return;
    }
    this.touch(stream);
    stream.onBody(chunk);
  }

  onDataFrameEnd(frame: FrameHeader): void {
    const stream = this.#dataStream;
    this.#dataStream = undefined;
    if (stream !== undefined && !stream.isClosed && (frame.flags & FLAG.endStream) !== 0) this.onRemoteEnd(stream);
  }

  /** The peer's message is complete. */
  protected onRemoteEnd(stream: Http2Stream): void {
    stream.isRemoteDone = true;
    this.touch(stream);
    stream.listener?.onEnd();
    this.removeIfDone(stream);
  }

  #onPriority(frame: FrameHeader, bytes: Buffer, start: number): void {
    if (frame.streamId === 0) {
      this.#protocolError();
      return;
    }
    if (!this.limits.onPriority()) {
      this.fail(ERROR.enhanceYourCalm, 'http2.inbound_priority_frames_flood');
      return;
    }
    const isOfSelf = frame.length === 5 && (bytes.readUInt32BE(start) & MAX_WINDOW_BYTES) === frame.streamId;
    if (frame.length === 5 && !isOfSelf) return;
    const stream = this.streams.get(frame.streamId);
    const code = isOfSelf ? ERROR.protocolError : ERROR.frameSizeError;
    if (stream === undefined) {
      this.fail(code, 'http2.priority');
      return;
    }
    this.resetForFault(stream, code, 'http2.protocol_error');
  }

  #onResetStream(frame: FrameHeader, bytes: Buffer, start: number): void {
    const { streamId } = frame;
    if (frame.length !== 4) {
      this.fail(ERROR.frameSizeError, 'http2.rst_stream');
      return;
    }
    if (streamId === 0 || this.isIdleStream(streamId)) {
      this.#protocolError();
      return;
    }
    this.stats.rxReset++;
    const stream = this.streams.get(streamId);
    if (stream === undefined) return;
    const code = bytes.readUInt32BE(start);
    this.closedStreams.addEnded(streamId);
    this.onPeerReset(stream);
    this.abort(stream, { details: code === ERROR.refusedStream ? 'http2.remote_refuse' : 'http2.remote_reset', code, isByPeer: true });
  }

  #onSettings(frame: FrameHeader, bytes: Buffer, start: number): void {
    const { peer, output } = this;
    if (frame.streamId !== 0) {
      this.#protocolError();
      return;
    }
    if ((frame.flags & FLAG.ack) !== 0) {
      if (frame.length !== 0) this.fail(ERROR.frameSizeError, 'http2.settings');
      else this.assembler.onSettingsAcknowledged();
      return;
    }
    const windowBefore = peer.windowBytes;
    const error = peer.apply(bytes, start, frame.length);
    if (error !== ERROR.noError || !this.#moveWindows(peer.windowBytes - windowBefore)) {
      this.fail(error === ERROR.noError ? ERROR.flowControlError : error, 'http2.settings');
      return;
    }
    output.encoder.setLimit(peer.headerTableBytes);
    this.writer.frame(FRAME.settings, FLAG.ack, 0, NOTHING);
    // Behind the acknowledgement, so that the peer knows which window is used.
    output.pumpBlocked();
    this.onPeerSettings();
  }

  /** Windows of streams that are open move with the initial one. False: beyond what a window may be (RFC 9113 §6.9.2). */
  #moveWindows(change: number): boolean {
    if (change === 0) return true;
    for (const stream of this.streams.list()) {
      stream.sendWindow += change;
      if (stream.sendWindow > MAX_WINDOW_BYTES) return false;
      if (change > 0 && stream.pendingBytes > 0) this.output.block(stream);
    }
    return true;
  }

  #onPing(frame: FrameHeader, bytes: Buffer, start: number): void {
    if (frame.length !== 8) this.fail(ERROR.frameSizeError, 'http2.ping');
    else if (frame.streamId !== 0) this.#protocolError();
    else if ((frame.flags & FLAG.ack) !== 0) this.onPingAck(bytes.subarray(start, start + 8));
    else this.writer.frame(FRAME.ping, FLAG.ack, 0, bytes.subarray(start, start + 8));
  }

  /** Any bytes are an answer to keep-alive; only a drain looks for one of its own. */
  protected onPingAck(_payload: Buffer): void {}

  // --- windows

  #onWindowUpdate(frame: FrameHeader, bytes: Buffer, start: number): void {
    const { streamId } = frame;
    if (frame.length !== 4) {
      this.fail(ERROR.frameSizeError, 'http2.window_update');
      return;
    }
    if (!this.limits.onWindowUpdate()) {
      this.fail(ERROR.enhanceYourCalm, 'http2.inbound_window_update_frames_flood');
      return;
    }
    const increment = bytes.readUInt32BE(start) & MAX_WINDOW_BYTES;
    if (streamId === 0) {
      this.output.window += increment;
      if (increment === 0) this.#protocolError();
      else if (this.output.window > MAX_WINDOW_BYTES) this.fail(ERROR.flowControlError, 'http2.flow_control');
      else this.output.pumpBlocked();
      return;
    }
    if (this.isIdleStream(streamId)) {
      this.#protocolError();
      return;
    }
    const stream = this.streams.get(streamId);
    if (stream === undefined) return;
    stream.sendWindow += increment;
    if (increment === 0 || stream.sendWindow > MAX_WINDOW_BYTES) {
      const code = increment === 0 ? ERROR.protocolError : ERROR.flowControlError;
      this.resetForFault(stream, code, 'http2.flow_control');
      return;
    }
    if (stream.pendingBytes > 0) this.output.pump(stream);
  }
}

const NOTHING = Buffer.alloc(0);
