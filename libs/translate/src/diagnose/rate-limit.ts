import type { Diagnostic } from '@mizzen/core';
import { isOfKind, type Resource } from '@mizzen/mesh-api';
import { isGlobal, type MeshSnapshot, rateLimitService, servicePort } from '@mizzen/model';
import { badRegexes } from '../rate-limit/rules.ts';
import { report } from './report.ts';

/** Rules of RateLimits that are left out, that nobody counts for, or whose routes nothing has. */
export function diagnoseRateLimits(snapshot: MeshSnapshot): Diagnostic[] {
  const limits = snapshot.resources.filter((resource): resource is Resource<'RateLimit'> => isOfKind(resource, 'RateLimit'));
  if (limits.length === 0) return [];
  const isCounted = hasService(snapshot);
  const routes = gatewayRouteNames(snapshot);
  return limits.flatMap((resource) => [
    ...unreadable(resource),
    ...(isCounted ? [] : uncounted(resource, snapshot)),
    ...unknownRoutes(resource, routes),
  ]);
}

function hasService(snapshot: MeshSnapshot): boolean {
  const { host, port } = rateLimitService(snapshot);
  return snapshot.services.get(host)?.some((service) => servicePort(service, port) !== undefined) ?? false;
}

function unreadable(resource: Resource<'RateLimit'>): Diagnostic[] {
  return resource.spec.rules.flatMap((rule, index) =>
    badRegexes(rule).map(({ path, problem }) =>
      report(resource, {
        code: 'IST0106',
        severity: 'error',
        path: ['spec', 'rules', index, ...path],
        message: `proxies would refuse the regular expression, so the rule limits nothing: ${problem}`,
      }),
    ),
  );
}

function uncounted(resource: Resource<'RateLimit'>, snapshot: MeshSnapshot): Diagnostic[] {
  const { host, port } = rateLimitService(snapshot);
  return resource.spec.rules.flatMap((rule, index) => {
    if (!isGlobal(rule)) return [];
    const consequence = rule.denyOnFailure ? 'what the rule matches is refused' : 'the rule limits nothing';
    return report(resource, {
      code: 'IST0101',
      severity: 'error',
      path: ['spec', 'rules', index, 'scope'],
      message: `there is no service ${host} with port ${port}, so ${consequence}; start mizzen rate-limit behind that name`,
    });
  });
}

function unknownRoutes(resource: Resource<'RateLimit'>, known: ReadonlySet<string>): Diagnostic[] {
  return resource.spec.rules.flatMap(({ match }, index) =>
    (match?.routes ?? []).flatMap((name, position) =>
      known.has(name)
        ? []
        : report(resource, {
            code: 'IST0101',
            severity: 'warning',
            path: ['spec', 'rules', index, 'match', 'routes', position],
            message: `no rule of a VirtualService that is bound to a Gateway is named ${name}; routes are those of gateways`,
          }),
    ),
  );
}

function gatewayRouteNames({ virtualServices }: MeshSnapshot): ReadonlySet<string> {
  const bound = virtualServices.filter(({ gateways }) => gateways.some((gateway) => gateway !== 'mesh'));
  return new Set(bound.flatMap(({ http }) => http.flatMap(({ name }) => (name === undefined ? [] : [name]))));
}
