import type { ServiceEntrySpec } from '../kinds/service-entry.ts';
import type { WorkloadEntrySpec } from '../kinds/workload-entry.ts';
import { checkExportTo } from './common.ts';
import { isAddress, isHostName, isProtocol, isSubnet, isWildcardHost, PROTOCOL_HINT, unixPath } from './names.ts';
import { atMostOne, type SpecReport } from './report.ts';
import { checkWorkload } from './workload.ts';

/** Source: istio pkg/config/validation/validation.go and the CEL rules of the CRD, 1.32 dev. */
export function validateServiceEntry(spec: ServiceEntrySpec, report: SpecReport): void {
  const resolution = spec.resolution ?? 'NONE';
  atMostOne(spec, ['endpoints', 'workloadSelector'], { path: [], report });
  checkHosts(spec, resolution, report);
  for (const [index, address] of (spec.addresses ?? []).entries()) {
    if (!isSubnet(address)) report.error(['addresses', index], `"${address}" is neither an address nor a subnet`);
    else if (address.includes('/') && resolution !== 'NONE' && resolution !== 'STATIC')
      report.error(['addresses', index], `a subnet needs resolution NONE or STATIC, not ${resolution}`);
  }
  checkPorts(spec, report);
  checkEndpoints(spec, resolution, report);
  checkExportTo(spec.exportTo, report);
}

function checkHosts({ hosts, endpoints }: ServiceEntrySpec, resolution: string, report: SpecReport): void {
  const mustResolve = (resolution === 'DNS' || resolution === 'DNS_ROUND_ROBIN') && (endpoints?.length ?? 0) === 0;
  for (const [index, host] of hosts.entries()) {
    const path = ['hosts', index];
    if (host === '*') report.error(path, 'the host "*" is not allowed');
    else if (!isWildcardHost(host)) report.error(path, `"${host}" is not a host name`);
    else if (host.startsWith('*') && mustResolve)
      report.error(path, `resolution ${resolution} cannot resolve the wildcard "${host}"; use NONE or DYNAMIC_DNS, or give endpoints`);
    else if (hosts.indexOf(host) !== index) report.error(path, `the host "${host}" is given twice`);
  }
}

function checkPorts({ ports = [] }: ServiceEntrySpec, report: SpecReport): void {
  for (const [index, port] of ports.entries()) {
    if (port.protocol !== undefined && port.protocol !== '' && !isProtocol(port.protocol))
      report.error(['ports', index, 'protocol'], `"${port.protocol}" is not ${PROTOCOL_HINT}`);
    const earlier = ports.slice(0, index);
    if (earlier.some(({ number }) => number === port.number))
      report.error(['ports', index, 'number'], `port ${port.number} is given twice`);
    if (earlier.some(({ name }) => name === port.name))
      report.error(['ports', index, 'name'], `the port name "${port.name}" is used twice`);
  }
}

function checkEndpoints(spec: ServiceEntrySpec, resolution: string, report: SpecReport): void {
  const { endpoints = [], ports = [] } = spec;
  if ((resolution === 'NONE' || resolution === 'DYNAMIC_DNS') && endpoints.length > 0)
    report.error(['endpoints'], `resolution ${resolution} takes no endpoints; use STATIC or DNS`);
  if (resolution === 'DNS_ROUND_ROBIN' && endpoints.length > 1)
    report.error(['endpoints'], 'resolution DNS_ROUND_ROBIN takes at most one endpoint');
  const portNames = new Set(ports.map(({ name }) => name));
  for (const [index, endpoint] of endpoints.entries()) {
    const path = ['endpoints', index];
    checkWorkload(endpoint, { path, report, addressRequired: true });
    checkEndpointAddress(endpoint, { resolution, index, portCount: ports.length, report });
    for (const name of Object.keys(endpoint.ports ?? {})) {
      if (!portNames.has(name)) report.error([...path, 'ports', name], `the service has no port named "${name}"`);
    }
  }
}

function checkEndpointAddress(
  { address = '' }: WorkloadEntrySpec,
  { resolution, index, portCount, report }: { resolution: string; index: number; portCount: number; report: SpecReport },
): void {
  if (address === '') return;
  const path = ['endpoints', index, 'address'];
  if (unixPath(address) !== undefined) {
    if (resolution !== 'STATIC') report.error(path, `a Unix socket needs resolution STATIC, not ${resolution}`);
    else if (portCount !== 1) report.error(path, 'a service behind a Unix socket has exactly one port');
  } else if (resolution === 'STATIC' && !isAddress(address))
    report.error(path, `resolution STATIC needs an address, not "${address}"; use DNS for names`);
  else if (resolution.startsWith('DNS') && !isAddress(address) && !isHostName(address))
    report.error(path, `"${address}" is neither a host name nor an address`);
}
