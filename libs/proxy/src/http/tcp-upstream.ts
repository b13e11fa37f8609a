import type { Socket } from 'node:net';
import type { ConnectionNeeds, TlsInfo, UpstreamConnecting, UpstreamEndpoint } from '../contract.ts';
import { type ExchangeContext, exchangeMetadata, exchangeSideOf } from '../tcp/metadata-exchange.ts';
import { HeaderMap } from './headers.ts';
import type { ResponseReceiver, UpstreamStream } from './stream.ts';
import { transportFailure } from './transport-failure.ts';

/** The upstream of a CONNECT tunnel that ends at this proxy: a connection whose bytes are the tunnel's. */
class TcpUpstream implements UpstreamStream {
  readonly tls: TlsInfo | undefined;
  readonly localAddress: string;
  readonly isReused = false;
  readonly protocol = '';
  receivedWireBytes = 0;
  sentWireBytes = 0;
  readonly sentHeaderBytes = 0;
  readonly socket: Socket;
  #isOver = false;

  constructor(socket: Socket, tls: TlsInfo | undefined, receiver: ResponseReceiver) {
    this.socket = socket;
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
    this.sentWireBytes += chunk.length;
    return this.socket.write(chunk);
  }

  sendTrailers(): void {}

  end(): void {
    this.socket.end();
  }

  flush(): void {}

  reset(): void {
    this.#isOver = true;
    this.socket.destroy();
  }

  pauseResponse(): void {
    this.socket.pause();
  }

  resumeResponse(): void {
    this.socket.resume();
  }
}

/**
 * Connects to an endpoint and answers the CONNECT with 200 once that is done, and once both proxies told each other whose they are, where they
 * agreed to. Source: RFC 9110 §9.3.6.
 */
export function connectTunnel(
  endpoint: UpstreamEndpoint,
  receiver: ResponseReceiver,
  { context, needs }: { readonly context: ExchangeContext; readonly needs: ConnectionNeeds | undefined },
): UpstreamConnecting {
  let exchange: TunnelExchange | undefined;
  const connecting = endpoint.connect({
    needs,
    onConnected(socket, tls) {
      const protocol = endpoint.cluster.metadataExchangeProtocol;
      if (protocol === undefined || tls?.alpn !== protocol) openTunnel(new TcpUpstream(socket, tls, receiver), receiver, socket);
      else exchange = new TunnelExchange({ socket, tls, receiver }, context);
    },
    onFailed: (failure) =>
      receiver.onUpstreamReset(failure.isTimeout ? 'connection-timeout' : 'connection-failure', transportFailure(failure)),
  });
  return {
    cancel() {
      connecting.cancel();
      exchange?.cancel();
    },
  };
}

function openTunnel(upstream: TcpUpstream, receiver: ResponseReceiver, socket: Socket): void {
  receiver.onReady(upstream);
  receiver.onHead({ status: 200, headers: new HeaderMap(), hasBody: true, contentLength: -1, upgrade: 'connect', wireBytes: 0 });
  receiver.onReadEnd();
  socket.resume();
}

/** A connection between the end of its handshake and the first byte of the tunnel. */
class TunnelExchange {
  readonly #socket: Socket;
  readonly #receiver: ResponseReceiver;
  #isOver = false;
  readonly #onError = (): void => {
    this.#socket.destroy();
  };
  readonly #onClose = (): void => this.#fail('the connection ended during the metadata exchange');

  constructor(
    tunnel: { readonly socket: Socket; readonly tls: TlsInfo | undefined; readonly receiver: ResponseReceiver },
    context: ExchangeContext,
  ) {
    const { socket, tls, receiver } = tunnel;
    this.#socket = socket;
    this.#receiver = receiver;
    socket.on('error', this.#onError);
    socket.once('close', this.#onClose);
    exchangeMetadata(socket, exchangeSideOf(context), {
      onDone: () => {
        if (!this.#leave()) return;
        openTunnel(new TcpUpstream(socket, tls, receiver), receiver, socket);
      },
      onFailed: (details) => this.#fail(details),
    });
  }

  /** Nothing is told any more. */
  cancel(): void {
    if (this.#leave()) this.#socket.destroy();
  }

  #fail(details: string): void {
    if (!this.#leave()) return;
    this.#socket.destroy();
    this.#receiver.onUpstreamReset('connection-failure', details);
  }

  /** Whether it was still under way. */
  #leave(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    this.#socket.removeListener('close', this.#onClose);
    return true;
  }
}
