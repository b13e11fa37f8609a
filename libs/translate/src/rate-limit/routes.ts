import type { Resource } from '@mizzen/mesh-api';
import type { RouteActionSchema, RouteSchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { Init } from '../messages.ts';
import { routeLimits } from './descriptors.ts';

type RouteInit = Init<typeof RouteSchema>;
type RouteActionInit = Init<typeof RouteActionSchema>;

/** Routes with the limits that name them, besides those of their virtual host. Only what goes to a cluster can be limited. */
export function withRouteLimits(routes: readonly RouteInit[], limits: readonly Resource<'RateLimit'>[]): RouteInit[] {
  return routes.map((route): RouteInit => {
    const { action, name } = route;
    if (name === undefined || action?.case !== 'route') return route;
    const rateLimits = routeLimits(limits, name);
    if (rateLimits.length === 0) return route;
    const value: RouteActionInit = { ...(action.value as RouteActionInit), rateLimits, includeVhRateLimits: true };
    return { ...route, action: { case: 'route', value } };
  });
}
