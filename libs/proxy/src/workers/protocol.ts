import type { MetricKind } from '@mizzen/telemetry';
import type { XdsUpdate } from '@mizzen/xds-api';
import type { SocketAddress } from '../contract.ts';
import type { ListeningDescriptor } from '../hot-restart/inherited-listeners.ts';
import type { HistogramState } from '../observe/stat-histogram.ts';
import type { StatTag } from '../observe/stat-registry.ts';
import type { StatKind } from '../observe/stats-view.ts';
import type { EndpointNotice, OutlierNotice } from './process-share.ts';

/** What a worker is started with; a structured clone. */
export interface WorkerStart {
  /** `envoy.config.bootstrap.v3.Bootstrap`, encoded, without what only the first event loop does. */
  readonly bootstrap: Uint8Array;
  /** Where the static listeners of the first event loop listen, by name: a port that the system chose is the same for all. */
  readonly addresses: ReadonlyMap<string, SocketAddress>;
  readonly drainTimeMs: number | undefined;
  /** What the process before this one listened on, for this event loop. */
  readonly inherited: readonly ListeningDescriptor[];
  readonly logLevel: string;
  /** What limits of the process are counted in. */
  readonly memory: SharedArrayBuffer;
}

export type ToWorker =
  | { readonly kind: 'apply'; readonly update: XdsUpdate }
  | { readonly kind: 'secret'; readonly name: string; readonly secret: Uint8Array }
  | { readonly kind: 'drain'; readonly inboundOnly: boolean }
  | { readonly kind: 'stop-accepting'; readonly inboundOnly: boolean }
  | { readonly kind: 'destroy-connections' }
  | { readonly kind: 'administer'; readonly path: string; readonly query: string }
  | { readonly kind: 'reopen-access-logs' }
  | { readonly kind: 'set-healthy'; readonly isHealthy: boolean }
  /** What the first event loop has decided stands in the shared memory. */
  | { readonly kind: 'endpoint'; readonly notice: EndpointNotice }
  | { readonly kind: 'report'; readonly id: number }
  | { readonly kind: 'close' };

export type FromWorker =
  | { readonly kind: 'started' }
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'ready' }
  | { readonly kind: 'outlier'; readonly notice: OutlierNotice }
  /** What the first event loop took and this one did not. */
  | { readonly kind: 'rejected'; readonly name: string; readonly reason: string }
  | { readonly kind: 'report'; readonly id: number; readonly report: WorkerReport };

/** What an event loop counted since it started. */
export interface WorkerReport {
  readonly listeners: readonly ListeningDescriptor[];
  readonly activeConnections: number;
  readonly stats: readonly StatReport[];
  readonly metrics: readonly MetricReport[];
}

/** One of Envoy's statistics. */
export interface StatReport {
  readonly name: string;
  readonly kind: StatKind;
  readonly value: number;
  readonly histogram: HistogramState | undefined;
  readonly tags: readonly StatTag[];
}

/** One of Istio's metrics with the values of its series. */
export interface MetricReport {
  readonly name: string;
  readonly help: string;
  readonly kind: MetricKind;
  readonly labels: readonly string[];
  readonly buckets: readonly number[];
  readonly series: readonly SeriesReport[];
}

export interface SeriesReport {
  readonly values: readonly string[];
  /** Of counters and gauges; a histogram's sum. */
  readonly value: number;
  /** Of a histogram's buckets. */
  readonly counts: readonly number[];
}
