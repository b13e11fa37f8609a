import type { RouteAction_HashPolicySchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { PortPolicy } from '../cluster/traffic-policy.ts';
import { type Init, optionalDuration } from '../messages.ts';

type HashPolicyInit = Init<typeof RouteAction_HashPolicySchema>;

/** What a request is hashed by, as its destination's rule says. A cookie is made for clients without one where it has a `ttl`. */
export function hashPolicy(policy: PortPolicy): HashPolicyInit | undefined {
  const hash = policy.loadBalancer?.consistentHash;
  if (hash === undefined) return undefined;
  if (hash.httpHeaderName) return { policySpecifier: { case: 'header', value: { headerName: hash.httpHeaderName } } };
  if (hash.httpCookie) {
    const { name = '', path, ttl, attributes } = hash.httpCookie;
    const lifetime = optionalDuration(ttl);
    return {
      policySpecifier: {
        case: 'cookie',
        value: {
          name,
          ...(path !== undefined && { path }),
          ...(lifetime && { ttl: lifetime }),
          ...(attributes && { attributes: attributes.map((attribute) => ({ name: attribute.name ?? '', value: attribute.value ?? '' })) }),
        },
      },
    };
  }
  if (hash.useSourceIp) return { policySpecifier: { case: 'connectionProperties', value: { sourceIp: true } } };
  if (hash.httpQueryParameterName) return { policySpecifier: { case: 'queryParameter', value: { name: hash.httpQueryParameterName } } };
  return undefined;
}
