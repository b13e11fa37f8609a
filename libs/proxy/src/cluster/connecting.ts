import { connect, type Socket } from 'node:net';
import { type Clock, errorCode, errorMessage } from '@mizzen/core';
import type { ConnectHandler, ConnectionNeeds, ProxyHeader, SocketAddress, UpstreamConnecting } from '../contract.ts';
import { encodeProxyHeader } from '../listener/proxy-protocol.ts';
import { noteConnectionTimes } from '../observe/connection-times.ts';
import { type OpenConnection, openConnections } from '../observe/open-connections.ts';
import { record } from '../observe/stat-histogram.ts';
import { boundSockets } from '../system/bound-socket.ts';
import { setKeepAliveProbes } from '../system/keep-alive.ts';
import { isTlsSocket, type UpstreamTls } from '../tls/upstream-tls.ts';
import type { Endpoint } from './endpoint.ts';
import { sharedReads } from './shared-reads.ts';

/** Starts a connection to an endpoint; what UpstreamEndpoint.connect promises. */
export function connectTo(endpoint: Endpoint, handler: ConnectHandler): UpstreamConnecting {
  const addresses = [endpoint.address, ...endpoint.details.moreAddresses];
  if (addresses.length > 1) return new HappyEyeballs(endpoint, interleaved(addresses), handler);
  return connectToAddress(endpoint, endpoint.address, handler);
}

function connectToAddress(endpoint: Endpoint, address: SocketAddress, handler: ConnectHandler): UpstreamConnecting {
  const { alpn, needs } = handler;
  const firstBytes = proxyHeaderFor(endpoint, needs);
  const socket = openSocket(endpoint, address, { alpn, needs, firstBytes });
  if (socket === undefined) return failLater(handler, 'TLS error: Secret is not supplied by SDS');
  return new Connecting(endpoint, socket, { handler, tls: endpoint.tls, clock: endpoint.cluster.clock });
}

/** Without a client to speak of, the proxy speaks for itself. Source: envoy UpstreamProxyProtocolSocket::generateHeader (1.40). */
function proxyHeaderFor({ transport }: Endpoint, needs: ConnectionNeeds | undefined): ((socket: Socket) => Buffer) | undefined {
  const rules = transport.proxyHeader;
  if (rules === undefined) return undefined;
  const { version, passesTlv } = rules;
  const given = needs?.proxyHeader;
  if (given !== undefined) {
    const bytes = encodeProxyHeader({ addresses: given.addresses, tlvs: given.tlvs.filter(passesTlv) }, version);
    return () => bytes;
  }
  return (socket) => encodeProxyHeader({ addresses: version === 'v1' ? endsOf(socket) : undefined, tlvs: [] }, version);
}

function endsOf({ localAddress, localPort, remoteAddress, remotePort }: Socket): ProxyHeader['addresses'] {
  if (localAddress === undefined || remoteAddress === undefined) return undefined;
  return {
    source: { kind: 'ip', host: localAddress, port: localPort ?? 0 },
    destination: { kind: 'ip', host: remoteAddress, port: remotePort ?? 0 },
  };
}

interface SocketOptions {
  readonly alpn: readonly string[] | undefined;
  readonly needs: ConnectionNeeds | undefined;
  /** Asked once the socket is connected. */
  readonly firstBytes: ((socket: Socket) => Buffer) | undefined;
}

function openSocket(endpoint: Endpoint, address: SocketAddress, { alpn, needs, firstBytes }: SocketOptions): Socket | undefined {
  const { tls } = endpoint.transport;
  const localAddress = localAddressFor(endpoint, address);
  if (tls !== undefined) {
    try {
      return tls.connect(address, { localAddress, alpn, needs, firstBytes });
    } catch {
      return undefined;
    }
  }
  const socket = address.kind === 'pipe' ? connect({ path: address.path, allowHalfOpen: true }) : openPlainSocket(address, localAddress);
  // Nothing else is written before: who asked for the connection hears of it later.
  if (firstBytes !== undefined) socket.once('connect', () => socket.write(firstBytes(socket)));
  return socket;
}

function openPlainSocket(address: IpAddress, localAddress: string | undefined): Socket {
  const socket: Socket = connect({
    host: address.host,
    port: address.port,
    ...sourceOptions(localAddress),
    allowHalfOpen: true,
    noDelay: true,
    onread: sharedReads(() => socket),
  });
  return socket;
}

type IpAddress = Extract<SocketAddress, { kind: 'ip' }>;

/** What `net.connect` is given of where a connection comes from. */
type SourceOptions =
  | Readonly<Record<string, never>>
  | { readonly localAddress: string }
  | { readonly fd: number; readonly manualStart: true };

function sourceOptions(localAddress: string | undefined): SourceOptions {
  if (localAddress === undefined) return {};
  const fd = boundSockets()?.(localAddress);
  // Not read before it is connected.
  return fd === undefined ? { localAddress } : { fd, manualStart: true };
}

function localAddressFor({ cluster }: Endpoint, address: SocketAddress): string | undefined {
  const { sourceAddressFor } = cluster.config;
  return sourceAddressFor === undefined || address.kind === 'pipe' ? undefined : sourceAddressFor(address.host);
}

function failLater(handler: ConnectHandler, reason: string): UpstreamConnecting {
  let isCancelled = false;
  queueMicrotask(() => {
    if (!isCancelled) handler.onFailed({ reason, isTls: true, isTimeout: false });
  });
  return {
    cancel: () => {
      isCancelled = true;
    },
  };
}

interface ConnectingOptions {
  readonly handler: ConnectHandler;
  readonly tls: UpstreamTls | undefined;
  readonly clock: Clock;
}

/** One attempt to connect: ends in exactly one of connected, failed, cancelled. */
class Connecting implements UpstreamConnecting, OpenConnection {
  readonly #endpoint: Endpoint;
  readonly #socket: Socket;
  readonly #options: ConnectingOptions;
  readonly #timer: { cancel(): void };
  readonly #startMs: number;
  #connectedMs: number | undefined;
  #countedRead = 0;
  #countedWritten = 0;
  #isSettled = false;
  /** 0 until then. */
  #tcpConnectedMs = 0;

  constructor(endpoint: Endpoint, socket: Socket, options: ConnectingOptions) {
    this.#endpoint = endpoint;
    this.#socket = socket;
    this.#options = options;
    const { cluster } = endpoint;
    (options.handler.countedIn ?? cluster.active).connections++;
    cluster.stats.upstreamCxTotal++;
    cluster.stats.upstreamCxActive++;
    endpoint.stats.connectionsTotal++;
    endpoint.stats.connectionsActive++;
    openConnections.add(this);
    this.#startMs = options.clock.monotonic();
    this.#timer = options.clock.after(cluster.connectTimeoutMs, () => this.#fail({ reason: 'connection timeout', isTimeout: true }));
    socket.once('connect', this.#onConnect);
    if (options.tls !== undefined) socket.once('secureConnect', this.#onConnected);
    socket.on('error', this.#onError);
    socket.once('close', this.#onClose);
  }

  cancel(): void {
    if (!this.#settle()) return;
    this.#socket.on('error', ignore);
    this.#socket.destroy();
  }

  readonly #onConnect = (): void => {
    this.#tcpConnectedMs = this.#options.clock.monotonic();
    if (this.#options.tls === undefined) this.#onConnected();
  };

  readonly #onConnected = (): void => {
    if (!this.#settle()) return;
    const socket = this.#socket;
    socket.pause();
    const { tls, handler, clock } = this.#options;
    const { cluster } = this.#endpoint;
    this.#connectedMs = clock.monotonic();
    const [startMs, connectedMs] = [this.#startMs, this.#tcpConnectedMs];
    noteConnectionTimes(socket, { startMs, connectedMs, securedMs: tls === undefined ? 0 : this.#connectedMs });
    record(cluster.stats, 'upstreamCxConnectMs', this.#connectedMs - this.#startMs);
    if (tls !== undefined) socket.setNoDelay(true);
    const { keepAlive } = cluster.config;
    if (keepAlive !== undefined) {
      socket.setKeepAlive(true, keepAlive.idleMs);
      setKeepAliveProbes(socket, keepAlive);
    }
    handler.onConnected(socket, tls !== undefined && isTlsSocket(socket) ? tls.describe(socket) : undefined);
  };

  countBytes(): void {
    const { bytesRead, bytesWritten } = this.#socket;
    const { stats } = this.#endpoint.cluster;
    stats.upstreamCxRxBytesTotal += bytesRead - this.#countedRead;
    stats.upstreamCxTxBytesTotal += bytesWritten - this.#countedWritten;
    this.#countedRead = bytesRead;
    this.#countedWritten = bytesWritten;
  }

  readonly #onError = (thrown: unknown): void => {
    this.#fail({
      reason:
        this.#tcpConnectedMs > 0 ? `TLS error: ${errorCode(thrown) || errorMessage(thrown)}` : errorCode(thrown) || errorMessage(thrown),
      isTimeout: false,
    });
  };

  readonly #onClose = (): void => {
    const { cluster, stats } = this.#endpoint;
    (this.#options.handler.countedIn ?? cluster.active).connections--;
    cluster.stats.upstreamCxActive--;
    cluster.stats.upstreamCxDestroy++;
    openConnections.remove(this);
    stats.connectionsActive--;
    if (this.#connectedMs !== undefined) record(cluster.stats, 'upstreamCxLengthMs', this.#options.clock.monotonic() - this.#connectedMs);
    this.#fail({
      reason: this.#tcpConnectedMs > 0 ? 'TLS error: connection closed during the handshake' : 'connection closed',
      isTimeout: false,
    });
  };

  #fail(failure: { readonly reason: string; readonly isTimeout: boolean }): void {
    if (!this.#settle()) return;
    const { cluster, stats } = this.#endpoint;
    cluster.stats.upstreamCxConnectFail++;
    if (failure.isTimeout) cluster.stats.upstreamCxConnectTimeout++;
    stats.connectFailures++;
    this.#socket.on('error', ignore);
    this.#socket.destroy();
    this.#options.handler.onFailed({ ...failure, isTls: this.#tcpConnectedMs > 0 });
  }

  #settle(): boolean {
    if (this.#isSettled) return false;
    this.#isSettled = true;
    this.#timer.cancel();
    this.#socket.removeListener('error', this.#onError);
    this.#socket.removeListener('connect', this.#onConnect);
    this.#socket.removeListener('secureConnect', this.#onConnected);
    return true;
  }
}

function ignore(): void {}

// Source: RFC 8305 §5 allows 100 ms to 2 s and recommends 250; envoy HappyEyeballsConnectionProvider (1.40) waits 300.
const NEXT_ATTEMPT_MS = 300;

/** Families take turns, beginning with that of the first address. Source: RFC 8305 §4. */
function interleaved(addresses: readonly SocketAddress[]): readonly SocketAddress[] {
  const first = addresses[0] as SocketAddress;
  const same = addresses.filter((address) => isV6(address) === isV6(first));
  const other = addresses.filter((address) => isV6(address) !== isV6(first));
  return same.flatMap((address, index) => [address, ...other.slice(index, index + 1)]).concat(other.slice(same.length));
}

function isV6(address: SocketAddress): boolean {
  return address.kind === 'ip' && address.host.includes(':');
}

/** The addresses of one endpoint are tried one after another, each a moment after the one before; the first that connects is taken. */
class HappyEyeballs implements UpstreamConnecting {
  readonly #endpoint: Endpoint;
  readonly #addresses: readonly SocketAddress[];
  readonly #handler: ConnectHandler;
  readonly #running = new Set<UpstreamConnecting>();
  #next = 0;
  #timer: { cancel(): void } | undefined;

  constructor(endpoint: Endpoint, addresses: readonly SocketAddress[], handler: ConnectHandler) {
    this.#endpoint = endpoint;
    this.#addresses = addresses;
    this.#handler = handler;
    this.#attempt();
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#next = this.#addresses.length;
    for (const attempt of this.#running) attempt.cancel();
    this.#running.clear();
  }

  #attempt(): void {
    this.#timer?.cancel();
    const address = this.#addresses[this.#next++];
    if (address === undefined) return;
    const attempt = connectToAddress(this.#endpoint, address, {
      ...this.#handler,
      onConnected: (socket, tls) => {
        this.#running.delete(attempt);
        this.cancel();
        this.#handler.onConnected(socket, tls);
      },
      onFailed: (failure) => {
        this.#running.delete(attempt);
        if (this.#next < this.#addresses.length) this.#attempt();
        else if (this.#running.size === 0) this.#handler.onFailed(failure);
      },
    });
    this.#running.add(attempt);
    if (this.#next < this.#addresses.length) this.#timer = this.#endpoint.cluster.clock.after(NEXT_ATTEMPT_MS, () => this.#attempt());
  }
}
