import { isHttp, isTls, MESH_GATEWAY, type ProxyView, type VirtualServiceConfig } from '@mizzen/model';
import { outboundClusterName } from '../names.ts';
import type { Read } from '../route/destinations.ts';
import { l4Applies, ruleTargets, type TcpContext, type TcpTarget } from '../route/tcp-targets.ts';
import type { ListenerPlan, PlannedService } from './captured-listener.ts';

/** Where the connections of a service that are for these names and ranges go; without names or ranges, all of them. */
export interface ServiceChain {
  readonly serverNames: readonly string[];
  readonly cidrs: readonly string[];
  readonly targets: readonly TcpTarget[];
}

export interface ServiceChainContext {
  readonly plan: ListenerPlan;
  readonly planned: PlannedService;
  readonly read: Read;
}

/**
 * The filter chains of a service that is not HTTP: what its VirtualService says, otherwise the service itself.
 * Source: istio pilot/pkg/networking/core/tls.go buildSidecarOutboundTLSFilterChainOpts, …TCPFilterChainOpts (1.32 dev).
 */
export function serviceChains(view: ProxyView, context: ServiceChainContext): ServiceChain[] {
  const { plan, planned, read } = context;
  if (isHttp(planned.protocol)) return [];
  const virtualService = planned.virtualServices.find(planned.service.host);
  const about = { gateway: MESH_GATEWAY, port: plan.port, domain: view.outboundScope.domain, read, knowsDestination: true };
  const ruled =
    virtualService === undefined
      ? []
      : isTls(planned.protocol)
        ? tlsChains(virtualService, planned, about)
        : tcpChains(virtualService, planned, about);
  const isDecided = isTls(planned.protocol) ? ruled.length > 0 : ruled.some((chain) => takesAllOf(chain, planned));
  return isDecided ? ruled : [...ruled, serviceItself(context)];
}

function takesAllOf({ cidrs }: ServiceChain, planned: PlannedService): boolean {
  return [...cidrs].sort().join() === [...planned.cidrs].sort().join();
}

function tlsChains(virtualService: VirtualServiceConfig, planned: PlannedService, context: TcpContext): ServiceChain[] {
  return virtualService.tls.flatMap((rule) => {
    const targets = ruleTargets(rule, virtualService, context);
    if (targets === undefined) return [];
    return rule.match
      .filter((match) => l4Applies(match, virtualService, context))
      .map((match) => ({
        serverNames: match.sniHosts.map((name) => name.toLowerCase()),
        cidrs: match.destinationSubnets?.length ? match.destinationSubnets : planned.cidrs,
        targets,
      }));
  });
}

/** Rules in order, until one takes every address. */
function tcpChains(virtualService: VirtualServiceConfig, planned: PlannedService, context: TcpContext): ServiceChain[] {
  const chains: ServiceChain[] = [];
  for (const rule of virtualService.tcp) {
    const targets = ruleTargets(rule, virtualService, context);
    if (targets === undefined) continue;
    const matches = (rule.match ?? []).filter((match) => l4Applies(match, virtualService, context));
    const isUnconditional = (rule.match ?? []).length === 0 || matches.some((match) => !match.destinationSubnets?.length);
    const subnets = matches.flatMap((match) => match.destinationSubnets ?? []);
    if (isUnconditional) return [...chains, { serverNames: [], cidrs: planned.cidrs, targets }];
    if (subnets.length > 0) chains.push({ serverNames: [], cidrs: subnets, targets });
  }
  return chains;
}

/** By server name where the address may mean others too. */
function serviceItself({ plan, planned }: ServiceChainContext): ServiceChain {
  const { service, servicePort, cidrs, protocol } = planned;
  const isNamed = isTls(protocol) && plan.isWildcard && service.host !== '*';
  return {
    serverNames: isNamed ? [service.host] : [],
    cidrs,
    targets: [{ cluster: outboundClusterName({ host: service.host, port: servicePort?.number ?? plan.port }), weight: 1 }],
  };
}
