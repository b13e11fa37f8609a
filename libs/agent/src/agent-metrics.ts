import type { Svid } from '@mizzen/identity';
import { createMetricRegistry, type MetricRegistry } from '@mizzen/telemetry';

export interface AgentMetrics {
  readonly registry: MetricRegistry;
  setSvid(svid: Svid): void;
  setStartupMs(startupMs: number): void;
  countFileSecretFailure(): void;
  countConnectionFailure(): void;
  countConnectionTermination(): void;
  countScrape(): void;
  countScrapeFailure(type: 'envoy' | 'application'): void;
  countDnsRequest(): void;
  countDnsMalformed(): void;
  countDnsUpstreamRequest(): void;
  countDnsUpstreamFailure(): void;
  observeDnsUpstreamMs(durationMs: number): void;
}

// Source: istio pkg/dns/client/monitoring.go (1.32).
const DNS_BUCKETS_S = [0.001, 0.005, 0.01, 0.1, 1, 5];

/** Names as Istio's agent exports them. Source: istio pkg/istio-agent/metrics/monitoring.go (1.32). */
export function createAgentMetrics(now: () => number): AgentMetrics {
  const registry = createMetricRegistry();
  const counter = (name: string, help: string): { value: number } => registry.counter({ name: `istio_agent_${name}`, help }).series();
  const gauge = (name: string, help: string): { value: number } => registry.gauge({ name: `istio_agent_${name}`, help }).series();
  const startup = gauge('startup_duration_seconds', 'The time from the process starting to being marked ready.');
  const fileFailures = counter('num_file_secret_failures_total', 'Number of times secret generation failed for files');
  const failures = counter('istiod_connection_failures', 'The total number of connection failures to Istiod');
  const terminations = counter('istiod_connection_terminations', 'The total number of connection errors to Istiod');
  const scrapes = counter('scrapes_total', 'The total number of scrapes.');
  const scrapeFailures = registry.counter({
    name: 'istio_agent_scrape_failures_total',
    help: 'The total number of failed scrapes.',
    labels: ['type'],
  });
  const dnsRequests = counter('dns_requests_total', 'Total number of DNS requests.');
  const dnsMalformed = counter('dns_malformed_requests_total', 'Total number of packets that are no DNS questions.');
  const dnsUpstreamRequests = counter('dns_upstream_requests_total', 'Total number of DNS requests forwarded to upstream.');
  const dnsUpstreamFailures = counter('dns_upstream_failures_total', 'Total number of DNS failures upstream.');
  const dnsUpstreamDuration = registry
    .histogram({
      name: 'istio_agent_dns_upstream_request_duration_seconds',
      help: 'Total time in seconds Istio takes to get DNS response from upstream.',
      buckets: DNS_BUCKETS_S,
    })
    .series();
  const expiry = registry.gauge({
    name: 'istio_agent_cert_expiry_seconds',
    help: 'The time remaining, in seconds, before the certificate chain will expire.',
    labels: ['resource_name'],
  });
  let notAfter: number | undefined;
  registry.onCollect(() => {
    if (notAfter !== undefined) expiry.series('default').value = (notAfter - now()) / 1000;
  });
  return {
    registry,
    setSvid: (svid) => {
      notAfter = svid.notAfter;
    },
    setStartupMs: (startupMs) => {
      startup.value = startupMs / 1000;
    },
    countFileSecretFailure: () => void fileFailures.value++,
    countConnectionFailure: () => void failures.value++,
    countConnectionTermination: () => void terminations.value++,
    countScrape: () => void scrapes.value++,
    countScrapeFailure: (type) => void scrapeFailures.series(type).value++,
    countDnsRequest: () => void dnsRequests.value++,
    countDnsMalformed: () => void dnsMalformed.value++,
    countDnsUpstreamRequest: () => void dnsUpstreamRequests.value++,
    countDnsUpstreamFailure: () => void dnsUpstreamFailures.value++,
    observeDnsUpstreamMs: (durationMs) => dnsUpstreamDuration.observe(durationMs / 1000),
  };
}
