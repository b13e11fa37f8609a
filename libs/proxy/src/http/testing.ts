import { connect, createServer, type Server, type Socket } from 'node:net';
import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { silentLogger, systemClock } from '@mizzen/core';
import type { RouteTable } from '@mizzen/matching';
import type { StreamInfo } from '@mizzen/telemetry';
import { xdsRegistry } from '@mizzen/xds-api';
import { HttpConnectionManagerSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { createClusterCounts } from '../cluster/cluster-counts.ts';
import { RuntimeValues } from '../config/runtime-values.ts';
import type {
  ConnectHandler,
  DownstreamConnection,
  ListenerInfo,
  ProxyContext,
  StreamObservers,
  TlsInfo,
  UpstreamCluster,
  UpstreamConnecting,
  UpstreamEndpoint,
} from '../contract.ts';
import { DEFAULT_HEADER_LIMITS, DEFAULT_HTTP2_OPTIONS } from '../http2/options.ts';
import { createHttp2Stats } from '../http2/stats.ts';
import { StatRegistry } from '../observe/stat-registry.ts';
import { createHttpConnectionManager, type HttpConnectionManagerFilter } from './connection-manager.ts';

/** A cluster of fixed addresses on real sockets, for specs and benchmarks of the request path without the rest of the proxy. */
export class StaticCluster implements UpstreamCluster {
  readonly name: string;
  readonly observabilityName: string;
  service: UpstreamCluster['service'];
  isExternal = false;
  connectTimeoutMs = 10_000;
  maxRequestsPerConnection = 0;
  idleTimeoutMs = 60_000;
  maxConnectionDurationMs = 0;
  upstreamProtocol: UpstreamCluster['upstreamProtocol'] = 'http1';
  http2: UpstreamCluster['http2'] = { ...DEFAULT_HTTP2_OPTIONS, ...DEFAULT_HEADER_LIMITS, stats: createHttp2Stats() };
  internalListener: string | undefined;
  limits = { maxConnections: 1024, maxPendingRequests: 1024, maxRequests: 1024, maxRetries: 1024 };
  readonly #counts = createClusterCounts();
  readonly active = this.#counts.active;
  readonly stats = this.#counts.stats;
  readonly endpoints: StaticEndpoint[];
  #next = 0;

  constructor(name: string, ports: readonly number[]) {
    this.name = name;
    this.observabilityName = name;
    this.endpoints = ports.map((port) => new StaticEndpoint(this, port));
  }

  chooseEndpoint({ isExcluded }: Parameters<UpstreamCluster['chooseEndpoint']>[0]): UpstreamEndpoint | undefined {
    for (let tries = 0; tries < this.endpoints.length; tries++) {
      const endpoint = this.endpoints[this.#next++ % this.endpoints.length] as StaticEndpoint;
      if (isExcluded?.(endpoint) !== true) return endpoint;
    }
    return undefined;
  }
}

class StaticEndpoint implements UpstreamEndpoint {
  readonly cluster: StaticCluster;
  readonly address: { readonly kind: 'ip'; readonly host: string; readonly port: number };
  readonly addressText: string;
  readonly hostname = '';
  readonly peer = undefined;
  activeRequests = 0;
  pool: UpstreamEndpoint['pool'];
  /** What `onReady` hands on as the connection's TLS. */
  tls: TlsInfo | undefined;
  readonly stats = {
    requestsTotal: 0,
    requestsSuccess: 0,
    requestsError: 0,
    requestsTimeout: 0,
    connectionsTotal: 0,
    connectionsActive: 0,
    connectFailures: 0,
  };

  constructor(cluster: StaticCluster, port: number) {
    this.cluster = cluster;
    this.address = { kind: 'ip', host: '127.0.0.1', port };
    this.addressText = `127.0.0.1:${port}`;
  }

  onResponse(): void {}
  onFailure(): void {}

  connect(handler: ConnectHandler): UpstreamConnecting {
    const { active, stats } = this.cluster;
    active.connections++;
    stats.upstreamCxTotal++;
    const socket = connect({ ...this.address, allowHalfOpen: true, noDelay: true });
    let isSettled = false;
    const onError = (thrown: unknown): void => {
      if (isSettled) return;
      isSettled = true;
      stats.upstreamCxConnectFail++;
      handler.onFailed({ reason: (thrown as { code: string }).code, isTls: false, isTimeout: false });
    };
    socket.once('error', onError);
    socket.once('close', () => {
      active.connections--;
    });
    socket.once('connect', () => {
      if (isSettled) return;
      isSettled = true;
      socket.off('error', onError);
      socket.pause();
      handler.onConnected(socket, this.tls);
    });
    return {
      cancel: () => {
        isSettled = true;
        socket.on('error', () => {});
        socket.destroy();
      },
    };
  }
}

export interface TestProxyOptions {
  /** The HttpConnectionManager as proto JSON; a router filter is added where none is given. */
  readonly hcm: { readonly [field: string]: JsonValue };
  readonly clusters: readonly UpstreamCluster[];
  readonly listener?: ListenerInfo;
  readonly tls?: TlsInfo;
  readonly observers?: Partial<StreamObservers>;
  readonly routeTables?: ReadonlyMap<string, RouteTable>;
  readonly random?: () => number;
}

export const ROUTER = {
  name: 'envoy.filters.http.router',
  typedConfig: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
};

/** The request path alone, on a plain socket server. */
export class TestProxy {
  readonly filter: HttpConnectionManagerFilter;
  readonly context: ProxyContext;
  /** What its parts count. */
  readonly stats = new StatRegistry();
  /** What observers were told, oldest first. */
  readonly ended: StreamInfo[] = [];
  readonly handed: { name: string; connection: DownstreamConnection }[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #waiting: { count: number; resolve: () => void }[] = [];

  constructor(options: TestProxyOptions) {
    const clusters = new Map(options.clusters.map((cluster) => [cluster.name, cluster]));
    const listener = options.listener ?? { name: 'test', direction: 'outbound' as const };
    const context: ProxyContext = {
      clock: systemClock,
      random: options.random ?? Math.random,
      logger: silentLogger,
      stats: this.stats,
      runtimeValues: new RuntimeValues(undefined),
      cluster: (name) => clusters.get(name),
      handToInternalListener: (name, connection) => {
        this.handed.push({ name, connection });
        this.filter.onConnection(connection);
        return true;
      },
      nodeCluster: 'test',
      localPeer: {
        nodeId: 'sidecar~127.0.0.1~test.default~default.svc.cluster.local',
        metadataHeader: 'bG9jYWw=',
        metadata: {
          workload: 'test',
          namespace: 'default',
          clusterId: 'local',
          canonicalService: 'test',
          canonicalRevision: 'v1',
          app: 'test',
          version: 'v1',
        },
      },
      isDraining: () => false,
    };
    this.context = context;
    const message = fromJson(
      HttpConnectionManagerSchema,
      { ...('httpFilters' in options.hcm || 'http_filters' in options.hcm ? {} : { httpFilters: [ROUTER] }), ...options.hcm },
      { registry: xdsRegistry },
    );
    const { filter, rejections } = createHttpConnectionManager({
      message,
      context,
      listener,
      observers: {
        startSpan: options.observers?.startSpan,
        onStreamHandedOver: (info) => options.observers?.onStreamHandedOver?.(info),
        onStreamEnd: (info) => {
          this.ended.push(info);
          options.observers?.onStreamEnd?.(info);
          for (const waiting of this.#waiting) if (this.ended.length >= waiting.count) waiting.resolve();
        },
      },
      routeTables: options.routeTables ?? new Map<string, RouteTable>(),
      decodePeerMetadata: (value) => ({
        workload: value,
        namespace: 'peer',
        clusterId: '',
        canonicalService: '',
        canonicalRevision: '',
        app: '',
        version: '',
      }),
    });
    if (filter === undefined) throw new Error(JSON.stringify(rejections));
    this.filter = filter;
    let connections = 0;
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      const address = (host = '', port = 0) => ({ kind: 'ip', host, port }) as const;
      const localAddress = address(socket.localAddress, socket.localPort);
      filter.onConnection({
        id: ++connections,
        socket,
        initialData: undefined,
        localAddress,
        remoteAddress: address(socket.remoteAddress, socket.remotePort),
        originalDestination: localAddress,
        tls: options.tls,
        listener,
      });
    });
  }

  listen(port = 0): Promise<number> {
    return new Promise((resolve) => {
      this.#server.listen(port, '127.0.0.1', () => resolve(this.port));
    });
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** Resolves once observers were told of so many streams. */
  untilEnded(count: number): Promise<void> {
    if (this.ended.length >= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ count, resolve }));
  }

  close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }
}
