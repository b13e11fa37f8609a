import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { ConnectHandler, UpstreamConnecting, UpstreamEndpoint } from '../contract.ts';
import type { RequestHead, ResetReason, ResponseHead, ResponseReceiver, UpstreamStream } from '../http/stream.ts';
import { type PendingRequest, type PoolRuntime, poolOf } from '../http/upstream-pool.ts';

/**
 * Opens a tunnel through an HTTP proxy that the endpoint is, over the version of HTTP that the cluster speaks: its bytes are those of a request's
 * body and of the answer's. `handler` is told as of a connection of its own. Source: RFC 9110 §9.3.6, RFC 9113 §8.5.
 */
export function openTunnel(
  endpoint: UpstreamEndpoint,
  head: RequestHead,
  { runtime, handler }: { readonly runtime: PoolRuntime; readonly handler: ConnectHandler },
): UpstreamConnecting {
  const tunnel = new Tunnel(head, { endpoint, handler });
  tunnel.pending = poolOf(endpoint, runtime, { downstreamProtocol: head.protocol, needs: handler.needs }).request(tunnel);
  return { cancel: () => tunnel.cancel() };
}

class Tunnel implements ResponseReceiver {
  pending: PendingRequest | undefined;
  readonly #head: RequestHead;
  readonly #endpoint: UpstreamEndpoint;
  readonly #handler: ConnectHandler;
  #stream: UpstreamStream | undefined;
  #socket: TunnelSocket | undefined;
  #isOver = false;

  constructor(head: RequestHead, { endpoint, handler }: { readonly endpoint: UpstreamEndpoint; readonly handler: ConnectHandler }) {
    this.#head = head;
    this.#endpoint = endpoint;
    this.#handler = handler;
  }

  cancel(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.pending?.cancel();
    this.#stream?.reset();
  }

  onReady(stream: UpstreamStream): void {
    this.#stream = stream;
    // As Envoy, a request counts once it has a connection.
    this.#endpoint.cluster.stats.upstreamRqTotal++;
    stream.sendHead(this.#head, '');
    stream.flush();
  }

  onContinue(): void {}

  onHead({ status }: ResponseHead): void {
    const stream = this.#stream;
    if (stream === undefined || this.#isOver) return;
    if (status < 200 || status > 299) {
      this.#fail(`the tunnel was refused with status ${status}`);
      stream.reset();
      return;
    }
    this.#socket = new TunnelSocket(stream);
    this.#handler.onConnected(this.#socket as unknown as Socket, stream.tls);
  }

  onData(chunk: Buffer): void {
    this.#socket?.receive(chunk);
  }

  onTrailers(): void {}

  onEnd(): void {
    if (this.#socket === undefined) this.#fail('the tunnel ended before it was open');
    else this.#socket.receiveEnd();
  }

  onReadEnd(): void {}

  onWritable(): void {
    this.#socket?.takeMore();
  }

  onUpstreamReset(reason: ResetReason, failure: string): void {
    if (this.#socket === undefined) this.#fail(failure === '' ? reason : failure);
    else this.#socket.receiveReset();
  }

  #fail(reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#handler.onFailed({ reason, isTls: false, isTimeout: reason === 'connection-timeout' });
  }
}

/** The stream of a tunnel as a socket: what a TCP session asks of one. */
class TunnelSocket extends Duplex {
  readonly #stream: UpstreamStream;
  #onWritable: (() => void) | undefined;
  #isResponseOver = false;

  constructor(stream: UpstreamStream) {
    super({ allowHalfOpen: true });
    this.#stream = stream;
  }

  /** As a socket's: ends, and is gone once all is written. */
  destroySoon(): void {
    if (this.writableFinished) this.destroy();
    else {
      this.once('finish', () => this.destroy());
      this.end();
    }
  }

  receive(chunk: Buffer): void {
    if (!this.push(chunk)) this.#stream.pauseResponse();
  }

  receiveEnd(): void {
    this.#isResponseOver = true;
    this.push(null);
  }

  receiveReset(): void {
    this.#isResponseOver = true;
    this.destroy();
  }

  takeMore(): void {
    const go = this.#onWritable;
    this.#onWritable = undefined;
    go?.();
  }

  override _read(): void {
    if (!this.#isResponseOver) this.#stream.resumeResponse();
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    const isBelowMark = this.#stream.sendData(chunk);
    this.#stream.flush();
    if (isBelowMark) done();
    else this.#onWritable = done;
  }

  override _final(done: () => void): void {
    this.#stream.end();
    this.#stream.flush();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.#isResponseOver || !this.writableFinished) this.#stream.reset();
    this.#isResponseOver = true;
    done(error);
  }
}
