import type { Socket } from 'node:net';
import { shareReads } from '../cluster/shared-reads.ts';
import type { ServerCodec, ServerCodecEvents } from '../http/codec.ts';
import { Deadline, type TimerWheel } from '../http/timer-wheel.ts';
import { Http2Connection } from './connection.ts';
import { CLIENT_PREFACE, ERROR, MAX_WINDOW_BYTES } from './frames.ts';
import type { ReceivedBlock } from './header-assembler.ts';
import type { Http2ServerOptions } from './options.ts';
import { Http2ServerStream } from './server-stream.ts';
import type { Http2Stream } from './stream.ts';

// Rapid reset: a client that resets most of what it asks for, at once and without an answer, wants the work and not the answers.
// Source: envoy ConnectionManagerImpl::maybeDrainDueToPrematureResets (1.40).
const PREMATURE_RESET_STREAMS = 500;
const PREMATURE_RESET_MS = 1000;

/** How long the client may take to answer the PING that stands between the two GOAWAY of a drain. */
const DRAIN_PING_MS = 5000;
const DRAIN_PAYLOAD = Buffer.from('mizzen-d', 'latin1');

/** The server's side of one HTTP/2 connection. */
export class Http2ServerConnection extends Http2Connection implements ServerCodec {
  readonly #events: ServerCodecEvents;
  readonly #server: Http2ServerOptions;
  readonly #idle: Deadline;
  readonly #headersDeadline: Deadline;
  #drainDeadline: Deadline | undefined;
  #prefaceBytes = 0;
  /** Of all that the client opened, those included that came after the last GOAWAY and are ignored. */
  #highestStreamId = 0;
  /** What the deadline of heads was set for. */
  #unfinished = 0;
  #requests = 0;
  #drain: 'no' | 'announced' | 'final' = 'no';
  #closedStreams = 0;
  #prematureResets = 0;

  constructor(
    socket: Socket,
    options: { readonly codec: Http2ServerOptions; readonly events: ServerCodecEvents; readonly wheel: TimerWheel },
  ) {
    super(socket, options.codec, options.wheel);
    this.#events = options.events;
    this.#server = options.codec;
    this.#idle = new Deadline(options.wheel, () => this.#onIdle());
    this.#headersDeadline = new Deadline(options.wheel, () => this.fail(ERROR.enhanceYourCalm, 'request_header_timeout'));
  }

  start(initialData: Buffer | undefined): void {
    this.open(undefined);
    shareReads(this.socket);
    this.#idle.arm(this.#server.idleTimeoutMs);
    if (initialData !== undefined && initialData.length > 0) this.onRead(initialData);
    this.socket.resume();
  }

  /** GOAWAY that refuses nothing yet, and after one round trip the one that names the last stream: no request on its way is lost. */
  drain(): void {
    if (this.#drain !== 'no' || this.isFailed) return;
    this.#drain = 'announced';
    this.stats.goawayGracefulSent++;
    this.goaway(MAX_WINDOW_BYTES);
    this.sendPing(DRAIN_PAYLOAD);
    this.#drainDeadline = new Deadline(this.wheel, () => this.#endDrain());
    this.#drainDeadline.arm(DRAIN_PING_MS);
  }

  #endDrain(): void {
    if (this.#drain !== 'announced' || this.isFailed) return;
    this.#drain = 'final';
    this.#drainDeadline?.cancel();
    this.goaway(this.lastPeerStreamId);
    if (this.streams.size === 0) this.closeSocket();
  }

  protected override onPingAck(payload: Buffer): void {
    if (this.#drain === 'announced' && payload.equals(DRAIN_PAYLOAD)) this.#endDrain();
  }

  get timerWheel(): TimerWheel {
    return this.wheel;
  }

  get flushTimeoutMs(): number {
    return this.#server.flushTimeoutMs;
  }

  // --- reading

  protected override onRead(chunk: Buffer): void {
    const begin = this.#readPreface(chunk);
    if (begin < 0) return;
    if (begin < chunk.length) super.onRead(begin === 0 ? chunk : chunk.subarray(begin));
    const { unfinished } = this;
    if (unfinished === this.#unfinished || this.isFailed) return;
    this.#unfinished = unfinished;
    if (unfinished === 0) this.#headersDeadline.cancel();
    else this.#headersDeadline.arm(this.#server.headersTimeoutMs || this.#server.idleTimeoutMs);
  }

  /** Returns where the frames begin, or -1 where it is no preface. */
  #readPreface(chunk: Buffer): number {
    if (this.#prefaceBytes === CLIENT_PREFACE.length) return 0;
    if (this.isFailed) return -1;
    const taken = Math.min(CLIENT_PREFACE.length - this.#prefaceBytes, chunk.length);
    if (CLIENT_PREFACE.compare(chunk, 0, taken, this.#prefaceBytes, this.#prefaceBytes + taken) !== 0) {
      this.fail(ERROR.protocolError, 'http2.bad_preface');
      return -1;
    }
    this.#prefaceBytes += taken;
    return taken;
  }

  protected onNewStreamBlock(received: ReceivedBlock): void {
    const { streamId } = received;
    if (streamId <= this.#highestStreamId) {
      this.onBlockOfClosedStream(streamId);
      return;
    }
    this.#highestStreamId = streamId;
    if (this.#drain === 'final') {
      // GOAWAY told the client that it was not looked at.
      this.closedStreams.addReset(streamId);
      return;
    }
    this.lastPeerStreamId = streamId;
    const { block } = this;
    if (block.isTooLarge) {
      this.countOverflow();
      this.sendReset(streamId, ERROR.internalError);
      return;
    }
    if (this.streams.size >= this.options.maxConcurrentStreams) {
      this.stats.streamRefusedErrors++;
      this.sendReset(streamId, ERROR.refusedStream);
      return;
    }
    const head = block.toRequest(received, this.options.allowsConnect);
    if (head === undefined) {
      this.failMessage(undefined, streamId);
      return;
    }
    this.#idle.cancel();
    this.#requests++;
    const stream = new Http2ServerStream(this, streamId, this.readAtMs);
    stream.receivedBytes = received.wireBytes;
    stream.isRemoteDone = received.isEnd;
    stream.expectedBytes = head.contentLength;
    this.addStream(stream);
    this.touch(stream);
    if (head.path.includes('#')) {
      // A well-formed message, and yet no request: it is answered, and never sent on. Source: envoy http_reject_path_with_fragment (1.40).
      this.#events.onInvalidRequest({ status: 400, details: 'path_normalization_failed' }, stream);
      return;
    }
    const receiver = this.#events.onRequest(head, stream);
    // A local reply may have ended the exchange before there was anybody to receive the request, or a tunnel was handed over.
    if (!stream.isAnswered) stream.listener ??= receiver;
    const { maxRequestsPerConnection } = this.#server;
    if (maxRequestsPerConnection > 0 && this.#requests >= maxRequestsPerConnection) this.drain();
  }

  protected onStreamBlock(stream: Http2Stream, received: ReceivedBlock): void {
    const trailers = this.block.toTrailers();
    if (trailers === undefined || !received.isEnd || stream.expectedBytes > 0) {
      this.failMessage(stream, stream.id);
      return;
    }
    this.stats.trailers++;
    (stream as Http2ServerStream).listener?.onTrailers(trailers);
    if (!stream.isClosed) this.onRemoteEnd(stream);
  }

  protected isIdleStream(streamId: number): boolean {
    return streamId > this.#highestStreamId || (streamId & 1) === 0;
  }

  protected onPeerSettings(): void {
    // Nothing waits for them.
  }

  protected onGoaway(): void {
    // The client opens no more streams; those that are open go on.
  }

  protected override onPeerReset(stream: Http2Stream): void {
    const { isResponseStarted, openedAtMs } = stream as Http2ServerStream;
    if (!isResponseStarted && this.readAtMs - openedAtMs < PREMATURE_RESET_MS) this.#prematureResets++;
  }

  protected onStreamRemoved(stream: Http2Stream): void {
    (stream as Http2ServerStream).onRemoved();
    this.#closedStreams++;
    if (this.isFailed) return;
    if (this.#isResetFlood()) {
      this.stats.tooManyPrematureResets++;
      this.#events.onConnectionFault?.('premature-resets');
      this.destroy();
      return;
    }
    if (this.streams.size > 0) return;
    if (this.#drain === 'final') this.closeSocket();
    else this.#idle.arm(this.#server.idleTimeoutMs);
  }

  // Half of them is enough before the limit: by then the share can no longer fall below a half.
  #isResetFlood(): boolean {
    if (this.#prematureResets === 0) return false;
    if (this.#closedStreams < PREMATURE_RESET_STREAMS) return this.#prematureResets >= PREMATURE_RESET_STREAMS / 2;
    return this.#prematureResets >= this.#closedStreams / 2;
  }

  protected override onFlushed(stream: Http2Stream): void {
    const server = stream as Http2ServerStream;
    if (server.isAnswered) server.onSent();
    else super.onFlushed(stream);
  }

  /** A response begins; `isLast` where the proxy drains. */
  onAnswer(isLast: boolean): void {
    this.limits.openedStreams++;
    if (isLast) this.drain();
  }

  /** A client that leaves its window closed holds what waits for it no longer than this. */
  onFlushTimeout(stream: Http2ServerStream): void {
    this.stats.txFlushTimeout++;
    this.resetStream(stream, ERROR.internalError);
  }

  #onIdle(): void {
    if (this.streams.size > 0 || this.isFailed) return;
    this.goaway(this.lastPeerStreamId);
    this.closeSocket();
  }

  override fail(code: number, details: string, culprit?: Http2Stream): void {
    if (!this.isFailed) this.#events.onConnectionFault?.('protocol');
    super.fail(code, details, culprit);
  }

  protected onGone(): void {
    this.#idle.cancel();
    this.#headersDeadline.cancel();
    this.#drainDeadline?.cancel();
    this.#events.onClose();
  }
}
