import { create } from '@bufbuild/protobuf';
import { compileRouteConfiguration, formatRejections, MESH_FILTER_CONFIGS } from '@mizzen/matching';
import { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import type { RouteSchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { Init } from '../messages.ts';

const PLACE = /virtual_hosts\[0\]\.routes\[0\]\.?/g;

/**
 * Why a proxy would refuse a route, or ''. A route configuration is refused as a whole: without this check a stray percent sign in one
 * VirtualService would freeze the routes of every service.
 */
export function routeProblem(route: Init<typeof RouteSchema>): string {
  const { table, rejections } = compileRouteConfiguration(
    create(RouteConfigurationSchema, { name: 'check', virtualHosts: [{ name: 'check', domains: ['*'], routes: [route] }] }),
    undefined,
    { filterConfigs: MESH_FILTER_CONFIGS },
  );
  return table === undefined ? formatRejections(rejections).replace(PLACE, '') : '';
}
