import type { Socket } from 'node:net';
import type { StreamInfo } from '@mizzen/telemetry';
import {
  type TcpProxy,
  TcpProxy_WeightedCluster_ClusterWeightSchema,
  TcpProxy_WeightedClusterSchema,
  TcpProxySchema,
} from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { cumulate, search } from '../cluster/load-balancers.ts';
import { ConfigError } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { durationMs } from '../config/values.ts';
import type { DownstreamConnection, ListenerInfo, NetworkFilter, ProxyContext } from '../contract.ts';
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
  onEnd(): void;
}

export interface TcpProxyOptions {
  readonly context: ProxyContext;
  readonly listener: ListenerInfo;
  readonly observer: TcpObserver;
}

export interface TcpProxyConfig {
  readonly chooseCluster: () => string;
  /** 0 is off; Envoy's default is an hour. */
  readonly idleTimeoutMs: number;
  readonly maxConnectAttempts: number;
  readonly maxDurationMs: number;
}

const SUPPORTED = {
  [TcpProxySchema.typeName]: [
    'stat_prefix',
    'cluster',
    'weighted_clusters',
    'idle_timeout',
    'access_log',
    'max_connect_attempts',
    'max_downstream_connection_duration',
    'hash_policy',
  ],
  [TcpProxy_WeightedClusterSchema.typeName]: ['clusters'],
  [TcpProxy_WeightedCluster_ClusterWeightSchema.typeName]: ['name', 'weight'],
};

const HOUR_MS = 3_600_000;

/** Compiles tcp_proxy: each connection is piped to one of a cluster. Throws ConfigError. */
export function createTcpProxy(message: TcpProxy, options: TcpProxyOptions): NetworkFilter {
  refuseUnsupportedFields(TcpProxySchema, message, { supported: SUPPORTED });
  if (message.hashPolicy.length > 0) throw new ConfigError('hash_policy', 'is not supported by this proxy yet; remove it');
  return new TcpProxyFilter(
    {
      chooseCluster: compileClusterChoice(message, options.context),
      idleTimeoutMs: durationMs(message.idleTimeout, HOUR_MS),
      maxConnectAttempts: Math.max(1, message.maxConnectAttempts ?? 1),
      maxDurationMs: durationMs(message.maxDownstreamConnectionDuration, 0),
    },
    options,
  );
}

function compileClusterChoice(message: TcpProxy, context: ProxyContext): () => string {
  const specifier = message.clusterSpecifier;
  if (specifier.case === 'cluster') return () => specifier.value;
  if (specifier.case !== 'weightedClusters') throw new ConfigError('cluster_specifier', 'needs cluster or weighted_clusters');
  const { clusters } = specifier.value;
  const sums = cumulate(clusters);
  const total = sums[sums.length - 1] ?? 0;
  if (total === 0) throw new ConfigError('weighted_clusters', 'needs a cluster with a weight above 0');
  return () => clusters[search(sums, context.random() * total)]?.name ?? '';
}

class TcpProxyFilter implements NetworkFilter {
  readonly #config: TcpProxyConfig;
  readonly #options: TcpProxyOptions;
  readonly #sessions = new Set<TcpSession>();

  constructor(config: TcpProxyConfig, options: TcpProxyOptions) {
    this.#config = config;
    this.#options = options;
  }

  get activeConnections(): number {
    return this.#sessions.size;
  }

  onConnection(connection: DownstreamConnection): void {
    const session = new TcpSession(connection, { ...this.#options, config: this.#config, onClosed: () => this.#sessions.delete(session) });
    this.#sessions.add(session);
    session.start();
  }

  // A TCP connection has no exchange that ends: it lives until its ends or the process's drain time close it, as in Envoy.
  drain(): void {}
}

/** Pipes one way with back-pressure; the end of one side ends the other's direction only (half-close). */
export function pump(from: Socket, to: Socket, onBytes: (count: number) => void): void {
  from.on('data', (chunk: Buffer) => {
    onBytes(chunk.length);
    if (!to.write(chunk)) from.pause();
  });
  to.on('drain', () => from.resume());
  // The end may have been told while nobody listened yet: a paused socket tells it once its buffer is empty.
  if (from.readableEnded) to.end();
  else from.once('end', () => to.end());
}
