import type { Socket } from 'node:net';
import type { Timer } from '@mizzen/core';
import type { StreamInfo } from '@mizzen/telemetry';
import type { DownstreamConnection, TlsInfo, UpstreamCluster, UpstreamConnecting, UpstreamEndpoint } from '../contract.ts';
import { createStreamInfo } from '../observe/stream-info.ts';
import { pump, type TcpConnectionObserver, type TcpProxyConfig, type TcpProxyOptions } from './tcp-proxy.ts';

// Istio's stats filter reports TCP bytes every 5 s. Source: istio proxy, tcp_reporting_duration.
const REPORT_MS = 5000;
/** How long an upstream may take for what is left to be delivered to it. */
const LINGER_MS = 5000;

/** One downstream connection and its way to an upstream. */
export class TcpSession {
  readonly #connection: DownstreamConnection;
  readonly #options: TcpProxyOptions & { readonly config: TcpProxyConfig; readonly onClosed: () => void };
  readonly #info: StreamInfo;
  readonly #observer: TcpConnectionObserver;
  #connecting: UpstreamConnecting | undefined;
  #upstream: Socket | undefined;
  #cluster: UpstreamCluster | undefined;
  #endpoint: UpstreamEndpoint | undefined;
  #lastActivityMs: number;
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(
    connection: DownstreamConnection,
    options: TcpProxyOptions & { readonly config: TcpProxyConfig; readonly onClosed: () => void },
  ) {
    this.#connection = connection;
    this.#options = options;
    this.#info = createStreamInfo(connection, options.context.clock);
    this.#observer = options.observer.onConnection(this.#info);
    this.#lastActivityMs = this.#info.startMonotonicMs;
  }

  start(): void {
    const { socket } = this.#connection;
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.#close());
    const name = this.#options.config.chooseCluster();
    this.#info.upstreamCluster = name;
    const cluster = this.#options.context.cluster(name);
    if (cluster === undefined) {
      this.#fail('noClusterFound');
      return;
    }
    this.#info.destinationService = cluster.service;
    if (cluster.internalListener !== undefined) {
      this.#handOver(cluster.internalListener);
      return;
    }
    this.#cluster = cluster;
    this.#connect(1);
  }

  #handOver(name: string): void {
    if (!this.#options.context.handToInternalListener(name, this.#connection)) this.#fail('upstreamConnectionFailure');
    else this.#observer.onUpstream();
  }

  #connect(attempt: number): void {
    const cluster = this.#cluster as UpstreamCluster;
    const previous = this.#endpoint;
    if (cluster.active.connections >= cluster.limits.maxConnections) {
      cluster.stats.upstreamCxOverflow++;
      this.#fail('upstreamOverflow');
      return;
    }
    const endpoint = cluster.chooseEndpoint({
      hash: undefined,
      isExcluded: previous === undefined ? undefined : (candidate) => candidate === previous,
      originalDestination: this.#connection.originalDestination,
      header: undefined,
    });
    if (endpoint === undefined) {
      this.#fail('noHealthyUpstream');
      return;
    }
    this.#endpoint = endpoint;
    this.#info.upstreamHost = endpoint.addressText;
    this.#info.upstreamAttempts = attempt;
    this.#info.peer ??= this.#options.listener.direction === 'inbound' ? undefined : endpoint.peer;
    this.#connecting = endpoint.connect({
      onConnected: (socket, tls) => this.#onConnected(socket, tls),
      onFailed: ({ reason, isTls }) => {
        endpoint.onFailure();
        if (isTls) this.#info.upstreamTransportFailureReason = reason;
        if (attempt < this.#options.config.maxConnectAttempts) this.#connect(attempt + 1);
        // Both, as Envoy does even where one attempt is all that is allowed.
        else this.#fail('upstreamConnectionFailure', 'upstreamRetryLimitExceeded');
      },
    });
  }

  #onConnected(upstream: Socket, tls: TlsInfo | undefined): void {
    const info = this.#info;
    const endpoint = this.#endpoint as UpstreamEndpoint;
    const { socket, initialData } = this.#connection;
    this.#connecting = undefined;
    this.#upstream = upstream;
    endpoint.activeRequests++;
    endpoint.stats.requestsTotal++;
    info.upstreamLocalAddress = upstream.localAddress === undefined ? '' : `${upstream.localAddress}:${upstream.localPort}`;
    info.upstreamPeerUriSan = tls?.peer?.uriSans[0] ?? '';
    info.upstreamLocalUriSan = tls?.localUriSan ?? '';
    this.#observer.onUpstream();
    upstream.on('error', () => upstream.destroy());
    upstream.once('close', () => {
      endpoint.activeRequests--;
      this.#endFromUpstream();
    });
    const touch = (): void => {
      this.#lastActivityMs = this.#options.context.clock.monotonic();
    };
    pump(socket, upstream, (count) => {
      info.bytesReceived += count;
      info.wireBytesReceived += count;
      touch();
    });
    pump(upstream, socket, (count) => {
      info.bytesSent += count;
      info.wireBytesSent += count;
      touch();
    });
    if (initialData !== undefined) {
      info.bytesReceived += initialData.length;
      info.wireBytesReceived += initialData.length;
      upstream.write(initialData);
    }
    socket.resume();
    upstream.resume();
    this.#tick();
  }

  // The upstream is gone: what it sent last still has to reach the downstream.
  #endFromUpstream(): void {
    const { socket } = this.#connection;
    if (socket.destroyed) return;
    if (socket.writableEnded) socket.destroySoon();
    else socket.end(() => socket.destroySoon());
  }

  #tick(): void {
    const { idleTimeoutMs, maxDurationMs } = this.#options.config;
    const { clock } = this.#options.context;
    this.#timer = clock.after(REPORT_MS, () => {
      const now = clock.monotonic();
      const isIdle = idleTimeoutMs > 0 && now - this.#lastActivityMs >= idleTimeoutMs;
      const isTooOld = maxDurationMs > 0 && now - this.#info.startMonotonicMs >= maxDurationMs;
      if (isIdle || isTooOld) {
        this.#info.connectionTerminationDetails = isIdle ? 'idle_timeout' : 'max_duration';
        this.#connection.socket.destroy();
        return;
      }
      this.#observer.onBytes();
      this.#tick();
    });
  }

  /** What the downstream sent before it ended is still delivered; a downstream that broke off takes the upstream along. */
  #closeUpstream(): void {
    const upstream = this.#upstream;
    if (upstream === undefined || upstream.destroyed) return;
    if (!this.#connection.socket.readableEnded || upstream.writableLength === 0) {
      upstream.destroy();
      return;
    }
    // Nobody reads what it sends any more, and it may read no more before that is taken.
    upstream.removeAllListeners('data');
    upstream.resume();
    upstream.destroySoon();
    const timer = this.#options.context.clock.after(LINGER_MS, () => upstream.destroy());
    upstream.once('close', () => timer.cancel());
  }

  #fail(...flags: StreamInfo['flags']): void {
    this.#info.flags.push(...flags);
    this.#observer.onUpstream();
    this.#connection.socket.destroy();
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#connecting?.cancel();
    this.#closeUpstream();
    this.#info.endMonotonicMs = this.#options.context.clock.monotonic();
    this.#observer.onBytes();
    this.#observer.onEnd();
    this.#options.onClosed();
  }
}
