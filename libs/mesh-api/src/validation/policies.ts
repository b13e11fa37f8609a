import type { EnvoyFilterSpec } from '../kinds/envoy-filter.ts';
import type { TrafficExtensionSpec } from '../kinds/extensions.ts';
import type { AuthorizationPolicySpec, PeerAuthenticationSpec, RequestAuthenticationSpec } from '../kinds/security.ts';
import type { WorkloadSelector } from '../kinds/shared.ts';
import { atMostOne, type SpecReport } from './report.ts';

/** What a policy is attached to: at most one way of saying it. */
export function checkAttachment(
  spec: { selector?: unknown; workloadSelector?: unknown; targetRef?: unknown; targetRefs?: unknown },
  report: SpecReport,
): void {
  atMostOne(spec, ['selector', 'workloadSelector', 'targetRef', 'targetRefs'], { path: [], report });
}

export function validatePeerAuthentication({ selector, portLevelMtls }: PeerAuthenticationSpec, report: SpecReport): void {
  if (!portLevelMtls) return;
  if (!hasLabels(selector)) report.error(['portLevelMtls'], 'needs a selector with matchLabels: ports are those of certain workloads');
  if (Object.keys(portLevelMtls).length === 0) report.error(['portLevelMtls'], 'must name at least one port');
  for (const port of Object.keys(portLevelMtls)) {
    if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535)
      report.error(['portLevelMtls', port], `"${port}" is not a port, 1 to 65535`);
  }
}

function hasLabels(selector: WorkloadSelector | undefined): boolean {
  return Object.keys(selector?.matchLabels ?? {}).length > 0;
}

export function validateAuthorizationPolicy(spec: AuthorizationPolicySpec, report: SpecReport): void {
  checkAttachment(spec, report);
  if (spec.action === 'CUSTOM' && !spec.provider?.name) report.error(['provider'], 'action CUSTOM needs the name of a provider');
  if (spec.action !== 'CUSTOM' && spec.provider) report.error(['provider'], 'is for action CUSTOM only');
  for (const [index, rule] of (spec.rules ?? []).entries()) {
    for (const [fromIndex, { source }] of (rule.from ?? []).entries()) {
      const byAccount = source?.serviceAccounts || source?.notServiceAccounts;
      const byName = source?.principals || source?.notPrincipals || source?.namespaces || source?.notNamespaces;
      if (byAccount && byName)
        report.error(['rules', index, 'from', fromIndex, 'source'], 'serviceAccounts exclude principals and namespaces');
    }
    for (const [whenIndex, condition] of (rule.when ?? []).entries()) {
      if (!condition.values && !condition.notValues) report.error(['rules', index, 'when', whenIndex], 'values or notValues is required');
    }
  }
}

export function validateRequestAuthentication(spec: RequestAuthenticationSpec, report: SpecReport): void {
  checkAttachment(spec, report);
  for (const [index, rule] of (spec.jwtRules ?? []).entries()) {
    const path = ['jwtRules', index];
    atMostOne(rule, ['jwksUri', 'jwks_uri', 'jwks'], { path, report });
    if (!rule.issuer) report.error([...path, 'issuer'], 'the issuer of the tokens is required');
    for (const name of ['jwksUri', 'jwks_uri'] as const) {
      const uri = rule[name];
      if (uri !== undefined && !/^https?:\/\/[^/\s]+/.test(uri)) report.error([...path, name], `"${uri}" is not an http or https address`);
    }
  }
}

export function validateEnvoyFilter(spec: EnvoyFilterSpec, report: SpecReport): void {
  checkAttachment(spec, report);
  for (const [index, { match }] of (spec.configPatches ?? []).entries()) {
    const path = ['configPatches', index, 'match'];
    atMostOne(match, ['listener', 'routeConfiguration', 'cluster', 'waypoint'], { path, report });
    if (match && (match.context === 'WAYPOINT') !== (match.waypoint !== undefined))
      report.error(path, 'context WAYPOINT and the match waypoint belong together');
  }
}

export function validateTrafficExtension(spec: TrafficExtensionSpec, report: SpecReport): void {
  checkAttachment(spec, report);
  if ((spec.wasm === undefined) === (spec.lua === undefined)) report.error([], 'exactly one of wasm and lua is required');
}
