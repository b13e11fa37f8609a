import { createMetricRegistry, type MetricRegistry } from '@mizzen/telemetry';
import type { Authority } from './authority.ts';
import type { RefusalKind } from './refusal.ts';

export interface CaMetrics {
  readonly registry: MetricRegistry;
  countRequest(): void;
  countIssued(): void;
  countRefusal(kind: RefusalKind): void;
}

/** Names as istiod's CA exports them. Source: istio security/pkg/server/ca/monitoring.go (1.32). */
export function createCaMetrics(authority: () => Authority | undefined, now: () => number): CaMetrics {
  const registry = createMetricRegistry();
  const counter = (name: string, help: string): { value: number } => registry.counter({ name: `citadel_server_${name}`, help }).series();
  const gauge = (name: string, help: string): { value: number } => registry.gauge({ name: `citadel_server_${name}`, help }).series();
  const requests = counter('csr_count', 'The number of CSRs received.');
  const issued = counter('success_cert_issuance_count', 'The number of certificates issued that have succeeded.');
  const refusals: Record<RefusalKind, { value: number }> = {
    authentication: counter('authentication_failure_count', 'The number of authentication failures.'),
    identity: counter('id_extraction_err_count', 'The number of errors occurred when extracting the ID from CSR.'),
    csr: counter('csr_parsing_err_count', 'The number of errors occurred when parsing the CSR.'),
    signing: counter('csr_sign_err_count', 'The number of errors occurred when signing the CSR.'),
  };
  const rootAt = gauge('root_cert_expiry_timestamp', 'The unix timestamp, in seconds, when the root certificate will expire.');
  const rootIn = gauge('root_cert_expiry_seconds', 'The time remaining, in seconds, before the root certificate will expire.');
  const chainAt = gauge('cert_chain_expiry_timestamp', 'The unix timestamp, in seconds, when the certificate of the CA will expire.');
  const chainIn = gauge('cert_chain_expiry_seconds', 'The time remaining, in seconds, before the certificate of the CA will expire.');
  registry.onCollect(() => {
    const current = authority();
    if (!current) return;
    const { notAfter, rootNotAfter } = current;
    rootAt.value = rootNotAfter / 1000;
    rootIn.value = (rootNotAfter - now()) / 1000;
    chainAt.value = notAfter / 1000;
    chainIn.value = (notAfter - now()) / 1000;
  });
  return {
    registry,
    countRequest: () => void requests.value++,
    countIssued: () => void issued.value++,
    countRefusal: (kind) => void refusals[kind].value++,
  };
}
