import type { Svid } from '@mizzen/identity';
import { createMetricRegistry, type MetricRegistry } from '@mizzen/telemetry';

export interface AgentMetrics {
  readonly registry: MetricRegistry;
  setSvid(svid: Svid): void;
  setStartupMs(startupMs: number): void;
  countFileSecretFailure(): void;
  countConnectionFailure(): void;
  countConnectionTermination(): void;
  countScrape(isFailed: boolean): void;
}

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
    countScrape: (isFailed) => {
      scrapes.value++;
      if (isFailed) scrapeFailures.series('envoy').value++;
    },
  };
}
