import type { Socket } from 'node:net';
import type { JsonObject } from '@bufbuild/protobuf';
import { joinHostPort, type Timer } from '@mizzen/core';
import type { MetadataSource, StreamInfo, UpstreamFacts } from '@mizzen/telemetry';
import { reserveConnection } from '../cluster/active-counts.ts';
import { FILTER_STATE_KEYS, sharedObjects } from '../config/filter-state.ts';
import type {
  ConnectHandler,
  DownstreamConnection,
  Refusal,
  TlsInfo,
  UpstreamCluster,
  UpstreamConnecting,
  UpstreamEndpoint,
} from '../contract.ts';
import { connectionNeeds, proxyHeaderOf } from '../http/connection-needs.ts';
import { transportFailure } from '../http/transport-failure.ts';
import { askedName } from '../listener/sni-forward-proxy.ts';
import { createStreamInfo } from '../observe/stream-info.ts';
import { factsOfConnect } from '../observe/upstream-facts.ts';
import { exchangeMetadata } from './metadata-exchange.ts';
import { Pump } from './pump.ts';
import type { TcpRoute } from './tcp-config.ts';
import type { TcpConnectionObserver, TcpRuntime } from './tcp-proxy.ts';
import { openTunnel } from './tunnel.ts';

// Istio's stats filter reports TCP bytes every 5 s. Source: istio proxy, tcp_reporting_duration.
const REPORT_MS = 5000;
/** How long an upstream may take for what is left to be delivered to it. */
const LINGER_MS = 5000;

/** One downstream connection and its way to an upstream. */
export class TcpSession {
  readonly #connection: DownstreamConnection;
  readonly #runtime: TcpRuntime;
  readonly #onClosed: () => void;
  readonly #info: StreamInfo;
  readonly #observer: TcpConnectionObserver;
  #connecting: UpstreamConnecting | undefined;
  #upstream: Socket | undefined;
  #cluster: UpstreamCluster | undefined;
  #route: TcpRoute | undefined;
  #endpoint: UpstreamEndpoint | undefined;
  readonly #tried: UpstreamEndpoint[] = [];
  #requestedMs = 0;
  /** From downstream to upstream, and back. */
  #pumps: readonly [Pump, Pump] | undefined;
  #lastActivityMs: number;
  #lastLogMs: number;
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(connection: DownstreamConnection, runtime: TcpRuntime, onClosed: () => void) {
    this.#connection = connection;
    this.#runtime = runtime;
    this.#onClosed = onClosed;
    this.#info = createStreamInfo(connection, runtime.context.clock);
    this.#info.peer = connection.filterState?.peer;
    this.#info.upstream = () => this.#upstreamFacts();
    this.#info.configuredMetadata = (source, namespace) => this.#metadataOf(source)?.[namespace];
    this.#observer = runtime.observer.onConnection(this.#info);
    this.#lastActivityMs = this.#info.startMonotonicMs;
    this.#lastLogMs = this.#info.startMonotonicMs;
    connection.socket.on('error', () => connection.socket.destroy());
    connection.socket.once('close', () => this.#close());
  }

  start(): void {
    const { config, context, stats } = this.#runtime;
    const route = config.chooseRoute(this.#connection);
    this.#route = route;
    const cluster = context.cluster(route.clusterName);
    if (cluster === undefined) {
      stats.downstreamCxNoRoute++;
      this.#fail('noClusterFound');
      return;
    }
    this.#info.upstreamCluster = route.clusterName;
    this.#info.destinationService = cluster.service;
    if (cluster.internalListener !== undefined) {
      this.#handOver(cluster.internalListener);
      return;
    }
    this.#cluster = cluster;
    this.#info.upstreamClusterAlias = cluster.observabilityName;
    this.#tick();
    this.#connect(1);
  }

  /** A gate closes the connection: it is only recorded. */
  refuse({ details, flag }: Refusal): void {
    this.#info.connectionTerminationDetails = details;
    if (flag !== undefined) this.#info.flags.push(flag);
    this.#observer.onUpstream();
  }

  #handOver(name: string): void {
    const { filterState, ...rest } = this.#connection;
    const objects = sharedObjects(filterState?.objects ?? []);
    const handed: DownstreamConnection = { ...rest, ...(objects && { filterState: { objects } }) };
    if (!this.#runtime.context.handToInternalListener(name, handed)) this.#fail('upstreamConnectionFailure');
    else this.#observer.onUpstream();
  }

  #connect(attempt: number): void {
    const { config, listener } = this.#runtime;
    const cluster = this.#cluster as UpstreamCluster;
    const endpoint = this.#chooseEndpoint(cluster);
    if (endpoint === undefined) return;
    this.#endpoint = endpoint;
    this.#tried.push(endpoint);
    this.#requestedMs = this.#runtime.context.clock.monotonic();
    this.#info.upstreamHost = endpoint.addressText;
    this.#info.upstreamAttempts = attempt;
    if (listener.direction !== 'inbound') this.#info.peer = endpoint.peer;
    const objects = this.#connection.filterState?.objects;
    const handler: ConnectHandler = {
      needs: connectionNeeds(cluster, {
        authority: undefined,
        filterState: objects === undefined ? undefined : (key) => objects.get(key)?.value,
        proxyHeader: proxyHeaderOf(this.#connection),
      }),
      onConnected: (socket, tls) => this.#onConnected(socket, tls),
      onFailed: (failure) => {
        endpoint.onFailure();
        this.#info.upstreamTransportFailureReason = transportFailure(failure).replaceAll(' ', '_');
        if (attempt < config.maxConnectAttempts) this.#connect(attempt + 1);
        else {
          cluster.stats.upstreamRqRetryLimitExceeded++;
          // Both, as Envoy does even where one attempt is all that is allowed.
          this.#fail('upstreamConnectionFailure', 'upstreamRetryLimitExceeded');
        }
      },
    };
    const { tunnelHead } = config;
    this.#connecting =
      tunnelHead === undefined
        ? endpoint.connect(handler)
        : openTunnel(endpoint, tunnelHead(this.#info), { runtime: this.#runtime.pools, handler });
  }

  /** undefined: there is none, and the connection is closed. */
  #chooseEndpoint(cluster: UpstreamCluster): UpstreamEndpoint | undefined {
    const previous = this.#endpoint;
    if (cluster.active.connections >= cluster.limits.maxConnections) return this.#overflow(cluster);
    const endpoint = cluster.chooseEndpoint({
      hash: this.#runtime.config.hash(this.#connection),
      metadataMatch: this.#route?.metadataMatch,
      isExcluded: previous === undefined ? undefined : (candidate) => candidate === previous,
      originalDestination: this.#connection.originalDestination,
      forwardedHost: cluster.dynamicHosts === undefined ? undefined : forwardedName(this.#connection, cluster.dynamicHosts.defaultPort),
      header: undefined,
    });
    if (endpoint === undefined) {
      cluster.stats.upstreamCxNoneHealthy++;
      this.#fail('noHealthyUpstream');
      return undefined;
    }
    // The pool of a tunnel does so itself. Only where a connection is made then: what is reserved is kept from other event loops.
    if (this.#runtime.config.tunnelHead === undefined && !reserveConnection(cluster)) return this.#overflow(cluster);
    return endpoint;
  }

  #overflow(cluster: UpstreamCluster): undefined {
    cluster.stats.upstreamCxOverflow++;
    this.#fail('upstreamOverflow');
  }

  #onConnected(upstream: Socket, tls: TlsInfo | undefined): void {
    const info = this.#info;
    const endpoint = this.#endpoint as UpstreamEndpoint;
    this.#connecting = undefined;
    this.#upstream = upstream;
    endpoint.activeRequests++;
    endpoint.stats.requestsTotal++;
    const { stats } = endpoint.cluster;
    // A tunnel is a request, which was counted as such.
    if (this.#runtime.config.tunnelHead === undefined) stats.upstreamRqTotal++;
    stats.upstreamRqActive++;
    // Outlier detection counts failures in a row: a connection that was made ends the row, as an answer does.
    endpoint.onResponse(200);
    info.upstreamLocalAddress = upstream.localAddress === undefined ? '' : `${upstream.localAddress}:${upstream.localPort}`;
    info.upstreamPeerUriSan = tls?.peer?.uriSans[0] ?? '';
    info.upstreamLocalUriSan = tls?.localUriSan ?? '';
    upstream.on('error', () => upstream.destroy());
    upstream.once('close', () => {
      endpoint.activeRequests--;
      stats.upstreamRqActive--;
      this.#endFromUpstream();
    });
    const protocol = endpoint.cluster.metadataExchangeProtocol;
    if (protocol === undefined || tls?.alpn !== protocol) this.#pump(upstream);
    else this.#exchange(upstream);
  }

  /** Each side tells the other who it is before the first byte of the connection itself. */
  #exchange(upstream: Socket): void {
    exchangeMetadata(upstream, this.#runtime.exchange, {
      onDone: (peer) => {
        if (peer !== undefined && this.#runtime.listener.direction !== 'inbound') this.#info.peer = peer;
        if (!this.#isClosed) this.#pump(upstream);
      },
      onFailed: (details) => {
        this.#info.connectionTerminationDetails = details;
        upstream.destroy();
      },
    });
  }

  #pump(upstream: Socket): void {
    const { config } = this.#runtime;
    const { socket, initialData } = this.#connection;
    this.#observer.onUpstream();
    if (config.log.onConnected) this.#log('TcpUpstreamConnected');
    const forward = new Pump(socket, upstream, {
      onBytes: this.#onReceived,
      onPaused: () => this.#runtime.stats.downstreamFlowControlPausedReadingTotal++,
      onResumed: () => this.#runtime.stats.downstreamFlowControlResumedReadingTotal++,
    });
    const back = new Pump(upstream, socket, { onBytes: this.#onSent, onPaused: ignore, onResumed: ignore });
    this.#pumps = [forward, back];
    if (initialData !== undefined) {
      this.#onReceived(initialData.length);
      upstream.write(initialData);
    }
    forward.start();
    back.start();
    socket.resume();
    upstream.resume();
  }

  readonly #onReceived = (count: number): void => {
    this.#info.bytesReceived += count;
    this.#info.wireBytesReceived += count;
    this.#runtime.stats.downstreamCxRxBytesTotal += count;
    this.#lastActivityMs = this.#runtime.context.clock.monotonic();
  };

  readonly #onSent = (count: number): void => {
    this.#info.bytesSent += count;
    this.#info.wireBytesSent += count;
    this.#runtime.stats.downstreamCxTxBytesTotal += count;
    this.#lastActivityMs = this.#runtime.context.clock.monotonic();
  };

  // The upstream is gone: what it sent last still has to reach the downstream.
  #endFromUpstream(): void {
    const { socket } = this.#connection;
    if (socket.destroyed) return;
    if (socket.writableEnded) socket.destroySoon();
    else socket.end(() => socket.destroySoon());
  }

  /** One timer for all that depends on time; it rings when the first of them may be due. */
  #tick(): void {
    const { config, context } = this.#runtime;
    const now = context.clock.monotonic();
    let waitMs = REPORT_MS;
    if (config.idleTimeoutMs > 0) waitMs = Math.min(waitMs, this.#lastActivityMs + config.idleTimeoutMs - now);
    if (config.maxDurationMs > 0) waitMs = Math.min(waitMs, this.#info.startMonotonicMs + config.maxDurationMs - now);
    if (config.log.intervalMs > 0) waitMs = Math.min(waitMs, this.#lastLogMs + config.log.intervalMs - now);
    this.#timer = context.clock.after(Math.max(1, waitMs), this.#onTime);
  }

  readonly #onTime = (): void => {
    const { config, context, stats } = this.#runtime;
    const now = context.clock.monotonic();
    if (config.idleTimeoutMs > 0 && now - this.#lastActivityMs >= config.idleTimeoutMs) {
      stats.idleTimeout++;
      this.#connection.socket.destroy();
      return;
    }
    if (config.maxDurationMs > 0 && now - this.#info.startMonotonicMs >= config.maxDurationMs) {
      stats.maxDownstreamConnectionDuration++;
      this.#info.flags.push('durationTimeout');
      this.#connection.socket.destroy();
      return;
    }
    this.#observer.onBytes();
    if (config.log.intervalMs > 0 && now - this.#lastLogMs >= config.log.intervalMs) {
      this.#lastLogMs = now;
      this.#log('TcpPeriodic');
    }
    if (now - this.#lastActivityMs >= REPORT_MS) for (const pump of this.#pumps ?? []) pump.relax();
    this.#tick();
  };

  #log(type: 'TcpUpstreamConnected' | 'TcpPeriodic'): void {
    this.#info.accessLogType = type;
    this.#observer.onLog();
    this.#info.accessLogType = undefined;
  }

  /** What the downstream sent before it ended is still delivered; a downstream that broke off takes the upstream along. */
  #closeUpstream(): void {
    const upstream = this.#upstream;
    if (upstream === undefined || upstream.destroyed) return;
    if (!this.#connection.socket.readableEnded || upstream.writableLength === 0) {
      upstream.destroy();
      return;
    }
    const { stats, context } = this.#runtime;
    stats.upstreamFlushTotal++;
    stats.upstreamFlushActive++;
    // Nobody reads what it sends any more, and it may read no more before that is taken.
    this.#pumps?.[1].discard();
    upstream.destroySoon();
    const timer = context.clock.after(LINGER_MS, () => upstream.destroy());
    upstream.once('close', () => {
      stats.upstreamFlushActive--;
      timer.cancel();
    });
  }

  #upstreamFacts(): UpstreamFacts | undefined {
    if (this.#tried.length === 0) return undefined;
    return factsOfConnect({ endpoints: this.#tried, socket: this.#upstream, requestedMs: this.#requestedMs });
  }

  #metadataOf(source: MetadataSource): Readonly<Record<string, JsonObject>> | undefined {
    if (source === 'cluster') return this.#cluster?.metadata;
    if (source === 'endpoint') return this.#endpoint?.metadata;
    return source === 'listener' ? this.#connection.listener.metadata : undefined;
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
    this.#info.endMonotonicMs = this.#runtime.context.clock.monotonic();
    this.#observer.onBytes();
    this.#observer.onEnd();
    this.#onClosed();
  }
}

function ignore(): void {}

/** The host that a dynamic forward proxy goes to for a TLS connection that passes: the one that it asks for; '' for none. */
function forwardedName(connection: DownstreamConnection, defaultPort: number): string {
  const objects = connection.filterState?.objects;
  const name = objects?.get(FILTER_STATE_KEYS.dynamicHost)?.value ?? askedName(connection);
  return name === '' ? '' : joinHostPort(name, Number(objects?.get(FILTER_STATE_KEYS.dynamicPort)?.value ?? defaultPort));
}
