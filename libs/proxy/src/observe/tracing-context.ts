import type { Clock, Random } from '@mizzen/core';
import type { PeerMetadata, SpanSink } from '@mizzen/telemetry';
import type { RuntimeValues } from '../config/runtime-values.ts';
import type { CallRuntime } from '../http/async-client.ts';
import type { SpanExporter } from './span-exporters.ts';

export interface TracingContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly runtime: RuntimeValues;
  readonly calls: CallRuntime;
  readonly local: {
    readonly nodeId: string;
    /** The node's cluster: the service's name where the tracer gives none. */
    readonly nodeCluster: string;
    readonly metadata: PeerMetadata;
    readonly meshId: string;
  };
  /** Where spans for a collector that a cluster of the bootstrap stands for go; undefined where there is none of that name. */
  readonly spanSink: (clusterName: string) => SpanSink | undefined;
  /** Exporters by their configuration: filters that say the same share one. */
  readonly exporters: Map<string, SpanExporter>;
}

/** One exporter for each configuration. */
export function shared(context: TracingContext, key: string, make: () => SpanExporter): SpanExporter {
  const known = context.exporters.get(key);
  if (known !== undefined) return known;
  const made = make();
  context.exporters.set(key, made);
  return made;
}
