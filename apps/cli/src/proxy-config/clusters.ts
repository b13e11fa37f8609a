import type { DumpedResource } from './config-dump.ts';
import { parseClusterName, sourceResource } from './istio-names.ts';
import { textAt } from './json.ts';
import type { Section, SectionFilter } from './section.ts';

/** `proxy-config clusters`, with istioctl's columns. */
export const clusterSection: Section = {
  header: ['SERVICE FQDN', 'PORT', 'SUBSET', 'DIRECTION', 'TYPE', 'DESTINATION RULE'],
  select: ({ dump }, filter) => [...dump.clusters].sort(byName).filter(({ view }) => isWanted(textAt(view, 'name'), filter)),
  rows: ({ view }) => {
    const { host, port, subset, direction } = parseClusterName(textAt(view, 'name'));
    return [[host, port, subset, direction, clusterType(view), sourceResource(view)]];
  },
};

function byName(a: DumpedResource, b: DumpedResource): number {
  const [x, y] = [parseClusterName(textAt(a.view, 'name')), parseClusterName(textAt(b.view, 'name'))];
  return x.host.localeCompare(y.host) || Number(x.port) - Number(y.port) || x.subset.localeCompare(y.subset);
}

function isWanted(name: string, filter: SectionFilter): boolean {
  const { host, port, subset, direction } = parseClusterName(name);
  if (filter.fqdn !== undefined && !host.includes(filter.fqdn)) return false;
  if (filter.port !== undefined && port !== String(filter.port)) return false;
  if (filter.subset !== undefined && subset !== filter.subset) return false;
  return filter.direction === undefined || direction === filter.direction;
}

// STATIC is protobuf's zero value, which JSON leaves out.
function clusterType(view: unknown): string {
  return textAt(view, 'type') || textAt(view, 'cluster_type', 'name') || 'STATIC';
}
