import { type Field, refuseFields } from '@mizzen/matching';
import {
  type RBACPerRoute,
  RBACPerRouteSchema,
  RBACSchema,
  type RBAC as RbacMessage,
} from '@mizzen/xds-api/envoy/extensions/filters/http/rbac/v3/rbac';
import {
  defineHttpFilter,
  type FilterDecision,
  type FilterEnvironment,
  type HttpFilter,
  type HttpFilterKind,
} from '../../http/http-filter.ts';
import type { HttpStream } from '../../http/http-stream.ts';
import { compileRbacRules, deniedDetails, isAllowed, type RbacEngine } from './rbac-engine.ts';
import { type RbacStats, rbacStats } from './rbac-stats.ts';

/** The namespace of what the filter says of a request, for access logs and traces. */
const METADATA_NAMESPACE = 'envoy.filters.http.rbac';
/** Where an action of LOG leaves its mark. Source: envoy.config.rbac.v3.RBAC.Action. */
const LOG_NAMESPACE = 'envoy.common';

/** What is enforced, and what is only tried. Without rules everything is allowed. */
export interface CompiledRbac {
  readonly rules: RbacEngine | undefined;
  readonly shadowRules: RbacEngine | undefined;
  readonly statPrefix: string;
  readonly shadowStatPrefix: string;
}

const NO_RBAC: CompiledRbac = { rules: undefined, shadowRules: undefined, statPrefix: '', shadowStatPrefix: '' };

function compileRbac(message: RbacMessage, field: Field): CompiledRbac {
  refuseFields(field, message, ['matcher', 'shadowMatcher', 'trackPerRuleStats']);
  return {
    rules: message.rules === undefined ? undefined : compileRbacRules(message.rules, field.child('rules')),
    shadowRules: message.shadowRules === undefined ? undefined : compileRbacRules(message.shadowRules, field.child('shadow_rules')),
    statPrefix: message.rulesStatPrefix,
    shadowStatPrefix: message.shadowRulesStatPrefix,
  };
}

/** A route without `rbac` switches the filter off for itself. */
function compileRbacPerRoute(message: RBACPerRoute, field: Field): CompiledRbac {
  return message.rbac === undefined ? NO_RBAC : compileRbac(message.rbac, field.child('rbac'));
}

/** Lets requests through or refuses them by who sends them and what they ask for. Source: Envoy, RBAC filter (1.40). */
export const rbacFilter: HttpFilterKind = defineHttpFilter({
  schema: RBACSchema,
  create: (message, field, environment) => new RbacFilter(compileRbac(message, field), environment),
  perRoute: { schema: RBACPerRouteSchema, compile: compileRbacPerRoute },
});

class RbacFilter implements HttpFilter {
  readonly #rbac: CompiledRbac;
  readonly #routeKey: string;
  readonly #stats: RbacStats;
  readonly #shadowStats: RbacStats;

  constructor(rbac: CompiledRbac, environment: FilterEnvironment) {
    this.#rbac = rbac;
    this.#routeKey = environment.routeKey(RBACPerRouteSchema);
    const { statPrefix } = environment;
    const { rules, shadow } = rbacStats(environment.context.stats, {
      prefix: `http.${statPrefix}`,
      tags: [['envoy.http_conn_manager_prefix', statPrefix]],
      rulesPrefix: rbac.statPrefix,
      shadowPrefix: rbac.shadowStatPrefix,
    });
    this.#stats = rules;
    this.#shadowStats = shadow;
  }

  onRequest(stream: HttpStream): FilterDecision {
    const rbac = (stream.filterConfig(this.#routeKey) as CompiledRbac | undefined) ?? this.#rbac;
    if (rbac.shadowRules !== undefined) this.#try(rbac.shadowRules, rbac, stream);
    return rbac.rules === undefined ? 'continue' : this.#enforce(rbac.rules, rbac, stream);
  }

  #try(engine: RbacEngine, { shadowStatPrefix }: CompiledRbac, stream: HttpStream): void {
    const { info } = stream;
    const matched = engine.match(info.facts.connection, info);
    const allows = isAllowed(engine, matched);
    if (allows) this.#shadowStats.allowed++;
    else this.#shadowStats.denied++;
    info.setDynamicMetadata(METADATA_NAMESPACE, said(engine, { matched, allows, prefix: `${shadowStatPrefix}shadow_` }));
  }

  #enforce(engine: RbacEngine, { statPrefix }: CompiledRbac, stream: HttpStream): FilterDecision {
    const { info } = stream;
    const matched = engine.match(info.facts.connection, info);
    const allows = isAllowed(engine, matched);
    if (engine.action === 'log') info.setDynamicMetadata(LOG_NAMESPACE, { access_log_hint: matched !== undefined });
    info.setDynamicMetadata(METADATA_NAMESPACE, said(engine, { matched, allows, prefix: `${statPrefix}enforced_` }));
    if (allows) {
      this.#stats.allowed++;
      return 'continue';
    }
    this.#stats.denied++;
    stream.reply({ status: 403, details: deniedDetails(matched), flag: undefined, body: 'RBAC: access denied' });
    return 'stop';
  }
}

type Said = Readonly<Record<string, string>>;

// What is said of requests is the same for all that one policy of an engine decides.
const saidByEngine = new WeakMap<RbacEngine, Map<string | undefined, Said>>();

function said(
  engine: RbacEngine,
  result: { readonly matched: string | undefined; readonly allows: boolean; readonly prefix: string },
): Said {
  let known = saidByEngine.get(engine);
  if (known === undefined) {
    known = new Map();
    saidByEngine.set(engine, known);
  }
  const { matched, allows, prefix } = result;
  let metadata = known.get(matched);
  if (metadata === undefined) {
    const outcome = { [`${prefix}engine_result`]: allows ? 'allowed' : 'denied' };
    metadata = matched === undefined ? outcome : { [`${prefix}effective_policy_id`]: matched, ...outcome };
    known.set(matched, metadata);
  }
  return metadata;
}
