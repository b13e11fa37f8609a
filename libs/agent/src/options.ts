import type { Clock, Logger, Random, Running, Watchable } from '@mizzen/core';
import type { KeyAlgorithm } from '@mizzen/identity';
import type { XdsConsumer } from '@mizzen/xds-api';
import type { Bootstrap } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import type { Secret } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import type { AppProbes } from './app-probe-config.ts';
import type { ReadinessProbe } from './health/readiness-probe.ts';

/** One port of the service that the workload serves, and where its program listens. */
export interface InboundPort {
  /** The service's port, as the WorkloadGroup and the Service know it. */
  readonly port: number;
  /** Where the program listens, for this sidecar only: `unix:///path` or `127.0.0.1:5000`. */
  readonly endpoint: string;
}

/** Who the proxy stands for. */
export interface WorkloadDescription {
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Istio's workload: the Deployment or WorkloadGroup, `reviews-v1`. */
  readonly name: string;
  /** This one of several: `reviews-v1-3`. Unique in the namespace. */
  readonly instance: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The WorkloadGroup that the workload joins by itself; undefined where something else registers it. */
  readonly workloadGroup: string | undefined;
}

/** A port that a container of the pod names. Source: Kubernetes ContainerPort. */
export interface PodPort {
  readonly name?: string;
  readonly containerPort: number;
  readonly protocol: string;
}

export interface DnsOptions {
  /** Of the DNS proxy on the loopback addresses, UDP and TCP; 0 chooses a free one. */
  readonly port: number;
  readonly resolvConfFile: string;
}

/** Where the program serves metrics of its own. */
export interface PrometheusTarget {
  readonly port: number;
  readonly path: string;
}

/** The network namespace that a workload has for itself: a pod, a compose service, a machine. */
export interface PodOptions {
  /** Its addresses, the one that others use first. */
  readonly addresses: readonly [string, ...string[]];
  /** `REDIRECT`: iptables leads all traffic to the proxy. */
  readonly interceptionMode: 'NONE' | 'REDIRECT';
  readonly clusterId: string | undefined;
  readonly nodeName: string | undefined;
  readonly owner: string | undefined;
  /** Where the program listens. A workload that registers itself waits for those that are TCP. */
  readonly ports: readonly PodPort[];
  readonly readinessPort: number;
  /** Of the proxy's own metrics, without those of the agent and the program. */
  readonly metricsPort: number;
  /** undefined: DNS is left alone. */
  readonly dns: DnsOptions | undefined;
  readonly appProbes: AppProbes;
  readonly prometheus: PrometheusTarget | undefined;
  /**
   * Drain so long and then until no connection is left. undefined: drain for `terminationDrainDurationMs`. Unit: ms.
   * Source: istio EXIT_ON_ZERO_ACTIVE_CONNECTIONS, MINIMUM_DRAIN_DURATION.
   */
  readonly minimumDrainMs?: number;
  /** The program has ended when the agent is told to, as that of a native sidecar: then the proxy goes with the last connection. */
  readonly outlivesProgram: boolean;
}

/** How the workload proves itself. Without it everything is plaintext. */
export interface IdentityOptions {
  readonly caAddress: string;
  readonly caServerName?: string | undefined;
  readonly caRootFile: string;
  readonly joinToken: () => Promise<string | undefined>;
  readonly ttlMs?: number;
  readonly rotationRatio?: number;
  readonly keyAlgorithm?: KeyAlgorithm;
  readonly stateFolder?: string;
}

/** What the agent needs of a proxy: the data plane of @mizzen/proxy. */
export interface ManagedProxy extends Running, XdsConsumer {
  start(): Promise<void>;
  /** Whether the first configuration is in force. */
  readonly ready: Watchable<boolean>;
  /** Gives or replaces a secret. Throws for one that cannot be used; the one before stays. */
  setSecret(name: string, secret: Secret): void;
  /** Tells connections to end when their exchange does. Resolves once none is left. */
  drain(options: { readonly inboundOnly: boolean }): Promise<void>;
}

export type ProxyFactory = (options: {
  bootstrap: Bootstrap;
  clock: Clock;
  random: Random;
  logger: Logger;
  drainTimeMs: number;
  onQuit: () => void;
}) => ManagedProxy;

export interface AgentOptions {
  readonly proxyType: 'sidecar' | 'router';
  readonly workload: WorkloadDescription;
  readonly trustDomain: string;
  /** `host:port` of the control plane: its mTLS port with `identity`, its plaintext port without. */
  readonly xdsAddress: string;
  readonly identity: IdentityOptions | undefined;
  /**
   * `host:port` that takes OTLP over gRPC; undefined sends nothing, and then the mesh must not trace to the collector of the bootstrap:
   * a listener that names a cluster that is not there is refused.
   */
  readonly telemetryAddress: string | undefined;
  /** Address of every port that the workload itself opens on a host that it shares. Default 127.0.0.1. */
  readonly host?: string;
  /** undefined: the workload shares the network of its host. */
  readonly pod?: PodOptions | undefined;
  readonly inbound: readonly InboundPort[];
  /** How the program of a workload that registers itself is; undefined: it is well while it runs. */
  readonly readinessProbe?: ReadinessProbe | undefined;
  /** 0 chooses a free one; undefined has no HTTP proxy port. */
  readonly httpProxyPort: number | undefined;
  /** Gateways: which port is bound in place of a Gateway server's. */
  readonly portMap: ReadonlyMap<number, number>;
  /** 0 chooses a free one. */
  readonly adminPort: number;
  readonly statusPort: number;
  /** How long the program may take until it listens. Nothing is registered before. Unit: ms. */
  readonly appReadyTimeoutMs: number;
  /** Between leaving the mesh and draining, so that callers have learnt of it. Unit: ms. */
  readonly drainDelayMs: number;
  /** Longest time for requests under way to end. Unit: ms. Istio's terminationDrainDuration, default there 5 s. */
  readonly terminationDrainDurationMs: number;
  /** Called on POST /quitquitquit: the process is to end. */
  readonly onQuit: () => void;
  readonly createProxy: ProxyFactory;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Every port that a running agent has open, as its ready line prints them. */
export interface AgentPorts {
  readonly inbound?: Readonly<Record<string, number>>;
  readonly httpProxy?: number;
  readonly portMap?: Readonly<Record<string, number>>;
  readonly admin: number;
  readonly status: number;
  readonly readiness?: number;
  readonly metrics?: number;
  readonly dns?: number;
}

export const DEFAULT_HOST = '127.0.0.1';
