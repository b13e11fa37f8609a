import { type CompiledCors, compileCors, mergeCors } from '@mizzen/matching';
import { CorsPolicySchema, CorsSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/cors/v3/cors';
import { type HeaderMap, SEEN } from '../http/headers.ts';
import {
  defineHttpFilter,
  type FilterDecision,
  type FilterEnvironment,
  type HttpFilter,
  type HttpFilterKind,
} from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import type { LocalReply } from '../http/local-reply.ts';
import type { ResponseHead } from '../http/stream.ts';
import { type Counts, defineStats } from '../observe/stat-registry.ts';

const STATS = defineStats({ counters: { originValid: 'origin_valid', originInvalid: 'origin_invalid' } });

export const corsFilter: HttpFilterKind = defineHttpFilter({
  schema: CorsSchema,
  create: (_message, _field, environment) => new CorsFilter(environment),
  perRoute: { schema: CorsPolicySchema, compile: compileCors },
});

/** Answers preflight requests and lets browsers read answers across origins, where the route has a policy. Source: Envoy, CORS filter (1.40). */
class CorsFilter implements HttpFilter {
  readonly #key: string;
  readonly #stats: Counts<typeof STATS>;
  /** Of routes that more than one level has a policy for. */
  readonly #merged = new WeakMap<readonly CompiledCors[], CompiledCors>();

  constructor({ context, statPrefix, routeKey }: FilterEnvironment) {
    this.#key = routeKey(CorsPolicySchema);
    this.#stats = context.stats.counts(STATS, {
      prefix: `http.${statPrefix}.cors`,
      tags: [['envoy.http_conn_manager_prefix', statPrefix]],
    });
  }

  onRequest(stream: HttpStream): FilterDecision {
    const { info } = stream;
    const policy = this.#policyOf(stream);
    if (policy === undefined) return 'continue';
    const isInForce = info.random < policy.enabledRatio;
    if (!isInForce && info.random >= policy.shadowRatio) return 'continue';
    const isValid = isAllowed(policy, info.requestHeader('origin') ?? '');
    if (isValid) this.#stats.originValid++;
    else this.#stats.originInvalid++;
    if (!isInForce || info.method !== 'OPTIONS' || info.requestHeader('access-control-request-method') === undefined) return 'continue';
    if (!isValid && policy.forwardNotMatchingPreflights !== false) return 'continue';
    stream.reply({ ...PREFLIGHT_ANSWER, headers: preflightHeaders(policy, info) });
    return 'stop';
  }

  onResponse(stream: HttpStream, head: ResponseHead): void {
    const policy = this.#policyOf(stream);
    if (policy === undefined || stream.info.random >= policy.enabledRatio) return;
    const origin = stream.info.requestHeader('origin') ?? '';
    if (!isAllowed(policy, origin)) return;
    head.headers.set('access-control-allow-origin', origin);
    if (policy.allowCredentials === true) head.headers.set('access-control-allow-credentials', 'true');
    if (policy.exposeHeaders !== '') head.headers.set('access-control-expose-headers', policy.exposeHeaders);
    addVary(head.headers);
  }

  /** undefined also for requests that come from no other origin. */
  #policyOf(stream: HttpStream): CompiledCors | undefined {
    if ((stream.info.head.headers.seen & SEEN.origin) === 0) return undefined;
    const levels = stream.filterConfigs<CompiledCors>(this.#key);
    if (levels.length < 2) return levels[0];
    let policy = this.#merged.get(levels);
    if (policy === undefined) {
      policy = mergeCors(levels) as CompiledCors;
      this.#merged.set(levels, policy);
    }
    return policy;
  }
}

const PREFLIGHT_ANSWER: LocalReply = { status: 200, details: 'cors_response', flag: undefined, body: '' };

function preflightHeaders(policy: CompiledCors, info: HttpStream['info']): [string, string][] {
  const headers: [string, string][] = [];
  if (policy.allowMethods !== '') headers.push(['access-control-allow-methods', policy.allowMethods]);
  if (policy.allowHeaders !== '') headers.push(['access-control-allow-headers', policy.allowHeaders]);
  if (policy.maxAge !== '') headers.push(['access-control-max-age', policy.maxAge]);
  if (policy.allowPrivateNetwork && info.requestHeader('access-control-request-private-network') === 'true')
    headers.push(['access-control-allow-private-network', 'true']);
  return headers;
}

function isAllowed(policy: CompiledCors, origin: string): boolean {
  return policy.allowOrigins.some((matches) => matches(origin));
}

// A cache must not give the answer for one origin to another.
function addVary(headers: HeaderMap): void {
  const present = headers.get('vary');
  if (present === undefined) headers.push('vary', 'origin');
  else if (!/(?:^|,)\s*(?:origin|\*)\s*(?:,|$)/i.test(present)) headers.set('vary', `${present}, origin`);
}
