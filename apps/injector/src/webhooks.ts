import { type Clock, type Diagnostic, formatPath, type Logger } from '@mizzen/core';
import { injectPod, type Pod } from '@mizzen/injection';
import { parseResource } from '@mizzen/mesh-api';
import type { AdmissionAnswer, AdmissionRequest } from './admission-review.ts';
import type { InjectorMetrics } from './injector-metrics.ts';
import type { InjectorState } from './injector-state.ts';

export interface WebhookContext {
  readonly state: InjectorState;
  readonly metrics: InjectorMetrics;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** `/inject`: a pod that is being created gets its sidecar. */
export function answerInjection(request: AdmissionRequest, { state, metrics, clock, logger }: WebhookContext): AdmissionAnswer {
  const startedMs = clock.monotonic();
  const pod = (request.object ?? {}) as Pod;
  const namespace = request.namespace ?? pod.metadata?.namespace ?? 'default';
  const injection = injectPod({
    pod,
    namespace,
    config: state.config.value,
    meshConfig: state.meshConfig.value,
    proxyConfigs: state.proxyConfigs(),
    clusterHasNativeSidecars: state.clusterHasNativeSidecars(),
  });
  metrics.countInjection(injection.outcome, (clock.monotonic() - startedMs) / 1000);
  const about = { namespace, pod: pod.metadata?.name ?? pod.metadata?.generateName, outcome: injection.outcome };
  switch (injection.outcome) {
    case 'injected':
      logger.info({ ...about, warnings: injection.warnings }, 'injection answered');
      return { isAllowed: true, patch: injection.patch, warnings: injection.warnings };
    case 'skipped':
      logger.info({ ...about, reason: injection.reason }, 'injection answered');
      return { isAllowed: true, warnings: injection.warnings };
    case 'refused':
      logger.info({ ...about, reason: injection.message }, 'injection answered');
      return { isAllowed: false, message: `the sidecar cannot be injected: ${injection.message}` };
  }
}

/** `/validate`: a resource of the mesh that is created or changed. The messages are those of every other place. */
export function answerValidation(request: AdmissionRequest, { metrics, logger }: WebhookContext): AdmissionAnswer {
  if (request.operation === 'DELETE' || request.object === undefined || request.object === null) return { isAllowed: true };
  const { group = '', version = '', kind = '' } = request.kind ?? {};
  const { diagnostics } = parseResource({ value: request.object, file: '', line: 1, lineOf: () => 1 });
  const errors = diagnostics.filter(({ severity }) => severity === 'error');
  const warnings = diagnostics.filter(({ severity }) => severity === 'warning').map(formatFinding);
  const about = { group, version, resource: kind };
  if (errors.length === 0) {
    metrics.countValidation('passed', about);
    return { isAllowed: true, warnings };
  }
  const message = `configuration is invalid: ${errors.map(formatFinding).join('; ')}`;
  metrics.countValidation('failed', { ...about, reason: 'invalid_resource' });
  logger.info({ ...about, namespace: request.namespace, name: request.name, reason: message }, 'resource refused');
  return { isAllowed: false, message, warnings };
}

/** `spec.http[0].route: message [code]`; which resource it is about whoever applies it knows. */
function formatFinding({ path = [], message, code }: Diagnostic): string {
  return `${path.length > 0 ? `${formatPath(path)}: ` : ''}${message} [${code}]`;
}
