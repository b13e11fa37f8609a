import { type MetricOverride, overrideKey, planMetric } from './metric-overrides.ts';
import type { CounterSeries, HistogramSeries, Metric, MetricOptions, MetricRegistry } from './metric-registry.ts';
import { formatFlags } from './response-flags.ts';
import type { DestinationService, PeerMetadata, StreamInfo } from './stream-info.ts';

/** The labels of Istio's HTTP metrics, in their order. Source: istio/proxy source/extensions/filters/http/istio_stats (1.32). */
export const ISTIO_LABELS = [
  'reporter',
  'source_workload',
  'source_canonical_service',
  'source_canonical_revision',
  'source_workload_namespace',
  'source_principal',
  'source_app',
  'source_version',
  'source_cluster',
  'destination_workload',
  'destination_workload_namespace',
  'destination_principal',
  'destination_app',
  'destination_version',
  'destination_service',
  'destination_canonical_service',
  'destination_canonical_revision',
  'destination_service_name',
  'destination_service_namespace',
  'destination_cluster',
  'request_protocol',
  'response_code',
  'grpc_response_status',
  'response_flags',
  'connection_security_policy',
] as const;

/** TCP metrics have neither a response code nor a gRPC status. */
const ISTIO_TCP_LABELS = ISTIO_LABELS.filter((label) => label !== 'response_code' && label !== 'grpc_response_status');

/** Whose view is reported: the client's proxy (gateways too) is the source, the server's the destination. */
export type Reporter = 'source' | 'destination';

export interface IstioStats {
  /** Records one HTTP request that ended. */
  onStreamEnd(info: StreamInfo): void;
  /** The series of one TCP connection; asked for once the upstream is known. */
  tcpSeries(info: StreamInfo): TcpSeries;
}

export interface TcpSeries {
  readonly opened: CounterSeries;
  readonly closed: CounterSeries;
  /** To the downstream. */
  readonly sent: CounterSeries;
  /** From the downstream. */
  readonly received: CounterSeries;
}

/** undefined: the metric is switched off. */
interface HttpSeries {
  readonly requests: CounterSeries | undefined;
  readonly duration: HistogramSeries | undefined;
  readonly requestBytes: HistogramSeries | undefined;
  readonly responseBytes: HistogramSeries | undefined;
  readonly requestMessages: CounterSeries | undefined;
  readonly responseMessages: CounterSeries | undefined;
}

/** The series of a stream, from the values of the standard labels. */
type SeriesOf<S> = (values: readonly string[], info: StreamInfo) => S | undefined;

interface IstioMetrics {
  readonly requests: SeriesOf<CounterSeries>;
  readonly duration: SeriesOf<HistogramSeries>;
  readonly requestBytes: SeriesOf<HistogramSeries>;
  readonly responseBytes: SeriesOf<HistogramSeries>;
  readonly requestMessages: SeriesOf<CounterSeries>;
  readonly responseMessages: SeriesOf<CounterSeries>;
  readonly opened: SeriesOf<CounterSeries>;
  readonly closed: SeriesOf<CounterSeries>;
  readonly sent: SeriesOf<CounterSeries>;
  readonly received: SeriesOf<CounterSeries>;
}

function defineMetrics(registry: MetricRegistry, overrides: readonly MetricOverride[]): IstioMetrics {
  const define = <S>(
    make: (options: MetricOptions) => Metric<S>,
    { name, help, labels }: { readonly name: string; readonly help: string; readonly labels: readonly string[] },
  ): SeriesOf<S> => {
    const plan = planMetric(name, labels, overrides);
    if (plan === undefined) return () => undefined;
    const metric = make({ name, help, labels: plan.labels });
    return (values, info) => metric.series(...plan.values(values, info));
  };
  const counter = (name: string, help: string, labels: readonly string[]): SeriesOf<CounterSeries> =>
    define(registry.counter, { name, help, labels });
  const histogram = (name: string, help: string, labels: readonly string[]): SeriesOf<HistogramSeries> =>
    define(registry.histogram, { name, help, labels });
  const labels = ISTIO_LABELS;
  const tcp = ISTIO_TCP_LABELS;
  const messages = ISTIO_LABELS.slice(0, MESSAGE_LABEL_COUNT);
  return {
    requests: counter('istio_requests_total', 'Requests', labels),
    duration: histogram('istio_request_duration_milliseconds', 'Duration of requests in milliseconds', labels),
    requestBytes: histogram('istio_request_bytes', 'Bytes of requests, headers included', labels),
    responseBytes: histogram('istio_response_bytes', 'Bytes of responses, headers included', labels),
    requestMessages: counter('istio_request_messages_total', 'gRPC messages of clients', messages),
    responseMessages: counter('istio_response_messages_total', 'gRPC messages of servers', messages),
    opened: counter('istio_tcp_connections_opened_total', 'TCP connections opened', tcp),
    closed: counter('istio_tcp_connections_closed_total', 'TCP connections closed', tcp),
    sent: counter('istio_tcp_sent_bytes_total', 'Bytes sent to the downstream of TCP connections', tcp),
    received: counter('istio_tcp_received_bytes_total', 'Bytes received from the downstream of TCP connections', tcp),
  };
}

// The counters of gRPC messages have no labels of what only the end of a request tells.
const MESSAGE_LABEL_COUNT = 20;

export interface IstioStatsOptions {
  readonly registry: MetricRegistry;
  readonly reporter: Reporter;
  /** This proxy's own workload. */
  readonly local: PeerMetadata;
  /** Where the destination service is not known, take the Host header for it: outbound sidecars, not gateways. */
  readonly fallsBackToHost?: boolean;
  /** By the configuration; later ones win. */
  readonly overrides?: readonly MetricOverride[];
}

const MAX_CACHED_KEYS = 20_000;

/** Istio's standard metrics. In the steady state a request costs one map lookup and a few additions. */
export function createIstioStats(options: IstioStatsOptions): IstioStats {
  const overrides = options.overrides ?? [];
  const metrics = defineMetrics(options.registry, overrides);
  const extraKey = overrideKey(overrides);
  const cache = new Map<string, HttpSeries>();
  const identities = new IdentityNumbers();

  const keyOf = (info: StreamInfo): string => {
    const { flags } = info;
    const flagText = flags.length === 0 ? '-' : flags.length === 1 ? (flags[0] as string) : flags.join();
    const service =
      info.destinationService === undefined
        ? `${info.upstreamCluster}\n${options.fallsBackToHost ? info.authority : ''}`
        : identities.of(info.destinationService);
    const peer = info.peer === undefined ? 0 : identities.of(info.peer);
    const principals =
      options.reporter === 'source'
        ? `${info.upstreamPeerUriSan}\n${info.upstreamLocalUriSan}`
        : `${info.downstreamPeerUriSan}\n${info.downstreamLocalUriSan}\n${info.isDownstreamMtls}`;
    const key = `${info.responseCode}\n${flagText}\n${peer}\n${service}\n${principals}\n${info.grpcStatus}\n${isGrpc(info)}`;
    return extraKey === undefined ? key : `${key}\n${extraKey(info)}`;
  };

  const create = (info: StreamInfo): HttpSeries => {
    const protocol = isGrpc(info) ? 'grpc' : 'http';
    const values = labelValues(info, options, protocol);
    const countsMessages = protocol === 'grpc' && info.grpcMessages !== undefined;
    const messageValues = values.slice(0, MESSAGE_LABEL_COUNT);
    return {
      requests: metrics.requests(values, info),
      duration: metrics.duration(values, info),
      requestBytes: metrics.requestBytes(values, info),
      responseBytes: metrics.responseBytes(values, info),
      requestMessages: countsMessages ? metrics.requestMessages(messageValues, info) : undefined,
      responseMessages: countsMessages ? metrics.responseMessages(messageValues, info) : undefined,
    };
  };

  return {
    onStreamEnd(info) {
      const key = keyOf(info);
      let series = cache.get(key);
      if (series === undefined) {
        series = create(info);
        if (cache.size >= MAX_CACHED_KEYS) cache.clear();
        cache.set(key, series);
      }
      if (series.requests !== undefined) series.requests.value++;
      series.duration?.observe(info.endMonotonicMs - info.startMonotonicMs);
      series.requestBytes?.observe(info.wireBytesReceived);
      series.responseBytes?.observe(info.wireBytesSent);
      if (info.grpcMessages === undefined) return;
      if (series.requestMessages !== undefined) series.requestMessages.value += info.grpcMessages.request;
      if (series.responseMessages !== undefined) series.responseMessages.value += info.grpcMessages.response;
    },
    tcpSeries(info) {
      const all = labelValues(info, options, 'tcp');
      const values = all.filter((_, index) => ISTIO_LABELS[index] !== 'response_code' && ISTIO_LABELS[index] !== 'grpc_response_status');
      return {
        opened: metrics.opened(values, info) ?? { value: 0 },
        closed: metrics.closed(values, info) ?? { value: 0 },
        sent: metrics.sent(values, info) ?? { value: 0 },
        received: metrics.received(values, info) ?? { value: 0 },
      };
    },
  };
}

/** Peers and services are few objects that live long: a number each makes a short key. */
class IdentityNumbers {
  readonly #numbers = new WeakMap<object, number>();
  #last = 0;

  of(value: object): number {
    const known = this.#numbers.get(value);
    if (known !== undefined) return known;
    this.#numbers.set(value, ++this.#last);
    return this.#last;
  }
}

function isGrpc(info: StreamInfo): boolean {
  return info.requestHeader('content-type')?.startsWith('application/grpc') ?? false;
}

const UNKNOWN = 'unknown';
const SPECIAL_CLUSTERS = ['BlackHoleCluster', 'PassthroughCluster', 'InboundPassthroughCluster'];

function labelValues(info: StreamInfo, options: IstioStatsOptions, protocol: string): string[] {
  const isSource = options.reporter === 'source';
  const source = isSource ? options.local : info.peer;
  const destination = isSource ? info.peer : options.local;
  const service = serviceLabels(info, options);
  const values: Readonly<Record<(typeof ISTIO_LABELS)[number], string>> = {
    reporter: options.reporter,
    source_workload: source?.workload || UNKNOWN,
    source_canonical_service: source?.canonicalService || UNKNOWN,
    source_canonical_revision: source?.canonicalRevision || 'latest',
    source_workload_namespace: source?.namespace || UNKNOWN,
    source_principal: (isSource ? info.upstreamLocalUriSan : info.downstreamPeerUriSan) || UNKNOWN,
    source_app: source?.app || UNKNOWN,
    source_version: source?.version || UNKNOWN,
    source_cluster: source?.clusterId || UNKNOWN,
    destination_workload: destination?.workload || UNKNOWN,
    destination_workload_namespace: destination?.namespace || UNKNOWN,
    destination_principal:
      (isSource ? info.upstreamPeerUriSan : info.downstreamPeerUriSan === '' ? '' : info.downstreamLocalUriSan) || UNKNOWN,
    destination_app: destination?.app || UNKNOWN,
    destination_version: destination?.version || UNKNOWN,
    destination_service: service.host || UNKNOWN,
    destination_canonical_service: destination?.canonicalService || UNKNOWN,
    destination_canonical_revision: destination?.canonicalRevision || 'latest',
    destination_service_name: service.name || UNKNOWN,
    destination_service_namespace: (destination?.namespace ?? service.namespace) || UNKNOWN,
    destination_cluster: destination?.clusterId || UNKNOWN,
    request_protocol: protocol,
    response_code: String(info.responseCode),
    grpc_response_status: protocol === 'grpc' ? info.grpcStatus : '',
    response_flags: formatFlags(info),
    connection_security_policy: isSource ? UNKNOWN : info.isDownstreamMtls ? 'mutual_tls' : 'none',
  };
  return ISTIO_LABELS.map((label) => values[label]);
}

function serviceLabels(info: StreamInfo, options: IstioStatsOptions): DestinationService {
  if (info.destinationService !== undefined) return info.destinationService;
  if (SPECIAL_CLUSTERS.includes(info.upstreamCluster)) return { host: info.upstreamCluster, name: info.upstreamCluster, namespace: '' };
  const host = options.fallsBackToHost ? info.authority : '';
  return { host, name: host, namespace: '' };
}
