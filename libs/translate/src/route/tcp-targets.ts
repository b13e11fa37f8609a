import {
  isHostWithin,
  matchesSource,
  resolveGatewayName,
  type Service,
  type TcpRule,
  type TlsRule,
  type VirtualServiceConfig,
} from '@mizzen/model';
import { outboundClusterName } from '../names.ts';
import { fittingWeights } from '../weights.ts';
import { type Read, routeLookup } from './destinations.ts';

/** Where connections go, by weight. */
export interface TcpTarget {
  readonly cluster: string;
  readonly weight: number;
}

export interface TcpContext {
  /** `mesh`, or the key of the Gateway. */
  readonly gateway: string;
  readonly port: number;
  readonly domain: string;
  readonly read: Read;
  /** The address that clients wanted is known, so that filter chains can ask for subnets. */
  readonly knowsDestination?: boolean;
}

type L4Match = NonNullable<TcpRule['match']>[number];

/**
 * The targets of a rule; undefined where it has none. With several, weight 0 is dropped.
 * Source: istio pilot/pkg/networking/core/networkfilter.go buildOutboundNetworkFilters (1.32 dev).
 */
export function ruleTargets(
  rule: TcpRule | TlsRule,
  virtualService: VirtualServiceConfig,
  context: TcpContext,
): readonly TcpTarget[] | undefined {
  const lookup = routeLookup(context.read, { namespace: virtualService.namespace, domain: context.domain, listenPort: context.port });
  const routes = rule.route ?? [];
  const chosen = routes.length > 1 ? routes.filter(({ weight }) => (weight ?? 0) > 0) : routes;
  const weights = fittingWeights(chosen.map(({ weight }) => weight ?? 1));
  return chosen.length === 0
    ? undefined
    : chosen.map(({ destination }, index) => ({ cluster: lookup.clusterOf(destination), weight: weights[index] ?? 1 }));
}

/**
 * Whether a match concerns this gateway, port and client. One that asks for the client's subnet holds nowhere, and one that asks for the
 * destination's only where traffic is captured: elsewhere it is not known.
 */
export function l4Applies(match: L4Match | undefined, virtualService: VirtualServiceConfig, context: TcpContext): boolean {
  if (match === undefined) return true;
  if ('sourceSubnet' in match && match.sourceSubnet) return false;
  if (!context.knowsDestination && (match.destinationSubnets ?? []).length > 0) return false;
  if (match.port !== undefined && match.port !== 0 && match.port !== context.port) return false;
  if (match.gateways && match.gateways.length > 0)
    return match.gateways.some((gateway) => resolveGatewayName(gateway, virtualService.namespace) === context.gateway);
  return context.read((scope) => matchesSource(scope, match));
}

/** Where connections to a service port go: as the first rule that applies says, otherwise to the service itself. */
export function serviceTargets(
  service: Service,
  virtualService: VirtualServiceConfig | undefined,
  context: TcpContext,
): readonly TcpTarget[] {
  const itself = [{ cluster: outboundClusterName({ host: service.host, port: context.port }), weight: 1 }];
  if (virtualService === undefined) return itself;
  for (const rule of virtualService.tls) {
    if (
      rule.match.some((match) => match.sniHosts.some((sni) => isHostWithin(service.host, sni)) && l4Applies(match, virtualService, context))
    )
      return ruleTargets(rule, virtualService, context) ?? itself;
  }
  for (const rule of virtualService.tcp) {
    const matches: readonly (L4Match | undefined)[] = rule.match && rule.match.length > 0 ? rule.match : [undefined];
    if (matches.some((match) => l4Applies(match, virtualService, context))) return ruleTargets(rule, virtualService, context) ?? itself;
  }
  return itself;
}
