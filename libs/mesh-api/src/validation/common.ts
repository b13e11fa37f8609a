import type { Destination } from '../kinds/shared.ts';
import { isDnsLabel, isHostName, isWildcardHost } from './names.ts';
import type { Path, SpecReport } from './report.ts';

/** `*` for all, `.` for its own namespace, `~` for none, or names of namespaces. */
export function checkExportTo(exportTo: readonly string[] | undefined, report: SpecReport): void {
  for (const [index, target] of (exportTo ?? []).entries()) {
    const path = ['exportTo', index];
    if (!['*', '.', '~'].includes(target) && !isDnsLabel(target))
      report.error(path, `"${target}" is neither "*", ".", "~" nor a namespace`);
    else if (exportTo?.indexOf(target) !== index) report.error(path, `"${target}" is given twice`);
    else if ((target === '*' || target === '~') && (exportTo?.length ?? 0) > 1) report.error(path, `"${target}" must stand alone`);
  }
}

export function checkDestination(destination: Destination | undefined, path: Path, report: SpecReport): void {
  if (!destination) return;
  const { host, subset, port } = destination;
  if (host === '*' || !isWildcardHost(host)) report.error([...path, 'host'], `"${host}" is not the name of a service`);
  if (subset !== undefined && subset !== '' && !isDnsLabel(subset))
    report.error([...path, 'subset'], `"${subset}" is not the name of a subset`);
  if (port && (port.number ?? 0) === 0) report.error([...path, 'port'], 'a port needs its number, 1 to 65535');
}

/** Whether every host that `narrow` matches is matched by `wide` too. Both may start with `*`. */
export function isHostWithin(narrow: string, wide: string): boolean {
  if (wide === '*' || narrow.toLowerCase() === wide.toLowerCase()) return true;
  return wide.startsWith('*') && narrow.toLowerCase().endsWith(wide.slice(1).toLowerCase());
}

/** `ns/host`, `./host`, `*\/host` or `host`, as Gateway servers and Sidecar egress write it. */
export function splitScopedHost(text: string): { namespace: string | undefined; host: string } {
  const slash = text.indexOf('/');
  return slash < 0 ? { namespace: undefined, host: text } : { namespace: text.slice(0, slash), host: text.slice(slash + 1) };
}

export function isHostOrWildcard(host: string): boolean {
  return isHostName(host) || isWildcardHost(host);
}
