import type { WorkloadEntrySpec } from '../kinds/workload-entry.ts';
import type { WorkloadGroupSpec } from '../kinds/workload-group.ts';
import { isAddress, isHostName, unixPath } from './names.ts';
import { atMostOne, given, type Path, type SpecReport } from './report.ts';

export function validateWorkloadEntry(spec: WorkloadEntrySpec, report: SpecReport): void {
  checkWorkload(spec, { path: [], report, addressRequired: true });
}

export function validateWorkloadGroup({ template, probe }: WorkloadGroupSpec, report: SpecReport): void {
  checkWorkload(template, { path: ['template'], report, addressRequired: false });
  if (!probe) return;
  const methods = ['httpGet', 'tcpSocket', 'exec', 'grpc'] as const;
  atMostOne(probe, methods, { path: ['probe'], report });
  if (given(probe, methods).length === 0) report.error(['probe'], 'a probe needs one of httpGet, tcpSocket, exec and grpc');
}

const PORT_NAME = /^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$/;

/** Source: the CEL rules of WorkloadEntry's CRD, 1.32 dev. */
export function checkWorkload(workload: WorkloadEntrySpec, at: { path: Path; report: SpecReport; addressRequired: boolean }): void {
  const { path, report, addressRequired } = at;
  const { address = '', network = '', ports } = workload;
  if (address === '') {
    if (addressRequired && network === '')
      report.error([...path, 'address'], 'an address is required (or a network, where a gateway leads to it)');
  } else if (address.startsWith('unix://')) {
    if (unixPath(address) === undefined)
      report.error([...path, 'address'], `"${address}" is not a Unix socket: write unix:///absolute/path or unix://@name`);
    if (ports) report.error([...path, 'ports'], 'a Unix socket has no ports');
  } else if (!isAddress(address) && !isHostName(address))
    report.error([...path, 'address'], `"${address}" is neither an address nor a host name`);
  for (const name of Object.keys(ports ?? {})) {
    if (name.length > 63 || !PORT_NAME.test(name)) report.error([...path, 'ports', name], `"${name}" is not a name of a port`);
  }
}
