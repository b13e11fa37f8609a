import type { Diagnostic } from '@mizzen/core';
import {
  type HttpMatch,
  type HttpRule,
  matchesSource,
  type OutboundScope,
  resolveGatewayName,
  type Service,
  type VirtualServiceConfig,
} from '@mizzen/model';
import type { RouteSchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { policyFor } from '../cluster/traffic-policy.ts';
import { report } from '../diagnose/report.ts';
import type { Init } from '../messages.ts';
import { configPath, outboundClusterName } from '../names.ts';
import { regexProblem } from '../regex.ts';
import { routeAction, routeTimeout } from './actions.ts';
import { CORS_FILTER, corsConfig } from './cors.ts';
import type { Read } from './destinations.ts';
import { FAULT_FILTER, faultConfig } from './faults.ts';
import { hashPolicy } from './hash-policy.ts';
import { ANY_PATH, claimKeys, isCatchAll, type RouteMatchInit, regexesOf, routeMatch } from './matches.ts';
import { retryPolicy } from './retries.ts';
import { routeProblem } from './route-problem.ts';

export type RouteInit = Init<typeof RouteSchema>;

export interface RouteContext {
  readonly mesh: OutboundScope['mesh'];
  readonly domain: string;
  /** `mesh`, or the key of the Gateway. */
  readonly gateway: string;
  /** Port that matches and destinations refer to. */
  readonly port: number;
  /** What clients reach it by, where that is another. */
  readonly publicPort?: number;
  readonly isTls: boolean;
  readonly read: Read;
  /** Takes what is wrong with routes that are left out. */
  readonly report: (diagnostic: Diagnostic) => void;
}

/**
 * The routes of a VirtualService in order. Rules after one that matches everything are left out, and so is a match with a regular
 * expression that RE2 refuses (Istio would refuse the whole resource) or for claims of a JWT; the diagnostics name them.
 * Source: istio pilot/pkg/networking/core/route/route.go BuildHTTPRoutesForVirtualService (1.32 dev).
 */
export function httpRoutes(virtualService: VirtualServiceConfig, context: RouteContext): RouteInit[] {
  const routes: RouteInit[] = [];
  for (const [index, rule] of virtualService.http.entries()) {
    if (hasBadRewrite(rule)) continue;
    const matches: readonly (HttpMatch | undefined)[] = rule.match && rule.match.length > 0 ? rule.match : [undefined];
    for (const match of matches) {
      if (!applies(match, virtualService, context)) continue;
      const route = buildRoute(virtualService, { rule, match }, context);
      const problem = routeProblem(route);
      if (problem === '') routes.push(route);
      else context.report(refusedRoute(virtualService, index, problem));
      if (isCatchAll(withoutDecided(match))) return routes;
    }
  }
  return routes;
}

function refusedRoute({ resource, http }: VirtualServiceConfig, index: number, problem: string): Diagnostic {
  // Delegates are merged in, so that an index of the merged rules may not be one of the resource's.
  const written = resource.spec.http?.indexOf(http[index] as HttpRule) ?? -1;
  const path = written < 0 ? ['spec', 'http'] : ['spec', 'http', written];
  return report(resource, {
    code: 'IST0106',
    severity: 'error',
    path,
    message: `proxies would refuse the route, so it is left out: ${problem}`,
  });
}

/** Whether a match concerns this gateway, port and client. With `gateways` in the match, source labels and namespace are not looked at. */
function applies(match: HttpMatch | undefined, virtualService: VirtualServiceConfig, context: RouteContext): boolean {
  if (match === undefined) return true;
  if (match.port !== undefined && match.port !== 0 && match.port !== context.port) return false;
  if (claimKeys(match).length > 0) return false;
  if (regexesOf(match).some(({ regex }) => regexProblem(regex) !== '')) return false;
  if (match.gateways && match.gateways.length > 0)
    return match.gateways.some((gateway) => resolveGatewayName(gateway, virtualService.namespace) === context.gateway);
  return context.read((scope) => matchesSource(scope, match));
}

// What the control plane has decided for this client is no condition any more.
function withoutDecided(match: HttpMatch | undefined): HttpMatch | undefined {
  if (match === undefined) return undefined;
  const { port: _port, sourceLabels: _labels, sourceNamespace: _namespace, gateways: _gateways, ...conditions } = match;
  return conditions;
}

function hasBadRewrite(rule: HttpRule): boolean {
  const pattern = rule.rewrite?.uriRegexRewrite?.match;
  return pattern !== undefined && regexProblem(pattern) !== '';
}

function buildRoute(
  virtualService: VirtualServiceConfig,
  { rule, match }: { rule: HttpRule; match: HttpMatch | undefined },
  context: RouteContext,
): RouteInit {
  const envoyMatch = routeMatch(match);
  const { action, headers } = routeAction(rule, {
    mesh: context.mesh,
    origin: { namespace: virtualService.namespace, domain: context.domain, listenPort: context.port },
    publicPort: context.publicPort ?? context.port,
    isTls: context.isTls,
    read: context.read,
  });
  const fault = faultConfig(rule.fault);
  const cors = corsConfig(rule.corsPolicy);
  const name = [rule.name, match?.name].filter((part) => part).join('.');
  return {
    ...(name !== '' && { name }),
    ...(match?.statPrefix && { statPrefix: match.statPrefix }),
    match: envoyMatch,
    action,
    ...headers,
    metadata: { filterMetadata: { istio: { config: configPath('virtual-service', virtualService) } } },
    decorator: {
      operation: operationName(rule, {
        match: envoyMatch,
        port: context.port,
        name: virtualService.name,
        namespace: virtualService.namespace,
        domain: context.domain,
      }),
    },
    ...((fault || cors) && { typedPerFilterConfig: { ...(fault && { [FAULT_FILTER]: fault }), ...(cors && { [CORS_FILTER]: cors }) } }),
  };
}

/** Name of the span: host, port and path of the route; the VirtualService's name where there is not exactly one destination. Source: istio route.go getRouteOperation (1.32 dev). */
function operationName(
  rule: HttpRule,
  about: { match: RouteMatchInit; port: number; name: string; namespace: string; domain: string },
): string {
  const { match, port } = about;
  const [first] = rule.route ?? [];
  const specifier = match.pathSpecifier;
  const path =
    specifier?.case === 'path'
      ? specifier.value
      : specifier?.case === 'prefix'
        ? `${specifier.value}*`
        : specifier?.case === 'safeRegex'
          ? (specifier.value.regex ?? '')
          : '/*';
  if (first === undefined || (rule.route ?? []).length > 1) return `${about.name}:${port}${path}`;
  const host = first.destination.host.includes('.')
    ? first.destination.host
    : `${first.destination.host}.${about.namespace}.svc.${about.domain}`;
  return `${host}:${first.destination.port?.number ?? port}${path}`;
}

/** The route of a service port without VirtualService. */
export function defaultRoute(service: Service, port: number, context: Pick<RouteContext, 'mesh' | 'read'>): RouteInit {
  const policy = policyFor(
    context.read((scope) => scope.destinationRule(service.host)),
    port,
  );
  const hash = hashPolicy(policy);
  const retries = retryPolicy(undefined, { meshDefault: context.mesh.defaultHttpRetryPolicy, isConsistentHash: hash !== undefined });
  return {
    name: 'default',
    match: ANY_PATH,
    action: {
      case: 'route',
      value: {
        clusterSpecifier: { case: 'cluster', value: outboundClusterName({ host: service.host, port }) },
        ...routeTimeout(),
        ...(retries && { retryPolicy: retries }),
        ...(hash && { hashPolicy: [hash] }),
      },
    },
    decorator: { operation: `${service.host}:${port}/*` },
  };
}
