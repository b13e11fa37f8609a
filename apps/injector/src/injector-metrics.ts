import { createMetricRegistry, type MetricRegistry } from '@mizzen/telemetry';

export interface InjectorMetrics {
  readonly registry: MetricRegistry;
  countInjection(outcome: 'injected' | 'skipped' | 'refused', seconds: number): void;
  countValidation(outcome: 'passed' | 'failed', about: ValidationLabels): void;
  /** `status`: the HTTP status that was answered. */
  countHttpError(status: string): void;
  countConfigUpdate(isValid: boolean): void;
  countPatch(isDone: boolean): void;
}

export interface ValidationLabels {
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly reason?: string;
}

const SECONDS = [0.1, 1, 3, 5, 10, 20, 30, 60];

/**
 * Names as istiod exports them. Source: istio pkg/kube/inject/monitoring.go, pkg/webhooks/monitoring.go,
 * pkg/webhooks/validation/server/monitoring.go (1.32 dev).
 */
export function createInjectorMetrics(): InjectorMetrics {
  const registry = createMetricRegistry();
  const counter = (name: string, help: string): { value: number } => registry.counter({ name, help }).series();
  const requests = counter('sidecar_injection_requests_total', 'Total number of sidecar injection requests.');
  const outcomes = {
    injected: counter('sidecar_injection_success_total', 'Total number of successful sidecar injection requests.'),
    skipped: counter('sidecar_injection_skip_total', 'Total number of skipped sidecar injection requests.'),
    refused: counter('sidecar_injection_failure_total', 'Total number of failed sidecar injection requests.'),
  };
  const time = registry
    .histogram({ name: 'sidecar_injection_time_seconds', help: 'Total time taken for injection in seconds.', buckets: SECONDS })
    .series();
  const passed = registry.counter({
    name: 'galley_validation_passed',
    help: 'Resource is valid.',
    labels: ['group', 'version', 'resource'],
  });
  const failed = registry.counter({
    name: 'galley_validation_failed',
    help: 'Resource validation failed.',
    labels: ['group', 'version', 'resource', 'reason'],
  });
  const httpErrors = registry.counter({
    name: 'galley_validation_http_error',
    help: 'Resource validation http serve errors.',
    labels: ['status'],
  });
  const configUpdates = counter('galley_validation_config_updates', 'k8s webhook configuration updates.');
  const configErrors = counter('galley_validation_config_update_error', 'k8s webhook configuration update error.');
  const patches = counter('webhook_patch_attempts_total', 'Webhook patching attempts.');
  const patchFailures = counter('webhook_patch_failures_total', 'Webhook patching total failures.');
  return {
    registry,
    countInjection(outcome, seconds) {
      requests.value++;
      outcomes[outcome].value++;
      time.observe(seconds);
    },
    countValidation(outcome, { group, version, resource, reason = '' }) {
      if (outcome === 'passed') passed.series(group, version, resource).value++;
      else failed.series(group, version, resource, reason).value++;
    },
    countHttpError: (status) => void httpErrors.series(status).value++,
    countConfigUpdate: (isValid) => void (isValid ? configUpdates : configErrors).value++,
    countPatch(isDone) {
      patches.value++;
      if (!isDone) patchFailures.value++;
    },
  };
}
