import type { Socket } from 'node:net';
import { shareReads } from '../cluster/shared-reads.ts';
import type { TlsInfo } from '../contract.ts';
import { Bag } from '../http/bag.ts';
import type { ResponseReceiver } from '../http/stream.ts';
import type { TimerWheel } from '../http/timer-wheel.ts';
import { Http2ClientStream } from './client-stream.ts';
import { Http2Connection } from './connection.ts';
import { CLIENT_PREFACE, ERROR, MAX_WINDOW_BYTES } from './frames.ts';
import type { ReceivedBlock } from './header-assembler.ts';
import type { Http2ClientOptions } from './options.ts';
import type { Http2Stream } from './stream.ts';

/** How many streams a peer is trusted to take before its SETTINGS came: RFC 9113 §6.5.2 recommends no less. More could all be refused. */
const UNANNOUNCED_STREAMS = 100;

/** What the pool wants to know of a connection. */
export interface Http2ClientOwner {
  /** A stream ended or SETTINGS came: more can be attached. */
  onCapacity(connection: Http2ClientConnection): void;
  /** GOAWAY came, or the stream ids are used up: nothing more can be attached. */
  onDraining(connection: Http2ClientConnection): void;
  /** The last stream ended. */
  onIdle(connection: Http2ClientConnection): void;
  /** The connection is gone: with requests under way, ended by us (`local`) or by the peer (`remote`), or without any. Called once. */
  onClosed(connection: Http2ClientConnection, how: 'local' | 'remote' | 'idle'): void;
}

/** The client's side of one HTTP/2 connection to an endpoint. */
export class Http2ClientConnection extends Http2Connection {
  readonly tls: TlsInfo | undefined;
  readonly localAddress: string;
  readonly #owner: Http2ClientOwner;
  #nextStreamId = 1;
  /** Streams that were attached and have not sent their request yet. */
  readonly #unsent = new Bag<Http2ClientStream>();
  #isDraining = false;
  /** Requests begun. */
  requests = 0;
  /** When it became idle, in monotonic milliseconds; kept by the pool. */
  idleSinceMs = 0;
  /** When it was made, in monotonic milliseconds; kept by the pool. */
  openedAtMs = 0;

  constructor(
    socket: Socket,
    options: {
      readonly tls: TlsInfo | undefined;
      readonly owner: Http2ClientOwner;
      readonly codec: Http2ClientOptions;
      readonly wheel: TimerWheel;
    },
  ) {
    super(socket, options.codec, options.wheel);
    this.tls = options.tls;
    this.#owner = options.owner;
    this.localAddress = localAddressOf(socket);
  }

  /** Sends preface and SETTINGS, and begins to read. Requests may be attached at once: they need not wait for the peer's SETTINGS. */
  start(): void {
    this.open(CLIENT_PREFACE);
    this.readAtMs = this.wheel.nowMs();
    // Without TLS it was opened so.
    if (this.tls !== undefined) shareReads(this.socket);
    this.socket.resume();
  }

  get upstreamSocket(): Socket {
    return this.socket;
  }

  get hasPeerSettings(): boolean {
    return this.peer.isKnown;
  }

  get activeStreams(): number {
    return this.streams.size + this.#unsent.size;
  }

  get hasCapacity(): boolean {
    return (
      !this.#isDraining &&
      !this.isFailed &&
      this.#nextStreamId + 2 * this.#unsent.size < MAX_WINDOW_BYTES &&
      this.activeStreams < this.#maxStreams
    );
  }

  get #maxStreams(): number {
    const ofPeer = this.peer.isKnown ? this.peer.maxConcurrentStreams : UNANNOUNCED_STREAMS;
    return Math.min(ofPeer, this.options.maxConcurrentStreams);
  }

  /** Begins an exchange; only while `hasCapacity`. */
  attach(receiver: ResponseReceiver): void {
    const stream = new Http2ClientStream(this, receiver, this.requests > 0);
    this.requests++;
    this.#unsent.add(stream);
    if (this.streams.size === 0) this.keepalive.onRequestAfterSilence(this.wheel.nowMs() - this.readAtMs);
    receiver.onReady(stream);
  }

  /** Gives the stream its number, now that its request is sent: numbers must reach the peer in their order. False: it cannot be opened. */
  openStream(stream: Http2ClientStream, isExtendedConnect: boolean): boolean {
    this.#unsent.delete(stream);
    if (this.isFailed || (isExtendedConnect && this.peer.isKnown && !this.peer.allowsConnect)) {
      const details = this.isFailed ? 'downstream_remote_disconnect' : 'http2.extended_connect_refused';
      this.abort(stream, { details, code: ERROR.noError, isByPeer: true });
      return false;
    }
    stream.id = this.#nextStreamId;
    stream.sendWindow = this.peer.windowBytes;
    this.#nextStreamId += 2;
    this.limits.openedStreams++;
    this.addStream(stream);
    return true;
  }

  resetByUser(stream: Http2ClientStream): void {
    if (this.#unsent.delete(stream)) {
      this.remove(stream);
      this.#onStreamGone();
      return;
    }
    if (stream.isClosed) return;
    this.resetStream(stream, ERROR.cancel);
  }

  /** Takes no further requests; closes when the last one has ended, at once where there is none. */
  drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    if (this.activeStreams === 0) this.close();
  }

  /** Closes an idle connection. */
  close(): void {
    if (this.isFailed) return;
    this.goaway(0);
    this.closeSocket();
  }

  // --- receiving

  protected onNewStreamBlock(received: ReceivedBlock): void {
    if (this.isIdleStream(received.streamId)) this.fail(ERROR.protocolError, 'http2.protocol_error');
    else this.onBlockOfClosedStream(received.streamId);
  }

  protected onStreamBlock(stream: Http2Stream, received: ReceivedBlock): void {
    const client = stream as Http2ClientStream;
    if (client.isHeadReceived) this.#onTrailers(client, received);
    else this.#onResponse(client, received);
  }

  #onResponse(stream: Http2ClientStream, received: ReceivedBlock): void {
    const { isEnd } = received;
    const head = this.block.toResponse(received);
    // There is no switching of protocols in HTTP/2 (RFC 9113 §8.6).
    if (head === undefined || head.status === 101 || (head.status < 200 && isEnd)) {
      this.failMessage(stream, stream.id);
      return;
    }
    this.touch(stream);
    if (head.status < 200) {
      if (head.status === 100) stream.listener?.onContinue();
      return;
    }
    const isWithoutBody = stream.method === 'HEAD' || head.status === 204 || head.status === 304;
    if (isEnd && !isWithoutBody && head.contentLength > 0) {
      this.failMessage(stream, stream.id);
      return;
    }
    stream.isHeadReceived = true;
    const told = stream.toHead(head, isWithoutBody);
    stream.expectedBytes = isWithoutBody ? 0 : told.contentLength;
    stream.listener?.onHead(told);
    if (isEnd && !stream.isClosed) this.onRemoteEnd(stream);
  }

  #onTrailers(stream: Http2ClientStream, { isEnd }: ReceivedBlock): void {
    const trailers = this.block.toTrailers();
    if (trailers === undefined || !isEnd || stream.expectedBytes > 0) {
      this.failMessage(stream, stream.id);
      return;
    }
    this.stats.trailers++;
    this.touch(stream);
    stream.listener?.onTrailers(trailers);
    if (!stream.isClosed) this.onRemoteEnd(stream);
  }

  protected override onRemoteEnd(stream: Http2Stream): void {
    const client = stream as Http2ClientStream;
    if (!client.isHeadReceived) {
      this.failMessage(stream, stream.id);
      return;
    }
    super.onRemoteEnd(stream);
    // Who answered before the request was complete does not want the rest of it. A tunnel ends on each side by itself.
    if (!client.isTunnel && !client.isFlushed) this.resetStream(client, ERROR.cancel);
  }

  protected isIdleStream(streamId: number): boolean {
    return streamId >= this.#nextStreamId || (streamId & 1) === 0;
  }

  protected onPeerSettings(): void {
    if (this.hasCapacity) this.#owner.onCapacity(this);
  }

  protected onGoaway(lastStreamId: number): void {
    const isFirst = !this.#isDraining;
    this.#isDraining = true;
    if (isFirst) this.#owner.onDraining(this);
    // The peer says that it did nothing with these (RFC 9113 §6.8).
    for (const stream of this.streams.list()) {
      if (stream.id > lastStreamId) this.abort(stream, { details: 'http2.remote_refuse', code: ERROR.refusedStream, isByPeer: true });
    }
    if (this.activeStreams === 0) this.close();
  }

  protected onStreamRemoved(): void {
    this.#onStreamGone();
  }

  #onStreamGone(): void {
    if (this.isFailed) return;
    if (this.#isDraining) {
      if (this.activeStreams === 0) this.close();
      return;
    }
    if (this.activeStreams === 0) this.#owner.onIdle(this);
    else if (this.activeStreams + 1 === this.#maxStreams && this.hasCapacity) this.#owner.onCapacity(this);
  }

  protected onGone(): void {
    const isCutOff = this.hadStreamsAtEnd || this.#unsent.size > 0;
    this.#owner.onClosed(this, !isCutOff ? 'idle' : this.isEndedByUs ? 'local' : 'remote');
    for (const stream of this.#unsent.list()) {
      this.#unsent.delete(stream);
      this.abort(stream, { details: 'downstream_remote_disconnect', code: ERROR.noError, isByPeer: true });
    }
  }
}

function localAddressOf(socket: Socket): string {
  const { localAddress, localPort } = socket;
  if (localAddress === undefined || localPort === undefined) return '';
  return localAddress.includes(':') ? `[${localAddress}]:${localPort}` : `${localAddress}:${localPort}`;
}
