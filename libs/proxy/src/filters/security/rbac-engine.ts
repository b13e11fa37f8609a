import type { Field } from '@mizzen/matching';
import { refuseFields } from '@mizzen/matching';
import { type Policy, type RBAC, RBAC_Action } from '@mizzen/xds-api/envoy/config/rbac/v3/rbac';
import type { DownstreamConnection } from '../../contract.ts';
import type { HttpStreamInfo } from '../../http/stream-info.ts';
import { any, compilePermission, compilePrincipal, type RbacCondition } from './rbac-conditions.ts';

/** The rules of one RBAC filter, compiled; immutable. */
export interface RbacEngine {
  readonly action: 'allow' | 'deny' | 'log';
  /** The id of the first policy that matches, in the order of their names; undefined: none does. */
  match(connection: DownstreamConnection, request: HttpStreamInfo | undefined): string | undefined;
}

/** What an engine decides where the policy `matched` matched, or none. LOG only marks, it always allows. */
export function isAllowed(engine: RbacEngine, matched: string | undefined): boolean {
  return engine.action === 'log' || (matched !== undefined) === (engine.action === 'allow');
}

/** As it stands in response code details, where a space would end the word. Source: envoy RBAC::responseDetail (1.40). */
export function deniedDetails(matched: string | undefined): string {
  return `rbac_access_denied_matched_policy[${(matched ?? 'none').replaceAll(/\s/g, '_')}]`;
}

const ACTIONS: Readonly<Record<number, RbacEngine['action']>> = {
  [RBAC_Action.ALLOW]: 'allow',
  [RBAC_Action.DENY]: 'deny',
  [RBAC_Action.LOG]: 'log',
};

/** Compiles envoy.config.rbac.v3.RBAC. An action that is not known is rejected: to guess would let somebody in. */
export function compileRbacRules(rules: RBAC, field: Field): RbacEngine {
  refuseFields(field, rules, ['auditLoggingOptions']);
  const action = ACTIONS[rules.action];
  if (action === undefined) field.child('action').reject(`${rules.action} is not an action that this proxy knows`);
  const policies = Object.entries(rules.policies)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([id, policy]) => ({ id, holds: compilePolicy(policy, field.child(`policies["${id}"]`)) }));
  return {
    action: action ?? 'allow',
    match(connection, request) {
      for (const { id, holds } of policies) if (holds(connection, request)) return id;
      return undefined;
    },
  };
}

function compilePolicy(policy: Policy, field: Field): RbacCondition {
  refuseFields(field, policy, ['condition', 'checkedCondition']);
  if (policy.permissions.length === 0) field.child('permissions').reject('needs at least one permission');
  if (policy.principals.length === 0) field.child('principals').reject('needs at least one principal');
  const isPermitted = any(policy.permissions.map((each, index) => compilePermission(each, field.child('permissions', index))));
  const isPrincipal = any(policy.principals.map((each, index) => compilePrincipal(each, field.child('principals', index))));
  return (connection, request) => isPermitted(connection, request) && isPrincipal(connection, request);
}
