import { connect, type Socket } from 'node:net';
import { type Clock, errorCode, errorMessage } from '@mizzen/core';
import { type PeerMetadata, peerOfWorkload } from '@mizzen/telemetry';
import { addressText } from '../config/values.ts';
import type { ConnectHandler, EndpointPool, EndpointStats, SocketAddress, UpstreamConnecting, UpstreamEndpoint } from '../contract.ts';
import { boundSockets } from '../system/bound-socket.ts';
import { isTlsSocket, type UpstreamTls } from '../tls/upstream-tls.ts';
import type { EndpointConfig, EndpointHealth } from './assignment.ts';
import type { LiveCluster } from './cluster.ts';
import { sharedReads } from './shared-reads.ts';

/** One address of a cluster. Small: a proxy knows tens of thousands, and most are never used. */
export class Endpoint implements UpstreamEndpoint {
  readonly address: SocketAddress;
  readonly cluster: LiveCluster;
  readonly hostname: string;
  weight: number;
  health: EndpointHealth;
  workload: string;
  readonly #tls: UpstreamTls | undefined;
  activeRequests = 0;
  /** When the load balancer chose it last, as a count of choices: ties go to the one that waited longest. */
  lastChosen = 0;
  isEjected = false;
  pool: EndpointPool | undefined = undefined;
  #stats: EndpointStats | undefined;
  #addressText: string | undefined;

  constructor(
    cluster: LiveCluster,
    config: Omit<EndpointConfig, 'address'> & { readonly address: SocketAddress; readonly tls: UpstreamTls | undefined },
  ) {
    this.cluster = cluster;
    this.address = config.address;
    this.hostname = config.hostname;
    this.weight = config.weight;
    this.health = config.health;
    this.workload = config.workload;
    this.#tls = config.tls;
  }

  get addressText(): string {
    this.#addressText ??= addressText(this.address);
    return this.#addressText;
  }

  get stats(): EndpointStats {
    this.#stats ??= {
      requestsTotal: 0,
      requestsSuccess: 0,
      requestsError: 0,
      connectionsTotal: 0,
      connectionsActive: 0,
      connectFailures: 0,
    };
    return this.#stats;
  }

  get peer(): PeerMetadata | undefined {
    return this.workload === '' ? undefined : peerOfWorkload(this.workload);
  }

  get isUsable(): boolean {
    return this.health !== 'unhealthy' && !this.isEjected;
  }

  /** The transport socket that its connections use; two endpoints with the same address and transport are the same endpoint. */
  get tls(): UpstreamTls | undefined {
    return this.#tls;
  }

  onResponse(status: number): void {
    this.cluster.outliers?.onResponse(this, status);
  }

  onFailure(): void {
    this.cluster.outliers?.onFailure(this);
  }

  connect(handler: ConnectHandler): UpstreamConnecting {
    const socket = this.#open(handler.isHttp ?? false);
    if (socket === undefined) return failLater(handler, 'TLS error: Secret is not supplied by SDS');
    return new Connecting(this, socket, { handler, tls: this.#tls, clock: this.cluster.clock });
  }

  #open(isHttp: boolean): Socket | undefined {
    if (this.#tls !== undefined) {
      try {
        return this.#tls.connect(this.address, { localAddress: this.#localAddress(), isHttp });
      } catch {
        return undefined;
      }
    }
    const { address } = this;
    if (address.kind === 'pipe') return connect({ path: address.path, allowHalfOpen: true });
    const socket: Socket = connect({
      host: address.host,
      port: address.port,
      ...this.#source(),
      allowHalfOpen: true,
      noDelay: true,
      onread: sharedReads(() => socket),
    });
    return socket;
  }

  #source(): SourceOptions {
    const localAddress = this.#localAddress();
    if (localAddress === undefined) return {};
    const fd = boundSockets()?.(localAddress);
    // Not read before it is connected.
    return fd === undefined ? { localAddress } : { fd, manualStart: true };
  }

  #localAddress(): string | undefined {
    const { sourceAddressFor } = this.cluster.config;
    return sourceAddressFor === undefined || this.address.kind === 'pipe' ? undefined : sourceAddressFor(this.address.host);
  }
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

/** What `net.connect` is given of where a connection comes from. */
type SourceOptions =
  | Readonly<Record<string, never>>
  | { readonly localAddress: string }
  | { readonly fd: number; readonly manualStart: true };

interface ConnectingOptions {
  readonly handler: ConnectHandler;
  readonly tls: UpstreamTls | undefined;
  readonly clock: Clock;
}

/** One attempt to connect: ends in exactly one of connected, failed, cancelled. */
class Connecting implements UpstreamConnecting {
  readonly #endpoint: Endpoint;
  readonly #socket: Socket;
  readonly #options: ConnectingOptions;
  readonly #timer: { cancel(): void };
  #isSettled = false;
  #isTcpConnected = false;

  constructor(endpoint: Endpoint, socket: Socket, options: ConnectingOptions) {
    this.#endpoint = endpoint;
    this.#socket = socket;
    this.#options = options;
    const { cluster } = endpoint;
    cluster.active.connections++;
    cluster.stats.upstreamCxTotal++;
    cluster.stats.upstreamCxActive++;
    endpoint.stats.connectionsTotal++;
    endpoint.stats.connectionsActive++;
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
    this.#isTcpConnected = true;
    if (this.#options.tls === undefined) this.#onConnected();
  };

  readonly #onConnected = (): void => {
    if (!this.#settle()) return;
    const socket = this.#socket;
    socket.pause();
    const { tls, handler } = this.#options;
    if (tls !== undefined) socket.setNoDelay(true);
    const { keepAliveMs } = this.#endpoint.cluster.config;
    if (keepAliveMs !== undefined) socket.setKeepAlive(true, keepAliveMs);
    handler.onConnected(socket, tls !== undefined && isTlsSocket(socket) ? tls.describe(socket) : undefined);
  };

  readonly #onError = (thrown: unknown): void => {
    this.#fail({
      reason: this.#isTcpConnected ? `TLS error: ${errorCode(thrown) || errorMessage(thrown)}` : errorCode(thrown) || errorMessage(thrown),
      isTimeout: false,
    });
  };

  readonly #onClose = (): void => {
    const { cluster, stats } = this.#endpoint;
    cluster.active.connections--;
    cluster.stats.upstreamCxActive--;
    stats.connectionsActive--;
    this.#fail({
      reason: this.#isTcpConnected ? 'TLS error: connection closed during the handshake' : 'connection closed',
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
    this.#options.handler.onFailed({ ...failure, isTls: this.#isTcpConnected });
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
