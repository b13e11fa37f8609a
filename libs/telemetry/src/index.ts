export {
  type AccessLogFormatOptions,
  type AccessLogFormatter,
  compileAccessLogFormat,
  ISTIO_TEXT_FORMAT,
  type JsonFormat,
} from './access-log-format.ts';
export { type AccessLogSink, AccessLogWriter, type AccessLogWriterOptions } from './access-log-writer.ts';
export { compileExpression, type Expression } from './expression.ts';
export { serveHealthEndpoints } from './health-endpoints.ts';
export { type HttpAnswer, PROMETHEUS_TYPE, serveHttp } from './http-endpoint.ts';
export {
  createIstioStats,
  ISTIO_LABELS,
  type IstioStats,
  type IstioStatsOptions,
  type Reporter,
  type TcpSeries,
} from './istio-metrics.ts';
export type { MetricOverride } from './metric-overrides.ts';
export {
  type AnyMetric,
  type CounterSeries,
  createMetricRegistry,
  type GaugeSeries,
  type HistogramSeries,
  type Metric,
  type MetricKind,
  type MetricOptions,
  type MetricRegistry,
} from './metric-registry.ts';
export { createOtlpExporter, type OtlpExporter, type OtlpExporterOptions } from './otlp-exporter.ts';
export { decodePeerMetadata, describePeerNode, encodePeerMetadata, type NodeDescription, peerOfWorkload } from './peer-metadata.ts';
export { formatFlags } from './response-flags.ts';
export {
  type AttemptedHost,
  type CertificateFacts,
  type DestinationService,
  type HeaderReader,
  type MetadataSource,
  type PeerMetadata,
  RESPONSE_FLAG,
  type ResponseFlag,
  type SpanTag,
  type StreamInfo,
  type TlsFacts,
  type TracingOverrides,
  type UpstreamFacts,
} from './stream-info.ts';
export { type Propagation, readTraceContext, type TraceContext, traceHeaders } from './trace-context.ts';
export {
  createTracer,
  type FinishedSpan,
  type SpanHandle,
  type SpanSink,
  type Tracer,
  type TracerOptions,
  type TryFacts,
  type TrySpan,
} from './tracer.ts';
