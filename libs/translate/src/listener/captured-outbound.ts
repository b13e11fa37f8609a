import { isIP } from 'node:net';
import {
  indexByHost,
  isHeadless,
  isHttp,
  isOfKubernetes,
  type OutboundScope,
  type ProxyView,
  type Service,
  type ServiceEndpoints,
  type ServicePort,
} from '@mizzen/model';
import { IdentityMemo } from '../memo.ts';
import type { TranslatedResource } from '../result.ts';
import { capturedListener, type ListenerPlan, type PlannedService } from './captured-listener.ts';
import { tracingKey } from './tracing.ts';
import { wildcardOf } from './wildcards.ts';

const translated = new IdentityMemo<Map<string, readonly TranslatedResource[]>>();
const headlessOf = new IdentityMemo<readonly Service[]>();

/**
 * The listeners that `virtualOutbound` hands connections to: one for each port that services speak HTTP at, one for each address and port
 * of all others. Shared by all proxies of a scope; another set only where endpoints of a headless service changed.
 * Source: istio pilot/pkg/networking/core/listener.go buildSidecarOutboundListeners (1.32 dev).
 */
export function capturedOutboundListeners(view: ProxyView): readonly TranslatedResource[] {
  const { outboundScope: scope } = view;
  const headless = headlessOf.get([scope], () => scope.services.filter(isHeadless));
  const variants = translated.get([scope, ...headless.map((service) => view.endpoints.get(service))], () => new Map());
  const key = tracingKey(view);
  let resources = variants.get(key);
  if (resources === undefined) {
    resources = planListeners(scope, view.endpoints).flatMap((plan) => capturedListener(view, plan, key) ?? []);
    variants.set(key, resources);
  }
  return resources;
}

/** Which listeners there are and which services they serve, by name. */
function planListeners(scope: OutboundScope, endpoints: ReadonlyMap<Service, ServiceEndpoints>): ListenerPlan[] {
  const plans = new Map<string, ListenerPlan>();
  const context = { scope, endpoints, plans };
  for (const listener of scope.egressListeners) {
    if (!listener.isCaptured) continue;
    const virtualServices = indexByHost(listener.virtualServices);
    const at = { number: listener.port, protocol: listener.protocol, bind: listener.bind };
    for (const service of listener.services)
      addService(context, { service, servicePort: portBehind(service, listener.port), at, virtualServices });
  }
  // A port that a Sidecar lists serves what it lists, and nothing else.
  const locked = new Set(plans.keys());
  const open = new Map<string, ListenerPlan>();
  for (const service of scope.defaultServices) {
    for (const servicePort of service.ports) {
      const at = { number: servicePort.number, protocol: servicePort.protocol, bind: '' };
      addService({ ...context, plans: open }, { service, servicePort, at, virtualServices: scope.virtualServices });
    }
  }
  for (const [name, plan] of open) if (!locked.has(name)) plans.set(name, plan);
  return [...plans.keys()].sort().flatMap((name) => plans.get(name) ?? []);
}

/** The port of the same number; otherwise the only one. */
function portBehind(service: Service, number: number): ServicePort | undefined {
  const [only, another] = service.ports;
  return service.ports.find((port) => port.number === number) ?? (another === undefined ? only : undefined);
}

interface PlanContext {
  readonly scope: OutboundScope;
  readonly endpoints: ReadonlyMap<Service, ServiceEndpoints>;
  readonly plans: Map<string, ListenerPlan>;
}

interface ServedAt extends Pick<PlannedService, 'service' | 'servicePort' | 'virtualServices'> {
  /** Where the listener is, and what its port is declared to speak. */
  readonly at: { readonly number: number; readonly protocol: ServicePort['protocol']; readonly bind: string };
}

/** Ports where a stock Envoy of Istio's listens for itself at every address. Source: istio pilot/pkg/model/context.go CanBindToPort (1.32 dev). */
const RESERVED_PORTS: ReadonlySet<number> = new Set([15_021, 15_090]);

function addService(context: PlanContext, { service, servicePort, at, virtualServices }: ServedAt): void {
  const { scope, plans } = context;
  if (at.protocol === 'udp') return;
  const wildcard = wildcardOf(scope.ipFamily);
  for (const { bind, cidrs } of bindsOf(context, service, at)) {
    if (bind === wildcard && RESERVED_PORTS.has(at.number)) continue;
    const name = `${bind}_${at.number}`;
    const plan = plans.get(name) ?? { name, bind, port: at.number, isWildcard: bind === wildcard, routeName: '', services: [] };
    if (!plans.has(name)) plans.set(name, plan);
    // Only where the address alone says which service is meant do its routes stand alone.
    const isOwnRoute = at.protocol === 'auto' && !plan.isWildcard && at.bind === '';
    plan.routeName ||= isOwnRoute ? `${service.host}:${at.number}` : '';
    plan.services.push({ service, servicePort, protocol: at.protocol, cidrs, virtualServices });
  }
}

/** Where a service port is served: requests by port alone, since they name their host; connections by address. */
function bindsOf(
  { scope, endpoints }: PlanContext,
  service: Service,
  at: ServedAt['at'],
): { readonly bind: string; readonly cidrs: readonly string[] }[] {
  if (at.bind !== '') return [{ bind: at.bind, cidrs: [] }];
  const everywhere = { bind: wildcardOf(scope.ipFamily), cidrs: [] };
  if (isHttp(at.protocol)) return [everywhere];
  const addresses = scope.addressesOf(service);
  const ips = addresses.filter((address) => isIP(address) !== 0).map((bind) => ({ bind, cidrs: [] }));
  const cidrs = addresses.filter((address) => address.includes('/'));
  if (addresses.length > 0) return cidrs.length > 0 ? [...ips, { ...everywhere, cidrs }] : ips;
  if (!isHeadless(service)) return [everywhere];
  const own = endpoints.get(service)?.byPort.get(at.number) ?? [];
  const known = new Set(own.filter(({ address }) => isIP(address) !== 0).map(({ address }) => address));
  if (known.size > 0) return [...known].map((bind) => ({ bind, cidrs: [] }));
  // Endpoints that are only not there yet must not make the service stand for every address.
  return isOfKubernetes(service) || service.workloadSelector !== undefined ? [] : [everywhere];
}
