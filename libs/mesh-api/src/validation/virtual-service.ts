import type { TcpRoute, TlsRoute, VirtualServiceSpec } from '../kinds/virtual-service.ts';
import { checkDestination, checkExportTo, isHostWithin } from './common.ts';
import { checkHttpRoute } from './http-route.ts';
import { isAddress, isDnsLabel, isSubnet, isWildcardHost } from './names.ts';
import type { Path, SpecReport } from './report.ts';

/** Source: istio pkg/config/validation/validation.go and virtualservice.go, 1.32 dev. */
export function validateVirtualService(spec: VirtualServiceSpec, report: SpecReport): void {
  const { hosts = [], gateways = [], http = [], tls = [], tcp = [] } = spec;
  const isDelegate = hosts.length === 0;
  if (isDelegate) {
    if (gateways.length > 0) report.error(['gateways'], 'a VirtualService without hosts is a delegate and must not name gateways');
    if (tcp.length > 0 || tls.length > 0)
      report.error([tcp.length > 0 ? 'tcp' : 'tls'], 'a VirtualService without hosts is a delegate and may only have http');
  }
  if (http.length + tls.length + tcp.length === 0) report.error([], 'at least one of http, tls and tcp is required');
  checkHosts(hosts, appliesToMesh(spec), report);
  checkGateways(gateways, ['gateways'], report);
  const hasGateways = isDelegate || gateways.some((name) => name !== 'mesh');
  for (const [index, route] of http.entries()) checkHttpRoute(route, { path: ['http', index], isDelegate, hasGateways, report });
  for (const [index, route] of tls.entries()) checkTlsRoute(route, hosts, { path: ['tls', index], report });
  for (const [index, route] of tcp.entries()) checkTcpRoute(route, { path: ['tcp', index], report });
  checkExportTo(spec.exportTo, report);
}

function appliesToMesh({ gateways = [] }: VirtualServiceSpec): boolean {
  return gateways.length === 0 || gateways.includes('mesh');
}

function checkHosts(hosts: readonly string[], inMesh: boolean, report: SpecReport): void {
  for (const [index, host] of hosts.entries()) {
    const path = ['hosts', index];
    if (host === '*' && inMesh) report.error(path, 'the host "*" is not allowed for sidecars; name gateways other than mesh');
    else if (!isAddress(host) && !isWildcardHost(host))
      report.error(path, `"${host}" is neither a host name, a wildcard such as "*.example.com", nor an address`);
    else {
      const overlapping = hosts.slice(0, index).find((earlier) => isHostWithin(host, earlier) || isHostWithin(earlier, host));
      if (overlapping !== undefined) report.error(path, `"${host}" overlaps with the host "${overlapping}" of the same VirtualService`);
    }
  }
}

export function checkGateways(gateways: readonly string[] | undefined, path: Path, report: SpecReport): void {
  for (const [index, gateway] of (gateways ?? []).entries()) {
    const parts = gateway.split('/');
    const isName =
      parts.length <= 2 && parts.every((part, at) => (at === 0 && parts.length === 2 && part === '.') || part.split('.').every(isDnsLabel));
    if (!isName) report.error([...path, index], `"${gateway}" is not a gateway: write mesh, name or namespace/name`);
  }
}

interface At {
  readonly path: Path;
  readonly report: SpecReport;
}

function checkTlsRoute(route: TlsRoute, hosts: readonly string[], { path, report }: At): void {
  for (const [index, match] of route.match.entries()) {
    const matchPath = [...path, 'match', index];
    for (const [sniIndex, sniHost] of match.sniHosts.entries()) {
      const sniPath = [...matchPath, 'sniHosts', sniIndex];
      if (!isWildcardHost(sniHost)) report.error(sniPath, `"${sniHost}" is not a host name`);
      else if (!hosts.some((host) => isHostWithin(sniHost, host)))
        report.error(sniPath, `the SNI host "${sniHost}" is not within any of the hosts (${hosts.join(', ')})`);
    }
    checkL4Match(match, matchPath, report);
  }
  checkL4Destinations(route.route, { path, report });
}

function checkTcpRoute(route: TcpRoute, { path, report }: At): void {
  for (const [index, match] of (route.match ?? []).entries()) checkL4Match(match, [...path, 'match', index], report);
  checkL4Destinations(route.route, { path, report });
}

function checkL4Match(
  match: { destinationSubnets?: readonly string[]; gateways?: readonly string[] },
  path: Path,
  report: SpecReport,
): void {
  for (const [index, subnet] of (match.destinationSubnets ?? []).entries()) {
    if (!isSubnet(subnet)) report.error([...path, 'destinationSubnets', index], `"${subnet}" is not a subnet such as 10.0.0.0/8`);
  }
  checkGateways(match.gateways, [...path, 'gateways'], report);
}

function checkL4Destinations(destinations: TcpRoute['route'], { path, report }: At): void {
  if (!destinations || destinations.length === 0) report.error([...path, 'route'], 'a route needs at least one destination');
  for (const [index, { destination, weight = 0 }] of (destinations ?? []).entries()) {
    checkDestination(destination, [...path, 'route', index, 'destination'], report);
    if (weight < 0) report.error([...path, 'route', index, 'weight'], 'a weight must not be negative');
  }
  checkTotalWeight(destinations, [...path, 'route'], report);
}

/** With several destinations at least one must weigh something. */
export function checkTotalWeight(destinations: readonly { readonly weight?: number }[] | undefined, path: Path, report: SpecReport): void {
  if ((destinations?.length ?? 0) > 1 && destinations?.every(({ weight }) => (weight ?? 0) === 0))
    report.error(path, 'the weights add up to 0; give the destinations weights');
}
