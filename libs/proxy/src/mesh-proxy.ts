import type { Clock, Logger, Random, Running, Watchable } from '@mizzen/core';
import type { AccessLogSink, MetricRegistry } from '@mizzen/telemetry';
import type { XdsConsumer } from '@mizzen/xds-api';
import type { Bootstrap } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import type { Secret } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import type { Resolve } from './cluster/dns.ts';
import type { SocketAddress } from './contract.ts';
import type { ProcessCounts } from './hot-restart/carried-counts.ts';
import type { ListeningDescriptor } from './hot-restart/inherited-listeners.ts';
import type { StatRegistry } from './observe/stat-registry.ts';
import type { EndpointNotice, OutlierNotice } from './workers/process-share.ts';

export interface ProxyOptions {
  readonly bootstrap: Bootstrap;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Where `/dev/stdout` access logs go; the process's own standard output without it. */
  readonly accessLogStdout?: AccessLogSink;
  /** How long `close` waits for connections to end. Default 5 s. */
  readonly drainTimeMs?: number;
  /**
   * Gives memory back: what only the start needed once it is ready, what is free from then on. For a process that is a proxy and nothing else.
   */
  readonly releasesMemory?: boolean;
  readonly resolve?: Resolve;
  readonly registry?: MetricRegistry;
  /** What POST /quitquitquit does. */
  readonly onQuit?: () => void;
  /** As /server_info prints it. */
  readonly version?: string;
  /** More event loops that listen on the same ports. */
  readonly workers?: {
    /** How many beside the first. */
    readonly count: number;
    /** A module that calls `runProxyWorker` where it is not the main thread. */
    readonly entry: URL | string;
    readonly onCrash: (error: Error) => void;
  };
  /** This is one of those event loops: the memory that it shares with the first, and how it tells that one what it sees. */
  readonly furtherLoop?: { readonly memory: SharedArrayBuffer; readonly reportOutlier: (notice: OutlierNotice) => void };
  /** What the process before this one listened on: taken instead of new sockets. */
  readonly inherited?: readonly ListeningDescriptor[];
  /** What --restart-epoch said, and what the process before this one told of those before it. */
  readonly restart?: { readonly epoch: number; readonly generation: number; readonly firstStartedMs?: number | undefined };
  /** Another process may take the place of this one by a hot restart. */
  readonly isReplaceable?: boolean;
}

/** The data plane of one workload: takes connections, takes configuration. */
export interface MeshProxy extends Running, XdsConsumer {
  /** Binds the static listeners and the admin address. Throws MIZZEN_BOOTSTRAP. */
  start(): Promise<void>;
  /** True once every listener of the first configuration is warm. */
  readonly ready: Watchable<boolean>;
  /** How many listeners and clusters have arrived and are not in force yet. */
  readonly warmingCount: Watchable<number>;
  readonly registry: MetricRegistry;
  /** Envoy's statistics. */
  readonly stats: StatRegistry;
  /** SDS by the agent. Throws ConfigError for a secret that cannot be used; the one before stays. */
  setSecret(name: string, secret: Secret): void;
  /** Asks connections to end with their exchange; new ones are still taken, and asked the same. Resolves once none is left. */
  drain(options?: { readonly inboundOnly?: boolean }): Promise<void>;
  /** Listeners take no new connections any more; those that are there live on. */
  stopAccepting(options?: { readonly inboundOnly?: boolean }): void;
  /** Ends the connections that are left. */
  destroyConnections(): void;
  /** Where listeners really listen, by name. */
  listenerAddresses(): ReadonlyMap<string, SocketAddress>;
  /** The sockets that it listens on, those of all event loops. */
  listeningDescriptors(): Promise<readonly ListeningDescriptor[]>;
  /** Those of this event loop. */
  ownListeningDescriptors(): readonly ListeningDescriptor[];
  /** Opens the files of access logs anew: somebody has moved them away. */
  reopenAccessLogs(): void;
  /** In a further event loop: what the first one has decided about an endpoint. */
  followEndpoint(notice: EndpointNotice): void;
  /** By /healthcheck/fail and /ok: whether health checks of this proxy pass. */
  setHealthy(isHealthy: boolean): void;
  /** Closes the administrator's port; the rest goes on. */
  releaseAdmin(): Promise<void>;
  /** In a further event loop: what the administrator changed in the first. */
  administer(path: string, query: string): void;
  /** Opens it again where it was. */
  reclaimAdmin(): Promise<void>;
  /** All that this process has counted, in all event loops. */
  readCounts(): Promise<ProcessCounts>;
  /** What the process before this one has counted since it handed over; undefined: it has ended. */
  addParentCounts(counts: ProcessCounts | undefined): void;
  adminAddress(): SocketAddress | undefined;
  /** `host:port` of the first endpoint of a static or DNS cluster, for the process's own gRPC clients; undefined without one. */
  clusterAddress(clusterName: string): string | undefined;
  activeConnections(): number;
}
