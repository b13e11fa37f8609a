import type { Clock, Logger, Random } from '@mizzen/core';
import {
  createIstioStats,
  createTracer,
  type HeaderReader,
  type IstioStats,
  type MetricRegistry,
  type PeerMetadata,
  type SpanSink,
  type StreamInfo,
  type Tracer,
} from '@mizzen/telemetry';
import { unpackAny } from '@mizzen/xds-api';
import { OpenTelemetryConfigSchema } from '@mizzen/xds-api/envoy/config/trace/v3/opentelemetry';
import type {
  HttpConnectionManager,
  HttpConnectionManager_Tracing as Tracing,
} from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import type { TcpProxy } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import type { CustomTag } from '@mizzen/xds-api/envoy/type/tracing/v3/custom_tag';
import { ConfigError, within } from '../config/config-error.ts';
import type { ListenerInfo, StreamObservers } from '../contract.ts';
import type { TcpObserver } from '../tcp/tcp-proxy.ts';
import type { AccessLogs } from './access-logs.ts';

export interface ObserverOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly registry: MetricRegistry;
  readonly accessLogs: AccessLogs;
  readonly local: { readonly nodeId: string; readonly metadata: PeerMetadata; readonly meshId: string; readonly isRouter: boolean };
  /** Where spans for a collector's cluster go; undefined where there is no such cluster. */
  readonly spanSink: (clusterName: string) => SpanSink | undefined;
}

/** Makes what watches the streams of a filter, from the filter's message. */
export interface ObserverFactory {
  /** Throws ConfigError. */
  forHttp(message: HttpConnectionManager, listener: ListenerInfo): StreamObservers;
  /** Throws ConfigError. */
  forTcp(message: TcpProxy, options: { readonly listener: ListenerInfo; readonly hasIstioStats: boolean }): TcpObserver;
}

export function createObserverFactory(options: ObserverOptions): ObserverFactory {
  const stats = new Map<string, IstioStats>();
  const statsFor = (listener: ListenerInfo): IstioStats => {
    const reporter = listener.direction === 'inbound' ? 'destination' : 'source';
    const known = stats.get(reporter);
    if (known !== undefined) return known;
    const fallsBackToHost = reporter === 'source' && !options.local.isRouter;
    const made = createIstioStats({ registry: options.registry, reporter, local: options.local.metadata, fallsBackToHost });
    stats.set(reporter, made);
    return made;
  };
  return {
    forHttp(message, listener) {
      const log = options.accessLogs.compile(message.accessLog);
      const istio = hasStatsFilter(message) ? statsFor(listener) : undefined;
      const tracing = message.tracing;
      const tracer = tracing === undefined ? undefined : within('tracing', () => compileTracer(tracing, { ...options, listener }));
      return {
        onStreamHandedOver: guarded(options.logger, (info) => log?.(info)),
        onStreamEnd: guarded(options.logger, (info) => {
          istio?.onStreamEnd(info);
          log?.(info);
        }),
        startSpan: tracer === undefined ? undefined : (header, info) => tracer.start(header, info),
      };
    },
    forTcp(message, { listener, hasIstioStats }) {
      const log = options.accessLogs.compile(message.accessLog);
      const istio = hasIstioStats ? statsFor(listener) : undefined;
      return { onConnection: (info) => observeTcp(info, { log, istio, logger: options.logger }) };
    },
  };
}

// Nothing that watches a stream may break it.
function guarded(logger: Logger, run: (info: StreamInfo) => void): (info: StreamInfo) => void {
  return (info) => {
    try {
      run(info);
    } catch (thrown) {
      logger.error({ err: thrown }, 'a stream could not be recorded');
    }
  };
}

function observeTcp(
  info: StreamInfo,
  to: { readonly log: ((info: StreamInfo) => void) | undefined; readonly istio: IstioStats | undefined; readonly logger: Logger },
): ReturnType<TcpObserver['onConnection']> {
  let series: ReturnType<IstioStats['tcpSeries']> | undefined;
  let sent = 0;
  let received = 0;
  return {
    onUpstream: () => {
      if (series !== undefined) return;
      series = to.istio?.tcpSeries(info);
      if (series !== undefined) series.opened.value++;
    },
    onBytes: () => {
      if (series === undefined) return;
      series.sent.value += info.bytesSent - sent;
      series.received.value += info.bytesReceived - received;
      sent = info.bytesSent;
      received = info.bytesReceived;
    },
    onEnd: () => {
      if (series !== undefined) series.closed.value++;
      if (to.log !== undefined) guarded(to.logger, to.log)(info);
    },
  };
}

function hasStatsFilter(message: HttpConnectionManager): boolean {
  return message.httpFilters.some(
    (filter) => filter.configType.case === 'typedConfig' && filter.configType.value.typeUrl.endsWith('/stats.PluginConfig'),
  );
}

function compileTracer(message: Tracing, options: ObserverOptions & { readonly listener: ListenerInfo }): Tracer | undefined {
  const provider = message.provider;
  if (provider === undefined) return undefined;
  const any = provider.configType.value;
  const config = within('provider.typed_config', () => unpackAny(any, OpenTelemetryConfigSchema));
  if (config === undefined)
    throw new ConfigError(
      'provider.typed_config',
      `${any?.typeUrl ?? provider.name} is not a tracer that this proxy has; use envoy.config.trace.v3.OpenTelemetryConfig`,
    );
  if (config.sampler !== undefined)
    throw new ConfigError('provider.typed_config.sampler', 'is not supported by this proxy yet; use random_sampling');
  const target = config.grpcService?.targetSpecifier;
  if (target?.case !== 'envoyGrpc') throw new ConfigError('provider.typed_config.grpc_service', 'needs envoy_grpc');
  const sink = options.spanSink(target.value.clusterName);
  if (sink === undefined)
    throw new ConfigError(
      'provider.typed_config.grpc_service.envoy_grpc.cluster_name',
      `there is no cluster ${target.value.clusterName} with an address`,
    );
  return createTracer({
    ...options,
    sink,
    samplingRatio: ((message.randomSampling?.value ?? 100) / 100) * ((message.overallSampling?.value ?? 100) / 100),
    kind: options.listener.direction === 'inbound' ? 'server' : 'client',
    nodeId: options.local.nodeId,
    meshId: options.local.meshId,
    local: options.local.metadata,
    maxPathTagLength: message.maxPathTagLength ?? 256,
    customTags: message.customTags.map((tag, index) => within(`custom_tags[${index}]`, () => compileTag(tag))),
  });
}

function compileTag(tag: CustomTag): { tag: string; value: (header: HeaderReader) => string | undefined } {
  const type = tag.type;
  if (type.case === 'literal') return { tag: tag.tag, value: () => type.value.value };
  if (type.case === 'requestHeader')
    return { tag: tag.tag, value: (header) => header(type.value.name.toLowerCase()) ?? type.value.defaultValue };
  if (type.case === 'environment') {
    const value = process.env[type.value.name] ?? type.value.defaultValue;
    return { tag: tag.tag, value: () => value };
  }
  throw new ConfigError(type.case ?? '', 'is not supported by this proxy; use literal, request_header or environment');
}
