import type { SpanSink, TracerOptions } from '@mizzen/telemetry';
import { unpackAny } from '@mizzen/xds-api';
import type { HttpService } from '@mizzen/xds-api/envoy/config/core/v3/http_service';
import type { OpenTelemetryConfig } from '@mizzen/xds-api/envoy/config/trace/v3/opentelemetry';
import { EnvironmentResourceDetectorConfigSchema } from '@mizzen/xds-api/envoy/extensions/tracers/opentelemetry/resource_detectors/v3/environment_resource_detector';
import { StaticConfigResourceDetectorConfigSchema } from '@mizzen/xds-api/envoy/extensions/tracers/opentelemetry/resource_detectors/v3/static_config_resource_detector';
import { AlwaysOnSamplerConfigSchema } from '@mizzen/xds-api/envoy/extensions/tracers/opentelemetry/samplers/v3/always_on_sampler';
import { ConfigError, within } from '../config/config-error.ts';
import { durationMs } from '../config/values.ts';
import { collectorCluster } from './grpc-access-log.ts';
import { otlpGrpcExporter, otlpHttpExporter } from './span-exporters.ts';
import { shared, type TracingContext } from './tracing-context.ts';

type Resource = readonly (readonly [string, string])[];

// Source: envoy docs, OpenTelemetry tracer runtime (1.40).
const MIN_FLUSH_SPANS = 5;
const FLUSH_INTERVAL_MS = 5000;
const DEFAULT_TIMEOUT_MS = 5000;

/** Where the spans of an OpenTelemetry tracer go, and how it samples. Throws ConfigError. */
export function openTelemetrySink(
  config: OpenTelemetryConfig,
  context: TracingContext,
): Pick<TracerOptions, 'sink'> & Partial<TracerOptions> {
  const resource = within('resource_detectors', () => resourceOf(config, context));
  const sink = sinkOf(config, resource, context);
  const { sampler } = config;
  if (sampler === undefined) return { sink };
  const isAlwaysOn = unpackAny(sampler.typedConfig, AlwaysOnSamplerConfigSchema) !== undefined;
  if (!isAlwaysOn) throw new ConfigError('sampler', `${sampler.name} is not supported by this proxy; use always_on or random_sampling`);
  return { sink, samplingRatio: 1, overallSamplingRatio: 1 };
}

function sinkOf(config: OpenTelemetryConfig, resource: Resource, context: TracingContext): SpanSink {
  const { grpcService, httpService } = config;
  if (httpService !== undefined && grpcService !== undefined) throw new ConfigError('http_service', 'cannot stand beside grpc_service');
  if (httpService !== undefined) return within('http_service', () => httpSink(httpService, resource, context));
  const cluster = collectorCluster(grpcService);
  // The collector of the bootstrap gets metrics over the same connection.
  const own = config.serviceName === '' && config.resourceDetectors.length === 0 ? context.spanSink(cluster) : undefined;
  if (own !== undefined) return own;
  return shared(context, JSON.stringify(['otlp-grpc', cluster, resource]), () =>
    otlpGrpcExporter({ ...batching(context), cluster, resource }),
  );
}

function httpSink({ httpUri, requestHeadersToAdd }: HttpService, resource: Resource, context: TracingContext): SpanSink {
  const cluster = httpUri?.httpUpstreamType.case === 'cluster' ? httpUri.httpUpstreamType.value : '';
  const url = URL.parse(httpUri?.uri ?? '');
  if (cluster === '') throw new ConfigError('http_uri.cluster', 'is required');
  if (url === null) throw new ConfigError('http_uri.uri', 'is not a URI');
  const headers = requestHeadersToAdd.map(({ header }) => [header?.key.toLowerCase() ?? '', header?.value ?? ''] as const);
  const target = {
    path: `${url.pathname}${url.search}`,
    authority: url.host,
    headers,
    timeoutMs: durationMs(httpUri?.timeout, DEFAULT_TIMEOUT_MS),
  };
  return shared(context, JSON.stringify(['otlp-http', cluster, target, resource]), () =>
    otlpHttpExporter({ ...batching(context), cluster, resource, target }),
  );
}

function batching({ calls, runtime }: TracingContext) {
  return {
    calls,
    minFlushSpans: runtime.number('tracing.opentelemetry.min_flush_spans', MIN_FLUSH_SPANS),
    flushMs: runtime.number('tracing.opentelemetry.flush_interval_ms', FLUSH_INTERVAL_MS),
  };
}

/** What describes the sender; a detector that comes later overrides. Source: envoy ResourceProviderImpl (1.40). */
function resourceOf(config: OpenTelemetryConfig, { local }: TracingContext): Resource {
  const { metadata, nodeId } = local;
  const attributes = new Map<string, string>([
    ['service.name', config.serviceName || serviceName(metadata)],
    ['service.namespace', metadata.namespace],
    ['service.version', metadata.canonicalRevision],
    ['service.instance.id', nodeId],
  ]);
  config.resourceDetectors.forEach((detector, index) => {
    for (const [key, value] of within(`[${index}]`, () => detect(detector))) attributes.set(key, value);
  });
  return [...attributes].filter(([, value]) => value !== '');
}

function serviceName({ canonicalService, namespace }: { readonly canonicalService: string; readonly namespace: string }): string {
  if (canonicalService === '') return 'unknown_service:envoy';
  return namespace === '' ? canonicalService : `${canonicalService}.${namespace}`;
}

function detect({ name, typedConfig }: OpenTelemetryConfig['resourceDetectors'][number]): Resource {
  const fixed = unpackAny(typedConfig, StaticConfigResourceDetectorConfigSchema);
  if (fixed !== undefined) return Object.entries(fixed.attributes);
  if (unpackAny(typedConfig, EnvironmentResourceDetectorConfigSchema) !== undefined) {
    return (process.env['OTEL_RESOURCE_ATTRIBUTES'] ?? '').split(',').flatMap((pair) => {
      const equals = pair.indexOf('=');
      return equals <= 0 ? [] : [[pair.slice(0, equals).trim(), decodeURIComponent(pair.slice(equals + 1).trim())] as const];
    });
  }
  throw new ConfigError('', `${name} is a resource detector that this proxy does not have; it has environment and static_config`);
}
