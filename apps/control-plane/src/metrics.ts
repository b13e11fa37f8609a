import type { Clock } from '@mizzen/core';
import { createMetricRegistry, type MetricRegistry } from '@mizzen/telemetry';
import { DISCOVERY_NAME, type TypeUrl } from '@mizzen/xds-api';
import type { ConnectionStatus, XdsServerEvents } from '@mizzen/xds-server';
import type { PipelineEvents, Published } from './pipeline.ts';

// Source of names, labels and buckets: istio pilot/pkg/xds/monitoring.go, pilot/pkg/model/push_context.go (1.32).
const SECONDS = [0.01, 0.1, 0.5, 1, 3, 5, 10, 20, 30];
const CONVERGENCE_SECONDS = [0.1, 0.5, 1, 3, 5, 10, 20, 30];
const CONFIG_BYTES = [10_000, 1_000_000, 4_000_000, 10_000_000, 40_000_000];

/** Publications whose way to the proxies is still being timed. */
const MAX_TIMED_REVISIONS = 100;

export interface ControlPlaneMetrics {
  readonly registry: MetricRegistry;
  readonly xds: XdsServerEvents;
  readonly pipeline: PipelineEvents;
  readonly registration: (event: 'registered' | 'unregistered' | 'deleted' | 'refused') => void;
}

/** `cds`, `eds`, …: Istio's label values. */
export function discoveryLabel(typeUrl: string): string {
  return (DISCOVERY_NAME[typeUrl as TypeUrl] ?? typeUrl.slice(typeUrl.lastIndexOf('.') + 1)).toLowerCase();
}

export function createControlPlaneMetrics(inputs: {
  clock: Clock;
  version: string;
  connections: () => readonly ConnectionStatus[];
  published: () => Published;
}): ControlPlaneMetrics {
  const { clock } = inputs;
  const registry = createMetricRegistry();
  const pushes = registry.counter({ name: 'pilot_xds_pushes', help: 'Responses sent, by type', labels: ['type'] });
  const rejects = registry.counter({ name: 'pilot_total_xds_rejects', help: 'Responses that proxies rejected, by type', labels: ['type'] });
  const internalErrors = registry.counter({ name: 'pilot_total_xds_internal_errors', help: 'Configurations that could not be generated' });
  const triggers = registry.counter({ name: 'pilot_push_triggers', help: 'Pushes, by what caused them', labels: ['type'] });
  const updates = registry.counter({ name: 'pilot_inbound_updates', help: 'Changes that came from the sources', labels: ['type'] });
  const pushTime = registry.histogram({
    name: 'pilot_xds_push_time',
    help: 'Seconds to generate and assemble a response',
    labels: ['type'],
    buckets: SECONDS,
  });
  const sizes = registry.histogram({
    name: 'pilot_xds_config_size_bytes',
    help: 'Size of responses',
    labels: ['type'],
    buckets: CONFIG_BYTES,
  });
  const debounce = registry.histogram({
    name: 'pilot_debounce_time',
    help: 'Seconds from the first change of a burst to its push',
    buckets: SECONDS,
  });
  const snapshots = registry.histogram({ name: 'pilot_pushcontext_init_seconds', help: 'Seconds to build a snapshot', buckets: SECONDS });
  const convergence = registry.histogram({
    name: 'pilot_proxy_convergence_time',
    help: 'Seconds from a change until a proxy has all of it',
    buckets: CONVERGENCE_SECONDS,
  });
  const registrations = {
    registered: registry.counter({ name: 'auto_registration_success_total', help: 'Agents that registered' }),
    unregistered: registry.counter({ name: 'auto_registration_unregister_total', help: 'Agents that went' }),
    deleted: registry.counter({ name: 'auto_registration_deletes_total', help: 'Entries of agents that were taken back' }),
    refused: registry.counter({ name: 'auto_registration_errors_total', help: 'Agents that could not be registered' }),
  };
  registerState(registry, inputs);

  const changedAt = new Map<number, number>();
  return {
    registry,
    registration: (event) => void registrations[event].series().value++,
    xds: {
      onPush(_, { typeUrl, sizeBytes, buildMs }) {
        const type = discoveryLabel(typeUrl);
        pushes.series(type).value++;
        pushTime.series(type).observe(buildMs / 1000);
        sizes.series(type).observe(sizeBytes);
      },
      onNack: (_, { typeUrl }) => void rejects.series(discoveryLabel(typeUrl)).value++,
      onGenerateError: () => void internalErrors.series().value++,
      onApplied({ connectedAt }, { revision }) {
        const since = changedAt.get(revision);
        // A proxy that came after the change did not wait for it.
        if (since !== undefined && since >= connectedAt) convergence.series().observe((clock.now() - since) / 1000);
      },
    },
    pipeline: {
      onChange: (reason) => void updates.series(reason).value++,
      onPublish({ revision }, { reasons, waitedMs, buildMs }) {
        for (const reason of reasons) triggers.series(reason).value++;
        debounce.series().observe(waitedMs / 1000);
        snapshots.series().observe(buildMs / 1000);
        changedAt.set(revision, clock.now() - waitedMs - buildMs);
        changedAt.delete(revision - MAX_TIMED_REVISIONS);
      },
    },
  };
}

/** What is computed when somebody looks. */
function registerState(
  registry: MetricRegistry,
  { clock, version, connections, published }: Parameters<typeof createControlPlaneMetrics>[0],
): void {
  const startedAt = clock.monotonic();
  const clients = registry.gauge({ name: 'pilot_xds', help: 'Connected xDS clients, by version', labels: ['version'] });
  const services = registry.gauge({ name: 'pilot_services', help: 'Services known' });
  const virtualServices = registry.gauge({ name: 'pilot_virt_services', help: 'VirtualServices known' });
  const uptime = registry.gauge({ name: 'istiod_uptime_seconds', help: 'Seconds since the start' });
  const rejected = ['cds', 'eds', 'lds', 'rds'].map(
    (type) =>
      [
        type,
        registry.gauge({ name: `pilot_xds_${type}_reject`, help: `Proxies whose last ${type} response stands rejected`, labels: ['node'] }),
      ] as const,
  );
  registry.gauge({ name: 'pilot_info', help: 'Version of this control plane', labels: ['version'] }).series(version).value = 1;
  registry
    .gauge({ name: 'istio_build', help: 'Version of this component', labels: ['component', 'tag'] })
    .series('pilot', version).value = 1;
  registry.onCollect(() => {
    const { snapshot } = published();
    uptime.series().value = (clock.monotonic() - startedAt) / 1000;
    services.series().value = snapshot.services.size;
    virtualServices.series().value = snapshot.virtualServices.length;
    for (const { series } of clients.entries()) series.value = 0;
    for (const [, gauge] of rejected) for (const { values } of [...gauge.entries()]) gauge.remove(...values);
    for (const connection of connections()) {
      const istioVersion = connection.node.metadata?.['ISTIO_VERSION'];
      clients.series(typeof istioVersion === 'string' ? istioVersion : 'unknown').value++;
      for (const [typeUrl, { state }] of connection.types) {
        if (state !== 'ERROR') continue;
        const gauge = rejected.find(([type]) => type === discoveryLabel(typeUrl))?.[1];
        if (gauge) gauge.series(connection.node.id).value = 1;
      }
    }
  });
}
