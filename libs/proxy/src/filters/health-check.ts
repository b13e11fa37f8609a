import { compileRequestHeaders, type Field, type RequestCondition, refuseFields } from '@mizzen/matching';
import { type HealthCheck, HealthCheckSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/health_check/v3/health_check';
import { defineHttpFilter, type FilterDecision, type HttpFilter, type HttpFilterKind } from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import type { ResponseHead } from '../http/stream.ts';

export const healthCheckFilter: HttpFilterKind = defineHttpFilter({
  schema: HealthCheckSchema,
  create: (message, field) => new HealthCheckFilter(compileConditions(message, field), message.passThroughMode ?? false),
});

function compileConditions(message: HealthCheck, field: Field): readonly RequestCondition[] {
  refuseFields(field, message, ['cacheTime', 'clusterMinHealthyPercentages']);
  if (message.passThroughMode === undefined) field.child('pass_through_mode').reject('is required');
  return compileRequestHeaders(message.headers, field);
}

/** Answers health checks of the proxy itself, or lets them through to the application: 503 while it drains. Source: Envoy, Health check filter (1.40). */
class HealthCheckFilter implements HttpFilter {
  readonly #conditions: readonly RequestCondition[];
  readonly #passesThrough: boolean;

  constructor(conditions: readonly RequestCondition[], passesThrough: boolean) {
    this.#conditions = conditions;
    this.#passesThrough = passesThrough;
  }

  onRequest(stream: HttpStream): FilterDecision {
    if (!this.#conditions.every((holds) => holds(stream.info))) return 'continue';
    stream.info.isHealthCheck = true;
    const isFailed = stream.runtime.context.isDraining();
    if (this.#passesThrough && !isFailed) return 'continue';
    stream.reply({
      status: isFailed ? 503 : 200,
      details: isFailed ? 'health_check_failed' : 'health_check_ok',
      flag: isFailed ? 'failedLocalHealthCheck' : undefined,
      body: '',
    });
    return 'stop';
  }

  onResponse(stream: HttpStream, head: ResponseHead): void {
    const { context } = stream.runtime;
    if (stream.info.isHealthCheck) head.headers.set('x-envoy-upstream-healthchecked-cluster', context.nodeCluster);
    // Proxies that check in passing, by the answers to other requests, are told too.
    else if (context.isDraining()) head.headers.set('x-envoy-immediate-health-check-fail', 'true');
  }
}
