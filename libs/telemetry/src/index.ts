export {
  AccessLogFormatError,
  type AccessLogFormatter,
  compileAccessLogFormat,
  ISTIO_TEXT_FORMAT,
  type JsonFormat,
} from './access-log-format.ts';
export { type AccessLogSink, AccessLogWriter, type AccessLogWriterOptions } from './access-log-writer.ts';
export { serveHealthEndpoints } from './health-endpoints.ts';
export { type HttpAnswer, PROMETHEUS_TYPE, serveHttp } from './http-endpoint.ts';
export {
  createIstioStats,
  formatFlags,
  ISTIO_LABELS,
  ISTIO_TCP_LABELS,
  type IstioStats,
  type IstioStatsOptions,
  type Reporter,
  type TcpSeries,
} from './istio-metrics.ts';
export {
  type AnyMetric,
  type CounterSeries,
  createMetricRegistry,
  ENVOY_BUCKETS,
  type GaugeSeries,
  type HistogramSeries,
  type Metric,
  type MetricKind,
  type MetricOptions,
  type MetricRegistry,
} from './metric-registry.ts';
export { createOtlpExporter, type OtlpExporter, type OtlpExporterOptions } from './otlp-exporter.ts';
export { decodePeerMetadata, describePeerNode, encodePeerMetadata, type NodeDescription, peerOfWorkload } from './peer-metadata.ts';
export {
  type DestinationService,
  type HeaderReader,
  type PeerMetadata,
  RESPONSE_FLAG,
  type ResponseFlag,
  type StreamInfo,
} from './stream-info.ts';
export { readTraceContext, type TraceContext, traceHeaders } from './trace-context.ts';
export { createTracer, type FinishedSpan, type SpanHandle, type SpanSink, type Tracer, type TracerOptions } from './tracer.ts';
