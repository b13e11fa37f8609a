import type { Any } from '@bufbuild/protobuf/wkt';
import type { Logger } from '@mizzen/core';
import { createIstioStats, type IstioStats, type MetricRegistry, type StreamInfo } from '@mizzen/telemetry';
import { resolveTypedStruct } from '@mizzen/xds-api';
import type { Listener } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import type { HttpConnectionManager } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import type { TcpProxy } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { within } from '../config/config-error.ts';
import type { DownstreamConnection, ListenerInfo, StreamObservers } from '../contract.ts';
import type { TcpObserver } from '../tcp/tcp-proxy.ts';
import type { AccessLogs } from './access-logs.ts';
import { compileIstioStats, type IstioStatsConfig } from './istio-stats-config.ts';
import { compileTracer } from './tracing.ts';
import type { TracingContext } from './tracing-context.ts';
import { unmatchedLog } from './unmatched-log.ts';

export interface ObserverOptions extends TracingContext {
  readonly logger: Logger;
  readonly registry: MetricRegistry;
  readonly accessLogs: AccessLogs;
  readonly local: TracingContext['local'] & { readonly isRouter: boolean };
}

/** Makes what watches the streams of a filter, from the filter's message. */
export interface ObserverFactory {
  /** Throws ConfigError. */
  forHttp(message: HttpConnectionManager, listener: ListenerInfo): StreamObservers;
  /** Throws ConfigError. */
  forTcp(message: TcpProxy, options: { readonly listener: ListenerInfo; readonly istioStats: Any | undefined }): TcpObserver;
  /** Logs a connection that no filter chain of the listener takes; undefined where nobody wants to know. Throws ConfigError. */
  forUnmatched(accessLog: Listener['accessLog']): ((connection: DownstreamConnection) => void) | undefined;
}

export function createObserverFactory(options: ObserverOptions): ObserverFactory {
  const stats = new Map<string, IstioStats>();
  // Equal configurations share the cache of series.
  const statsFor = (listener: ListenerInfo, config: IstioStatsConfig): IstioStats => {
    const reporter = listener.direction === 'inbound' ? 'destination' : 'source';
    const key = `${reporter}\n${config.key}`;
    const known = stats.get(key);
    if (known !== undefined) return known;
    const fallsBackToHost = reporter === 'source' && !options.local.isRouter && !config.disablesHostFallback;
    const { overrides } = config;
    const made = createIstioStats({ registry: options.registry, reporter, local: options.local.metadata, fallsBackToHost, overrides });
    stats.set(key, made);
    return made;
  };
  return {
    forHttp(message, listener) {
      const log = options.accessLogs.compile(message.accessLog);
      const config = within('http_filters', () => statsFilter(message));
      const istio = config === undefined ? undefined : statsFor(listener, config);
      const tracing = message.tracing;
      const tracer = tracing === undefined ? undefined : within('tracing', () => compileTracer(tracing, options, listener));
      return {
        onStreamHandedOver: guarded(options.logger, (info) => log?.(info)),
        onStreamEnd: guarded(options.logger, (info) => {
          istio?.onStreamEnd(info);
          log?.(info);
        }),
        startSpan: tracer === undefined ? undefined : (header, info) => tracer.start(header, info),
      };
    },
    forTcp(message, { listener, istioStats }) {
      const log = options.accessLogs.compile(message.accessLog);
      const config = istioStats === undefined ? undefined : compileIstioStats(istioStats);
      const istio = config === undefined ? undefined : statsFor(listener, config);
      return { onConnection: (info) => observeTcp(info, { log, istio, logger: options.logger }) };
    },
    forUnmatched: (accessLog) => unmatchedLog(accessLog, options),
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
    onLog: () => {
      if (to.log !== undefined) guarded(to.logger, to.log)(info);
    },
    onEnd: () => {
      if (series !== undefined) series.closed.value++;
      if (to.log !== undefined) guarded(to.logger, to.log)(info);
    },
  };
}

function statsFilter(message: HttpConnectionManager): IstioStatsConfig | undefined {
  for (const [index, { configType }] of message.httpFilters.entries()) {
    if (configType.case !== 'typedConfig') continue;
    const config = within(`[${index}].typed_config`, () => {
      const any = resolveTypedStruct(configType.value);
      return any.typeUrl.endsWith('/stats.PluginConfig') ? compileIstioStats(any) : undefined;
    });
    if (config !== undefined) return config;
  }
  return undefined;
}
