import type { Socket } from 'node:net';
import { Deadline, type TimerWheel } from '../http/timer-wheel.ts';
import { ClosedStreams } from './closed-streams.ts';
import { FrameWriter } from './frame-writer.ts';
import { DEFAULT_WINDOW_BYTES, ERROR, FRAME, SETTING } from './frames.ts';
import { InboundLimits } from './inbound-limits.ts';
import { Keepalive } from './keepalive.ts';
import type { Http2ConnectionOptions } from './options.ts';
import { Output } from './output.ts';
import { encodeSettings, PeerSettings } from './peer-settings.ts';
import type { Http2Stats } from './stats.ts';
import type { Http2Stream } from './stream.ts';
import { StreamTable } from './stream-table.ts';

/** After the last frame the peer gets this long to read it before the socket goes, so that no reset destroys it on its way. */
const LINGER_MS = 1000;

/** Why a stream ends without a proper end; `details` as logs print it, `code` of RST_STREAM or GOAWAY. */
export interface StreamAbort {
  readonly details: string;
  readonly code: number;
  readonly isByPeer: boolean;
}

/** The socket of one HTTP/2 connection, its life from SETTINGS to GOAWAY, and its streams. What frames mean is for {@link Http2Connection}. */
export abstract class BaseConnection {
  readonly options: Http2ConnectionOptions;
  readonly stats: Http2Stats;
  readonly writer: FrameWriter;
  readonly output: Output;
  readonly peer = new PeerSettings();
  protected readonly socket: Socket;
  protected readonly wheel: TimerWheel;
  protected readonly limits: InboundLimits;
  protected readonly closedStreams = new ClosedStreams();
  protected readonly streams = new StreamTable();
  protected readonly keepalive: Keepalive;
  /** When bytes came last, in monotonic milliseconds. */
  protected readAtMs = 0;
  /** The highest stream of the peer that was looked at: what GOAWAY says. */
  protected lastPeerStreamId = 0;
  /** GOAWAY with an error was sent, or the socket is closing: nothing that comes counts. */
  protected isFailed = false;
  protected isClosed = false;
  /** For what the end is counted as: we closed the connection, and streams were open. */
  protected isEndedByUs = false;
  protected hadStreamsAtEnd = false;
  /** What the peer may send on the connection. */
  protected receiveWindow: number;
  readonly #linger: Deadline;
  readonly #touched: Http2Stream[] = [];
  #creditBytes = 0;

  constructor(socket: Socket, options: Http2ConnectionOptions, wheel: TimerWheel) {
    this.socket = socket;
    this.options = options;
    this.stats = options.stats;
    this.wheel = wheel;
    this.writer = new FrameWriter(socket, options, (kind) => this.#onOutboundFlood(kind));
    this.limits = new InboundLimits(options, options.stats);
    this.output = new Output({
      writer: this.writer,
      limits: this.limits,
      stats: options.stats,
      hpackTableBytes: options.hpackTableBytes,
      onFlushed: (stream) => this.onFlushed(stream),
    });
    this.receiveWindow = options.initialConnectionWindowBytes;
    this.#linger = new Deadline(wheel, () => socket.destroy());
    this.keepalive = new Keepalive(this, options.keepalive, { wheel, random: options.random ?? (() => 0) });
  }

  protected abstract onRead(chunk: Buffer): void;
  /** Nothing is read any more. */
  protected abstract stopReading(): void;
  protected abstract onStreamRemoved(stream: Http2Stream): void;
  /** Called once, when the socket is gone and every stream was told. */
  protected abstract onGone(): void;

  // --- life

  protected open(preface: Buffer | undefined): void {
    const { socket, options } = this;
    socket.on('data', (chunk: Buffer) => this.onRead(chunk));
    socket.on('end', () => this.#onEnd());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#onClose());
    socket.on('drain', () => this.#onDrain());
    if (preface !== undefined) socket.write(preface);
    this.#sendSettings(preface !== undefined);
    const more = options.initialConnectionWindowBytes - DEFAULT_WINDOW_BYTES;
    if (more > 0) this.writer.numberFrame(FRAME.windowUpdate, 0, more);
    this.keepalive.start();
    // The socket may have ended before there was anybody to listen.
    if (socket.closed) queueMicrotask(() => this.#onClose());
    else if (socket.readableEnded) queueMicrotask(() => this.#onEnd());
  }

  #sendSettings(isClient: boolean): void {
    const { options } = this;
    const settings: (readonly [id: number, value: number])[] = isClient ? [[SETTING.enablePush, 0]] : [];
    settings.push([SETTING.headerTableSize, options.hpackTableBytes]);
    if (!isClient) settings.push([SETTING.enableConnectProtocol, options.allowsConnect ? 1 : 0]);
    settings.push([SETTING.maxConcurrentStreams, options.maxConcurrentStreams]);
    settings.push([SETTING.initialWindowSize, options.initialStreamWindowBytes]);
    this.writer.frame(FRAME.settings, 0, 0, encodeSettings(settings));
  }

  /** Tells the peer what it did wrong, and closes. Streams are told `details` where it is theirs, otherwise that the connection is gone. */
  fail(code: number, details: string, culprit?: Http2Stream): void {
    if (this.isFailed) return;
    this.isEndedByUs = true;
    this.stopReading();
    this.#sendGoaway(this.lastPeerStreamId, code);
    this.isFailed = true;
    this.hadStreamsAtEnd = this.streams.size > 0;
    if (culprit !== undefined) this.abort(culprit, { details, code, isByPeer: true });
    this.closeSocket();
  }

  #sendGoaway(lastStreamId: number, code: number): void {
    this.stats.goawaySent++;
    this.writer.numberFrame(FRAME.goaway, 0, lastStreamId, code);
  }

  protected goaway(lastStreamId: number): void {
    this.#sendGoaway(lastStreamId, ERROR.noError);
  }

  /** Writes what was gathered, ends the socket, and tells the streams that are left. */
  protected closeSocket(): void {
    if (this.isClosed) return;
    this.isFailed = true;
    this.stopReading();
    this.writer.flush();
    this.writer.close();
    if (!this.socket.destroyed) {
      this.socket.end();
      this.socket.resume();
      this.#linger.arm(LINGER_MS);
      if (this.socket.readableEnded) this.socket.destroySoon();
    }
    this.#abortAll();
  }

  /** A flood, or no answer to a PING: the peer does not read, so that there is nothing to tell it. */
  destroy(): void {
    this.isEndedByUs = true;
    this.isFailed = true;
    this.stopReading();
    this.writer.close();
    this.socket.destroy();
  }

  #onOutboundFlood(kind: 'control' | 'all'): void {
    if (this.isFailed) return;
    if (kind === 'control') this.stats.outboundControlFlood++;
    else this.stats.outboundFlood++;
    this.destroy();
  }

  #onEnd(): void {
    if (this.isClosed) return;
    this.closeSocket();
  }

  #onClose(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.isFailed = true;
    this.stopReading();
    this.writer.close();
    this.keepalive.stop();
    this.#linger.cancel();
    this.#abortAll();
    this.onGone();
  }

  #abortAll(): void {
    if (this.streams.size > 0) this.hadStreamsAtEnd = true;
    for (const stream of this.streams.list())
      this.abort(stream, { details: 'downstream_remote_disconnect', code: ERROR.noError, isByPeer: true });
  }

  #onDrain(): void {
    this.output.onDrained();
    this.tellReadEnd();
  }

  onKeepaliveTimeout(): void {
    this.stats.keepaliveTimeout++;
    this.destroy();
  }

  sendPing(payload: Buffer): void {
    this.writer.frame(FRAME.ping, 0, 0, payload);
  }

  // --- streams

  protected addStream(stream: Http2Stream): void {
    this.streams.add(stream);
    this.stats.streamsActive++;
    this.writer.isBusy = true;
  }

  /** Forgets a stream. What it withheld of the connection's window is given back. */
  protected remove(stream: Http2Stream): void {
    if (stream.isClosed) return;
    stream.isClosed = true;
    this.output.forget(stream);
    if (stream.pendingBytes > 0) stream.dropPending();
    this.credit(stream.withheldBytes);
    if (stream.id === 0) return;
    this.streams.delete(stream);
    this.stats.streamsActive--;
    this.writer.isBusy = this.streams.size > 0;
    this.onStreamRemoved(stream);
  }

  /** Ends a stream that both sides are done with. */
  removeIfDone(stream: Http2Stream): void {
    if (!stream.isRemoteDone || !stream.isFlushed || stream.isClosed) return;
    this.closedStreams.addEnded(stream.id);
    this.remove(stream);
  }

  /** Our RST_STREAM; nobody is told. */
  resetStream(stream: Http2Stream, code: number): void {
    if (stream.isClosed) return;
    if (stream.id !== 0) this.sendReset(stream.id, code);
    this.remove(stream);
  }

  protected sendReset(streamId: number, code: number): void {
    this.stats.txReset++;
    this.closedStreams.addReset(streamId);
    this.writer.numberFrame(FRAME.resetStream, streamId, code);
  }

  /** The peer broke a rule on the stream. Who makes us reset streams is counted as who resets them (CVE-2025-8671). */
  protected resetForFault(stream: Http2Stream, code: number, details: string): void {
    this.sendReset(stream.id, code);
    this.onPeerReset(stream);
    this.abort(stream, { details, code, isByPeer: true });
  }

  /** A stream that is not over was reset, by the peer or for its fault. */
  protected onPeerReset(_stream: Http2Stream): void {
    // Only a server looks for floods of them.
  }

  protected abort(stream: Http2Stream, abort: StreamAbort): void {
    if (stream.isClosed) return;
    this.remove(stream);
    stream.onAborted(abort);
  }

  /** The peer's message is malformed: its stream ends, and the connection with it unless the options say otherwise, as in Envoy. */
  protected failMessage(stream: Http2Stream | undefined, streamId: number): void {
    this.stats.rxMessagingError++;
    const details = 'http2.violation.of.messaging.rule';
    if (this.options.isStreamErrorOnInvalidMessage !== true) {
      this.fail(ERROR.protocolError, details, stream);
      return;
    }
    if (stream === undefined) this.sendReset(streamId, ERROR.protocolError);
    else this.resetForFault(stream, ERROR.protocolError, details);
  }

  /** The read is over for the streams that it brought something. */
  protected tellReadEnd(): void {
    const touched = this.#touched;
    for (let index = 0; index < touched.length; index++) {
      const stream = touched[index] as Http2Stream;
      stream.isTouched = false;
      stream.listener?.onReadEnd();
    }
    touched.length = 0;
  }

  protected touch(stream: Http2Stream): void {
    if (stream.isTouched) return;
    stream.isTouched = true;
    this.#touched.push(stream);
  }

  // --- windows

  /** Gives bytes back to the peer's window of the connection. */
  credit(bytes: number): void {
    this.#creditBytes += bytes;
    if (this.#creditBytes < this.options.initialConnectionWindowBytes >> 1 || this.isFailed) return;
    this.writer.numberFrame(FRAME.windowUpdate, 0, this.#creditBytes);
    this.receiveWindow += this.#creditBytes;
    this.#creditBytes = 0;
  }

  creditStream(stream: Http2Stream, bytes: number): void {
    this.credit(bytes);
    stream.creditBytes += bytes;
    if (stream.creditBytes < this.options.initialStreamWindowBytes >> 1 || stream.isRemoteDone || this.isFailed) return;
    this.writer.numberFrame(FRAME.windowUpdate, stream.id, stream.creditBytes);
    stream.receiveWindow += stream.creditBytes;
    stream.creditBytes = 0;
  }

  /** END_STREAM of a message of ours was written. */
  protected onFlushed(stream: Http2Stream): void {
    this.removeIfDone(stream);
  }
}
