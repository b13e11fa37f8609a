import { type Field, refuseFields } from '@mizzen/matching';
import {
  RBAC_EnforcementType as EnforcementType,
  type RBAC as NetworkRbac,
} from '@mizzen/xds-api/envoy/extensions/filters/network/rbac/v3/rbac';
import { collected } from '../../config/config-error.ts';
import type { GateEntry, NetworkGate } from '../../listener/network-gate.ts';
import type { StatRegistry } from '../../observe/stat-registry.ts';
import { compileRbacRules, deniedDetails, isAllowed, type RbacEngine } from './rbac-engine.ts';
import { type RbacStats, rbacStats } from './rbac-stats.ts';

/**
 * Lets connections through or closes them by who opens them. Throws ConfigError. Source: Envoy, network RBAC filter (1.40).
 * @deviation: decided when the connection is there (TLS included), Envoy decides at its first byte: nothing that a rule can ask for changes in
 * between, and a server that speaks first says nothing to who is refused.
 */
export function createNetworkRbac(message: NetworkRbac, registry: StatRegistry): NetworkGate {
  const config = collected((field) => compileNetworkRbac(message, field));
  const stats = rbacStats(registry, { prefix: message.statPrefix, rulesPrefix: '', shadowPrefix: message.shadowRulesStatPrefix });
  return new NetworkRbacGate(config, stats);
}

interface NetworkRbacConfig {
  readonly rules: RbacEngine | undefined;
  readonly shadowRules: RbacEngine | undefined;
  readonly shadowPrefix: string;
}

function compileNetworkRbac(message: NetworkRbac, field: Field): NetworkRbacConfig {
  refuseFields(field, message, ['matcher', 'shadowMatcher']);
  if (message.statPrefix === '') field.child('stat_prefix').reject('is required');
  if (message.enforcementType !== EnforcementType.ONE_TIME_ON_FIRST_BYTE)
    field.child('enforcement_type').reject('only ONE_TIME_ON_FIRST_BYTE is supported');
  const rules = message.rules && compileRbacRules(message.rules, field.child('rules'));
  const shadowRules = message.shadowRules && compileRbacRules(message.shadowRules, field.child('shadow_rules'));
  return { rules, shadowRules, shadowPrefix: message.shadowRulesStatPrefix };
}

const METADATA_NAMESPACE = 'envoy.filters.network.rbac';

class NetworkRbacGate implements NetworkGate {
  readonly #rules: RbacEngine | undefined;
  readonly #shadowRules: RbacEngine | undefined;
  readonly #shadowPrefix: string;
  readonly #stats: { readonly rules: RbacStats; readonly shadow: RbacStats };

  constructor(config: NetworkRbacConfig, stats: { readonly rules: RbacStats; readonly shadow: RbacStats }) {
    this.#rules = config.rules;
    this.#shadowRules = config.shadowRules;
    this.#shadowPrefix = config.shadowPrefix;
    this.#stats = stats;
  }

  onConnection(entry: GateEntry): 'pass' | 'wait' {
    if (this.#shadowRules !== undefined) this.#try(this.#shadowRules, entry);
    if (this.#rules === undefined) return 'pass';
    const matched = this.#rules.match(entry.connection, undefined);
    if (isAllowed(this.#rules, matched)) {
      this.#stats.rules.allowed++;
      return 'pass';
    }
    this.#stats.rules.denied++;
    entry.refuse(deniedDetails(matched));
    return 'wait';
  }

  #try(engine: RbacEngine, { connection }: GateEntry): void {
    const matched = engine.match(connection, undefined);
    const allows = isAllowed(engine, matched);
    if (allows) this.#stats.shadow.allowed++;
    else this.#stats.shadow.denied++;
    connection.filterState.dynamicMetadata = {
      ...connection.filterState.dynamicMetadata,
      [METADATA_NAMESPACE]: {
        ...(matched === undefined ? {} : { [`${this.#shadowPrefix}shadow_effective_policy_id`]: matched }),
        [`${this.#shadowPrefix}shadow_engine_result`]: allows ? 'allowed' : 'denied',
      },
    };
  }
}
