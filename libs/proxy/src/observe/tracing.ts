import { hostname } from 'node:os';
import { createTracer, type Tracer, type TracerOptions } from '@mizzen/telemetry';
import { unpackAny } from '@mizzen/xds-api';
import { OpenTelemetryConfigSchema } from '@mizzen/xds-api/envoy/config/trace/v3/opentelemetry';
import { type ZipkinConfig, ZipkinConfig_CollectorEndpointVersion, ZipkinConfigSchema } from '@mizzen/xds-api/envoy/config/trace/v3/zipkin';
import type { HttpConnectionManager_Tracing as Tracing } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { ConfigError, within } from '../config/config-error.ts';
import type { ListenerInfo } from '../contract.ts';
import { compileCustomTags } from './custom-tags.ts';
import { openTelemetrySink } from './open-telemetry-tracing.ts';
import { zipkinExporter } from './span-exporters.ts';
import { shared, type TracingContext } from './tracing-context.ts';

/** A tracer as the filter's message says; undefined without a provider. Throws ConfigError. */
export function compileTracer(message: Tracing, context: TracingContext, listener: ListenerInfo): Tracer | undefined {
  const { provider } = message;
  if (provider === undefined) return undefined;
  const { runtime } = context;
  const ratio = (key: string, percent: number | undefined): number => runtime.number(`tracing.${key}`, (percent ?? 100) * 100) / 10_000;
  return createTracer({
    clock: context.clock,
    random: context.random,
    nodeId: context.local.nodeId,
    meshId: context.local.meshId,
    local: context.local.metadata,
    kind: listener.direction === 'inbound' ? 'server' : 'client',
    // Runtime counts in hundredths of a percent. Source: envoy docs, HCM runtime, tracing.* (1.40).
    samplingRatio: ratio('random_sampling', message.randomSampling?.value),
    clientSamplingRatio: ratio('client_enabled', message.clientSampling?.value),
    overallSamplingRatio: ratio('global_enabled', message.overallSampling?.value),
    maxPathTagLength: message.maxPathTagLength ?? 256,
    isVerbose: message.verbose,
    spawnsUpstreamSpans: message.spawnUpstreamSpan ?? false,
    customTags: compileCustomTags(message.customTags),
    ...within('provider.typed_config', () => compileProvider(provider, context)),
  });
}

type ProviderOptions = Pick<TracerOptions, 'sink'> & Partial<TracerOptions>;

function compileProvider({ name, configType }: NonNullable<Tracing['provider']>, context: TracingContext): ProviderOptions {
  const any = configType.value;
  const otel = unpackAny(any, OpenTelemetryConfigSchema);
  if (otel !== undefined) return openTelemetrySink(otel, context);
  const zipkin = unpackAny(any, ZipkinConfigSchema);
  if (zipkin !== undefined) return zipkinOptions(zipkin, context);
  throw new ConfigError(
    '',
    `${any?.typeUrl ?? name} is not a tracer that this proxy has; use envoy.config.trace.v3.OpenTelemetryConfig or ZipkinConfig`,
  );
}

// Source: envoy docs, Zipkin tracer runtime (1.40).
const MIN_FLUSH_SPANS = 5;
const FLUSH_INTERVAL_MS = 5000;

function zipkinOptions(config: ZipkinConfig, context: TracingContext): ProviderOptions {
  if (config.collectorCluster === '') throw new ConfigError('collector_cluster', 'is required');
  if (config.collectorEndpoint === '') throw new ConfigError('collector_endpoint', 'is required');
  if (config.collectorEndpointVersion === ZipkinConfig_CollectorEndpointVersion.HTTP_PROTO)
    throw new ConfigError('collector_endpoint_version', 'HTTP_PROTO is not supported by this proxy; use HTTP_JSON');
  if (config.splitSpansForRequest) throw new ConfigError('split_spans_for_request', 'is not supported by this proxy; remove it');
  const { runtime, calls, local } = context;
  const sink = shared(
    context,
    JSON.stringify(['zipkin', config.collectorCluster, config.collectorEndpoint, config.collectorHostname]),
    () =>
      zipkinExporter({
        calls,
        cluster: config.collectorCluster,
        path: config.collectorEndpoint,
        hostname: config.collectorHostname,
        serviceName: local.nodeCluster || local.metadata.canonicalService || hostname(),
        localAddress: addressOfNode(local.nodeId),
        minFlushSpans: runtime.number('tracing.zipkin.min_flush_spans', MIN_FLUSH_SPANS),
        flushMs: runtime.number('tracing.zipkin.flush_interval_ms', FLUSH_INTERVAL_MS),
      }),
  );
  return {
    sink,
    propagation: 'b3',
    usesShortTraceIds: !config.traceId128bit,
    sharesSpans: config.sharedSpanContext ?? true,
    nameWithoutOperation: 'authority',
  };
}

/** Istio's node ids hold the workload's address: `sidecar~10.0.0.1~name~domain`. */
function addressOfNode(nodeId: string): string {
  const [, address = ''] = nodeId.split('~');
  return /^\d+\.\d+\.\d+\.\d+$/.test(address) ? address : '';
}
