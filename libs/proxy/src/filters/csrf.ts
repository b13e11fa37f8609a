import { compileStringMatcher, type Field, type StringPredicate } from '@mizzen/matching';
import { type CsrfPolicy, CsrfPolicySchema } from '@mizzen/xds-api/envoy/extensions/filters/http/csrf/v3/csrf';
import {
  defineHttpFilter,
  type FilterDecision,
  type FilterEnvironment,
  type HttpFilter,
  type HttpFilterKind,
  type RouteFilterEnvironment,
} from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import { type Counts, defineStats } from '../observe/stat-registry.ts';
import { runtimeRatio } from './runtime-switches.ts';

const STATS = defineStats({
  counters: { missingSourceOrigin: 'missing_source_origin', requestInvalid: 'request_invalid', requestValid: 'request_valid' },
});

interface Policy {
  enabledRatio(): number;
  shadowRatio(): number;
  readonly additionalOrigins: readonly StringPredicate[];
}

export const csrfFilter: HttpFilterKind = defineHttpFilter({
  schema: CsrfPolicySchema,
  create: (message, field, environment) => new CsrfFilter(compilePolicy(message, field, environment), environment),
  perRoute: { schema: CsrfPolicySchema, compile: compilePolicy },
});

function compilePolicy(message: CsrfPolicy, field: Field, { context }: RouteFilterEnvironment): Policy {
  if (message.filterEnabled === undefined) field.child('filter_enabled').reject('is required');
  return {
    enabledRatio: runtimeRatio(message.filterEnabled, context.runtimeValues, 0),
    shadowRatio: runtimeRatio(message.shadowEnabled, context.runtimeValues, 0),
    additionalOrigins: message.additionalOrigins.map((matcher, index) =>
      compileStringMatcher(matcher, field.child('additional_origins', index)),
    ),
  };
}

const MODIFYING: ReadonlySet<string> = new Set(['POST', 'PUT', 'DELETE', 'PATCH']);

/** Refuses requests that change something and that a page of another origin made. Source: Envoy, CSRF filter (1.40). */
class CsrfFilter implements HttpFilter {
  readonly #policy: Policy;
  readonly #key: string;
  readonly #stats: Counts<typeof STATS>;

  constructor(policy: Policy, environment: FilterEnvironment) {
    this.#policy = policy;
    this.#key = environment.routeKey(CsrfPolicySchema);
    const { context, statPrefix } = environment;
    this.#stats = context.stats.counts(STATS, {
      prefix: `http.${statPrefix}.csrf`,
      tags: [['envoy.http_conn_manager_prefix', statPrefix]],
    });
  }

  onRequest(stream: HttpStream): FilterDecision {
    const policy = stream.filterConfig<Policy>(this.#key) ?? this.#policy;
    const { random } = stream.runtime.context;
    const isEnabled = random() < policy.enabledRatio();
    if (!isEnabled && random() >= policy.shadowRatio()) return 'continue';
    if (!MODIFYING.has(stream.info.method) || this.#isValid(policy, stream) || !isEnabled) return 'continue';
    stream.reply({ status: 403, details: 'csrf_origin_mismatch', flag: undefined, body: 'Invalid origin' });
    return 'stop';
  }

  #isValid(policy: Policy, { info }: HttpStream): boolean {
    const source = hostAndPort(info.requestHeader('origin')) || hostAndPort(info.requestHeader('referer'));
    if (source === '') {
      this.#stats.missingSourceOrigin++;
      return false;
    }
    const isValid = source === info.authority || policy.additionalOrigins.some((matches) => matches(source));
    if (isValid) this.#stats.requestValid++;
    else this.#stats.requestInvalid++;
    return isValid;
  }
}

/** Of a URL; '' for what is none, as `null`. */
function hostAndPort(value: string | undefined): string {
  return /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(value ?? '')?.[1] ?? '';
}
