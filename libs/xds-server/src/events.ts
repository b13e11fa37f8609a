import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import type { NameSet } from './name-set.ts';

/** One stream of one proxy node. */
export interface ConnectedNode {
  /** Unique among all streams of this server. */
  readonly connectionId: string;
  readonly node: Node;
  /** Address of the other end. */
  readonly address: string;
  readonly connectedAt: number;
  /** The stream came to an address that was given credentials: without an identity it must get nothing. */
  readonly isSecure: boolean;
  /** What the client proved itself to be. */
  readonly identity: string | undefined;
}

export interface PushedResponse {
  readonly typeUrl: string;
  readonly resources: number;
  readonly sizeBytes: number;
  /** Time of generating and assembling, without the writing. */
  readonly buildMs: number;
}

/** What the server tells of itself: for metrics, status and registration. All are called synchronously and must not throw. */
export interface XdsServerEvents {
  onConnect?(connected: ConnectedNode): void;
  /** `isGraceful`: the client ended the stream by itself, which an agent does when its workload leaves. */
  onDisconnect?(connected: ConnectedNode, end: { isGraceful: boolean }): void;
  onPush?(connected: ConnectedNode, pushed: PushedResponse): void;
  onAck?(connected: ConnectedNode, acked: { typeUrl: string; latencyMs: number }): void;
  onNack?(connected: ConnectedNode, nacked: { typeUrl: string; reason: string }): void;
  /** The node holds everything of this and every earlier push. */
  onApplied?(connected: ConnectedNode, applied: { revision: number }): void;
  /** The generator threw; the node keeps what it has. */
  onGenerateError?(connected: ConnectedNode, failed: { typeUrl: string }): void;
  /** The agent of the node told how its workload is. Source: istio pilot/pkg/xds/ads.go handleWorkloadHealthcheck (1.32). */
  onHealth?(connected: ConnectedNode, health: { isHealthy: boolean; reason: string }): void;
  onUnserved?(connected: ConnectedNode, unserved: { typeUrl: string }): void;
}

export type DiscoveryState = 'SYNCED' | 'STALE' | 'NOT SENT' | 'ERROR';

/** How one type stands on one stream. Times are milliseconds since the epoch. */
export interface DiscoveryStatus {
  readonly state: DiscoveryState;
  readonly version?: string;
  readonly ackedVersion?: string;
  readonly sentAt?: number;
  readonly ackedAt?: number;
  /** Why the last response was rejected. */
  readonly reason?: string;
  /** What is subscribed to. */
  readonly names: NameSet | '*';
}

export interface ConnectionStatus extends ConnectedNode {
  readonly protocol: 'delta' | 'sotw';
  /** By type URL: everything that was subscribed to. */
  readonly types: ReadonlyMap<string, DiscoveryStatus>;
  /** Everything up to this revision is in force, or undefined while nothing was acknowledged completely. */
  readonly appliedRevision: number | undefined;
  /** Everything up to this revision was answered, accepted or not, or undefined while nothing was. */
  readonly answeredRevision: number | undefined;
}
