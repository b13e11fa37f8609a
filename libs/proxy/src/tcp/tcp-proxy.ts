import type { StreamInfo } from '@mizzen/telemetry';
import type { TcpProxy } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import type { DownstreamConnection, ListenerInfo, NetworkFilter, ProxyContext, Refusal } from '../contract.ts';
import { Roster } from '../http/roster.ts';
import { wheelOf } from '../http/timer-wheel.ts';
import type { PoolRuntime } from '../http/upstream-pool.ts';
import { type Counts, defineStats } from '../observe/stat-registry.ts';
import { type ExchangeSide, exchangeSideOf } from './metadata-exchange.ts';
import { compileTcpProxy, type TcpProxyConfig } from './tcp-config.ts';
import { TcpSession } from './tcp-session.ts';

/** What watches the connections of one TCP proxy. */
export interface TcpObserver {
  /** The connection is there; returns what is told of it from now on. */
  onConnection(info: StreamInfo): TcpConnectionObserver;
}

export interface TcpConnectionObserver {
  /** Called once the upstream is known (or it is known that there will be none). */
  onUpstream(): void;
  /** Called every few seconds and at the end with what `info` counts so far. */
  onBytes(): void;
  /** The access log is to have an entry now, although the connection goes on. */
  onLog(): void;
  onEnd(): void;
}

export interface TcpProxyOptions {
  readonly context: ProxyContext;
  readonly listener: ListenerInfo;
  readonly observer: TcpObserver;
}

/** Counters of `tcp.<stat_prefix>`. Source: envoy docs, "TCP proxy" statistics (1.40). */
const TCP_STATS = defineStats({
  counters: {
    downstreamCxTotal: 'downstream_cx_total',
    downstreamCxNoRoute: 'downstream_cx_no_route',
    downstreamCxTxBytesTotal: 'downstream_cx_tx_bytes_total',
    downstreamCxRxBytesTotal: 'downstream_cx_rx_bytes_total',
    downstreamFlowControlPausedReadingTotal: 'downstream_flow_control_paused_reading_total',
    downstreamFlowControlResumedReadingTotal: 'downstream_flow_control_resumed_reading_total',
    idleTimeout: 'idle_timeout',
    maxDownstreamConnectionDuration: 'max_downstream_connection_duration',
    upstreamFlushTotal: 'upstream_flush_total',
  },
  gauges: { upstreamFlushActive: 'upstream_flush_active' },
});
export type TcpStats = Counts<typeof TCP_STATS>;

/** What the connections of one TCP proxy share. */
export interface TcpRuntime extends TcpProxyOptions {
  readonly config: TcpProxyConfig;
  readonly stats: TcpStats;
  readonly pools: PoolRuntime;
  readonly exchange: ExchangeSide;
}

/** Compiles tcp_proxy: each connection is piped to one of a cluster. Throws ConfigError. */
export function createTcpProxy(message: TcpProxy, options: TcpProxyOptions): NetworkFilter {
  const { context } = options;
  const config = compileTcpProxy(message, context.random);
  return new TcpProxyFilter({
    ...options,
    config,
    stats: context.stats.counts(TCP_STATS, { prefix: `tcp.${config.statPrefix}`, tags: [['envoy.tcp_prefix', config.statPrefix]] }),
    pools: { context, wheel: wheelOf(context.clock) },
    exchange: exchangeSideOf(context),
  });
}

class TcpProxyFilter implements NetworkFilter {
  readonly #runtime: TcpRuntime;
  readonly #sessions = new Roster<TcpSession>();

  constructor(runtime: TcpRuntime) {
    this.#runtime = runtime;
  }

  get activeConnections(): number {
    return this.#sessions.size;
  }

  onConnection(connection: DownstreamConnection): void {
    this.#open(connection).start();
  }

  onRefused(connection: DownstreamConnection, why: Refusal): void {
    this.#open(connection).refuse(why);
  }

  // A TCP connection has no exchange that ends: it lives until its ends or the process's drain time close it, as in Envoy.
  drain(): void {}

  #open(connection: DownstreamConnection): TcpSession {
    const session = new TcpSession(connection, this.#runtime, () => this.#sessions.leave(seat));
    const seat = this.#sessions.join(session);
    this.#runtime.stats.downstreamCxTotal++;
    return session;
  }
}
