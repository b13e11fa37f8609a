import type { RouteTable } from '@mizzen/matching';
import type { PeerMetadata } from '@mizzen/telemetry';
import type { ListenerInfo, ProxyContext, StreamObservers } from '../contract.ts';
import type { HttpFilterChain } from './filter-chain.ts';
import type { HcmConfig } from './hcm-config.ts';
import type { HcmStats } from './hcm-stats.ts';
import type { TimerWheel } from './timer-wheel.ts';

/** What the streams of one connection manager share. */
export interface HcmRuntime {
  readonly config: HcmConfig;
  readonly context: ProxyContext;
  readonly listener: ListenerInfo;
  readonly observers: StreamObservers;
  readonly filters: HttpFilterChain;
  readonly wheel: TimerWheel;
  readonly stats: HcmStats;
  /** The route table in force, looked up once per request. */
  routeTable(): RouteTable | undefined;
  decodePeerMetadata(headerValue: string): PeerMetadata | undefined;
  newRequestId(): string;
  /** The HTTP date, made once a second. */
  date(): string;
  isDraining(): boolean;
}
