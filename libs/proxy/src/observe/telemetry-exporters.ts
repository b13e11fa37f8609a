import type { Clock, Logger } from '@mizzen/core';
import { createOtlpExporter, type MetricRegistry, type OtlpExporter } from '@mizzen/telemetry';
import type { Bootstrap } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import type { ProxyContext } from '../contract.ts';
import { statsSinkCluster } from '../node-description.ts';
import type { AccessLogs } from './access-logs.ts';
import type { SpanExporter } from './span-exporters.ts';

const FLUSH_MS = 5000;

export interface TelemetryExportersOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: MetricRegistry;
  readonly bootstrap: Bootstrap;
  readonly localPeer: ProxyContext['localPeer'];
  readonly accessLogs: AccessLogs;
  /** `host:port` of a cluster; undefined without one. */
  readonly addressOf: (clusterName: string) => string | undefined;
}

/** All that a proxy sends to collectors. */
export class TelemetryExporters {
  readonly #options: TelemetryExportersOptions;
  readonly #byCluster = new Map<string, OtlpExporter>();
  /** By their configuration: the tracers of listeners put them here. */
  readonly spans = new Map<string, SpanExporter>();

  constructor(options: TelemetryExportersOptions) {
    this.#options = options;
  }

  /** Spans and metrics for a collector that a cluster of the bootstrap stands for; undefined where that has no address. */
  toCluster(clusterName: string): OtlpExporter | undefined {
    const known = this.#byCluster.get(clusterName);
    if (known !== undefined) return known;
    const { addressOf, bootstrap, clock, logger, registry, localPeer } = this.#options;
    const address = addressOf(clusterName);
    if (address === undefined) return undefined;
    const { metadata, nodeId } = localPeer;
    const exporter = createOtlpExporter({
      address,
      clock,
      logger,
      registry,
      resource: [
        ['service.name', `${metadata.canonicalService}.${metadata.namespace}`],
        ['service.namespace', metadata.namespace],
        ['service.version', metadata.canonicalRevision],
        ['service.instance.id', nodeId],
      ],
      includes: clusterName === statsSinkCluster(bootstrap) ? isIstioMetric : () => false,
    });
    this.#byCluster.set(clusterName, exporter);
    exporter.start();
    return exporter;
  }

  /** Sends what waits: collectors are clusters too, so that is done while those are there. One that does not answer is not waited for. */
  async close(): Promise<void> {
    const exporters = [...this.#byCluster.values(), ...this.spans.values(), this.#options.accessLogs];
    const flushed = Promise.all(exporters.map((exporter) => exporter.close()));
    const { promise: isLate, resolve } = Promise.withResolvers<void>();
    const timer = this.#options.clock.after(FLUSH_MS, resolve);
    await Promise.race([flushed, isLate]);
    timer.cancel();
  }
}

function isIstioMetric(name: string): boolean {
  return name.startsWith('istio_');
}
