import type { HostIndex, OutboundScope, VirtualServiceConfig } from '@mizzen/model';

/** Hosts that only VirtualServices know: names for what other services do. By host. */
export function hostsWithoutService(
  scope: OutboundScope,
  virtualServices: HostIndex<VirtualServiceConfig>,
): { host: string; virtualService: VirtualServiceConfig }[] {
  const found = new Map<string, VirtualServiceConfig>();
  for (const virtualService of new Set(virtualServices.values())) {
    if (virtualService.http.length === 0) continue;
    for (const host of virtualService.hosts)
      if (host !== '*' && !scope.servicesByHost.has(host) && virtualServices.get(host) === virtualService) found.set(host, virtualService);
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([host, virtualService]) => ({ host, virtualService }));
}
