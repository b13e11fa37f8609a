import type { MetricsStore } from './metrics-store.ts';
import { quantile } from './quantile.ts';
import { addValues, type Labels } from './sample.ts';

export interface GraphNode {
  /** `namespace/workload`, or `service:host` for a destination that is no workload of the mesh or was never reached. */
  readonly id: string;
  readonly workload: string;
  readonly namespace: string;
  readonly app: string;
  readonly version: string;
  /** The service it was called as; '' for a workload that only calls others. */
  readonly service: string;
}

export interface GraphEdge {
  /** Ids of nodes. */
  readonly source: string;
  readonly destination: string;
  readonly destinationService: string;
  /** `http`, `grpc` or `tcp`. */
  readonly protocol: string;
  /** Average over the window; 0 for TCP, as the next two. */
  readonly requestsPerSecond: number;
  readonly requests: number;
  /** 0 to 1: HTTP status 5xx or no response at all; for gRPC any status other than OK. */
  readonly errorRatio: number;
  /** Of the response times as the caller saw them; `null` where none was measured. */
  readonly p50Ms: number | null;
  readonly p90Ms: number | null;
  readonly p99Ms: number | null;
  /** TCP connections opened in the window, and bytes a second to and from the caller. 0 for HTTP. */
  readonly connections: number;
  readonly receivedBytesPerSecond: number;
  readonly sentBytesPerSecond: number;
  /** As the destination saw it; `unknown` when only the caller reported. */
  readonly mtls: 'mutual_tls' | 'none' | 'unknown';
  /** Which of the proxies reported: `source`, `destination`, `waypoint`. */
  readonly reporters: readonly string[];
}

export interface Graph {
  /** RFC 3339. */
  readonly generatedAt: string;
  readonly windowSeconds: number;
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
}

/** What one side reported of one edge. */
interface Report {
  requests: number;
  errors: number;
  connections: number;
  receivedBytes: number;
  sentBytes: number;
  durations?: { readonly bounds: readonly number[]; readonly bucketCounts: number[] };
}

interface EdgeDraft {
  readonly labels: Labels;
  readonly source: GraphNode;
  readonly destination: GraphNode;
  readonly reports: Map<string, Report>;
  readonly securityPolicies: Set<string>;
}

/** The metrics that the graph is made of. */
export const GRAPH_METRICS = [
  'istio_requests_total',
  'istio_request_duration_milliseconds',
  'istio_tcp_connections_opened_total',
  'istio_tcp_received_bytes_total',
  'istio_tcp_sent_bytes_total',
] as const;

const UNKNOWN = 'unknown';

/** Who called whom in the last `windowMs`, from Istio's standard metrics. Both sides report a call; it is counted once, as the caller saw it. */
export function buildGraph(store: MetricsStore, { windowMs, nowMs }: { windowMs: number; nowMs: number }): Graph {
  const drafts = collectDrafts(store, windowMs);
  const nodes = new Map<string, GraphNode>();
  for (const { source, destination } of drafts) {
    for (const node of [source, destination]) nodes.set(node.id, mergeNode(nodes.get(node.id), node));
  }
  const edges = drafts.map((draft) => toEdge(draft, windowMs / 1_000));
  return {
    generatedAt: new Date(nowMs).toISOString(),
    windowSeconds: windowMs / 1_000,
    nodes: [...nodes.values()].sort((a, b) => compare(a.id, b.id)),
    edges: edges.sort((a, b) => compare(edgeKey(a), edgeKey(b))),
  };
}

function collectDrafts(store: MetricsStore, windowMs: number): EdgeDraft[] {
  const drafts = new Map<string, EdgeDraft>();
  const visit = (
    metric: string,
    add: (report: Report, series: { labels: Labels; bounds: readonly number[]; values: readonly number[] }) => void,
  ): void => {
    for (const series of store.increases(metric, windowMs)) add(reportOf(draftOf(drafts, series.labels), series.labels), series);
  };
  visit('istio_requests_total', (report, { labels, values: [count = 0] }) => {
    report.requests += count;
    if (isError(labels)) report.errors += count;
  });
  visit('istio_request_duration_milliseconds', (report, { bounds, values: [, ...bucketCounts] }) => {
    report.durations ??= { bounds, bucketCounts: bucketCounts.map(() => 0) };
    if (report.durations.bucketCounts.length === bucketCounts.length) addValues(report.durations.bucketCounts, bucketCounts);
  });
  visit('istio_tcp_connections_opened_total', (report, { values: [count = 0] }) => {
    report.connections += count;
  });
  visit('istio_tcp_received_bytes_total', (report, { values: [bytes = 0] }) => {
    report.receivedBytes += bytes;
  });
  visit('istio_tcp_sent_bytes_total', (report, { values: [bytes = 0] }) => {
    report.sentBytes += bytes;
  });
  return [...drafts.values()];
}

function draftOf(drafts: Map<string, EdgeDraft>, labels: Labels): EdgeDraft {
  const source = sourceNode(labels);
  const destination = destinationNode(labels);
  const key = JSON.stringify([source.id, destination.id, labels['destination_service'], labels['request_protocol']]);
  const draft = drafts.get(key) ?? { labels, source, destination, reports: new Map(), securityPolicies: new Set() };
  if (labels['reporter'] !== 'source') draft.securityPolicies.add(labels['connection_security_policy'] ?? UNKNOWN);
  drafts.set(key, draft);
  return draft;
}

function reportOf(draft: EdgeDraft, labels: Labels): Report {
  const reporter = labels['reporter'] ?? UNKNOWN;
  const report = draft.reports.get(reporter) ?? { requests: 0, errors: 0, connections: 0, receivedBytes: 0, sentBytes: 0 };
  draft.reports.set(reporter, report);
  return report;
}

/** Istio's `response_code` is 0 when no response was sent; gRPC puts its status beside HTTP's, which stays 200. */
function isError(labels: Labels): boolean {
  const code = Number(labels['response_code'] ?? '0');
  const grpcStatus = labels['grpc_response_status'] ?? '';
  return code === 0 || code >= 500 || (labels['request_protocol'] === 'grpc' && grpcStatus !== '' && grpcStatus !== '0');
}

function sourceNode(labels: Labels): GraphNode {
  const workload = labels['source_workload'] ?? UNKNOWN;
  const namespace = labels['source_workload_namespace'] ?? UNKNOWN;
  const app = labels['source_app'] ?? UNKNOWN;
  return { id: `${namespace}/${workload}`, workload, namespace, app, version: labels['source_version'] ?? UNKNOWN, service: '' };
}

function destinationNode(labels: Labels): GraphNode {
  const workload = labels['destination_workload'] ?? UNKNOWN;
  const namespace = labels['destination_workload_namespace'] ?? UNKNOWN;
  const service = labels['destination_service'] ?? UNKNOWN;
  return {
    id: workload === UNKNOWN ? `service:${service}` : `${namespace}/${workload}`,
    workload,
    namespace,
    app: labels['destination_app'] ?? UNKNOWN,
    version: labels['destination_version'] ?? UNKNOWN,
    service,
  };
}

/** A workload is met as a caller and as a destination; only the latter knows its service. */
function mergeNode(known: GraphNode | undefined, node: GraphNode): GraphNode {
  if (!known) return node;
  const prefer = (a: string, b: string): string => (a === '' || a === UNKNOWN ? b : a);
  return {
    ...known,
    app: prefer(known.app, node.app),
    version: prefer(known.version, node.version),
    service: prefer(known.service, node.service) || known.service,
  };
}

function toEdge(draft: EdgeDraft, windowSeconds: number): GraphEdge {
  const { labels, source, destination, reports } = draft;
  const reporters = [...reports.keys()].sort();
  const report = (reports.get('source') ?? reports.get('destination') ?? reports.values().next().value) as Report;
  const durations = report.durations ?? { bounds: [], bucketCounts: [] };
  return {
    source: source.id,
    destination: destination.id,
    destinationService: labels['destination_service'] ?? UNKNOWN,
    protocol: labels['request_protocol'] ?? UNKNOWN,
    requestsPerSecond: report.requests / windowSeconds,
    requests: report.requests,
    errorRatio: report.requests === 0 ? 0 : report.errors / report.requests,
    p50Ms: quantile(0.5, durations),
    p90Ms: quantile(0.9, durations),
    p99Ms: quantile(0.99, durations),
    connections: report.connections,
    receivedBytesPerSecond: report.receivedBytes / windowSeconds,
    sentBytesPerSecond: report.sentBytes / windowSeconds,
    mtls: mtlsOf(draft.securityPolicies),
    reporters,
  };
}

/** One plaintext call is enough for an edge not to count as encrypted. */
function mtlsOf(policies: ReadonlySet<string>): GraphEdge['mtls'] {
  if (policies.has('none')) return 'none';
  return policies.has('mutual_tls') ? 'mutual_tls' : 'unknown';
}

function edgeKey(edge: GraphEdge): string {
  return `${edge.source} ${edge.destination} ${edge.destinationService} ${edge.protocol}`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
