import type { Socket } from 'node:net';
import type { TlsInfo, UpstreamConnecting, UpstreamEndpoint } from '../contract.ts';
import { HeaderMap } from './headers.ts';
import type { ResponseReceiver, UpstreamStream } from './stream.ts';
import { transportFailure } from './transport-failure.ts';

/** The upstream of a CONNECT tunnel that ends at this proxy: a connection whose bytes are the tunnel's. */
export class TcpUpstream implements UpstreamStream {
  readonly tls: TlsInfo | undefined;
  readonly localAddress: string;
  readonly isReused = false;
  receivedWireBytes = 0;
  readonly #socket: Socket;
  #isOver = false;

  constructor(socket: Socket, tls: TlsInfo | undefined, receiver: ResponseReceiver) {
    this.#socket = socket;
    this.tls = tls;
    this.localAddress = `${socket.localAddress ?? ''}:${socket.localPort ?? ''}`;
    socket.on('data', (chunk: Buffer) => {
      this.receivedWireBytes += chunk.length;
      receiver.onData(chunk);
      receiver.onReadEnd();
    });
    socket.on('end', () => {
      this.#isOver = true;
      receiver.onEnd();
      receiver.onReadEnd();
    });
    socket.on('drain', () => receiver.onWritable());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      if (!this.#isOver) receiver.onUpstreamReset('connection-termination', '');
      this.#isOver = true;
    });
  }

  // The request's head is for us; the tunnel is open as soon as the connection is.
  sendHead(): void {}

  sendData(chunk: Buffer): boolean {
    return this.#socket.write(chunk);
  }

  sendTrailers(): void {}

  end(): void {
    this.#socket.end();
  }

  flush(): void {}

  reset(): void {
    this.#isOver = true;
    this.#socket.destroy();
  }

  pauseResponse(): void {
    this.#socket.pause();
  }

  resumeResponse(): void {
    this.#socket.resume();
  }
}

/** Connects to an endpoint and answers the CONNECT with 200 once that is done. Source: RFC 9110 §9.3.6. */
export function connectTunnel(endpoint: UpstreamEndpoint, receiver: ResponseReceiver): UpstreamConnecting {
  return endpoint.connect({
    onConnected(socket, tls) {
      const upstream = new TcpUpstream(socket, tls, receiver);
      receiver.onReady(upstream);
      receiver.onHead({ status: 200, headers: new HeaderMap(), hasBody: true, contentLength: -1, upgrade: 'connect', wireBytes: 0 });
      receiver.onReadEnd();
      socket.resume();
    },
    onFailed: (failure) =>
      receiver.onUpstreamReset(failure.isTimeout ? 'connection-timeout' : 'connection-failure', transportFailure(failure)),
  });
}
