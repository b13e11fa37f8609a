import { at, listAt, textAt, withProtoNames } from './json.ts';
import type { Section } from './section.ts';

/** `proxy-config endpoints`: one row for each endpoint of each cluster, from /clusters?format=json. */
export const endpointSection: Section = {
  header: ['ENDPOINT', 'STATUS', 'OUTLIER CHECK', 'CLUSTER'],
  select: ({ clusterStatuses }, filter) => {
    const endpoints = listAt(withProtoNames(clusterStatuses), 'cluster_statuses').flatMap((cluster) =>
      listAt(cluster, 'host_statuses').map((host) => ({ cluster: textAt(cluster, 'name'), host })),
    );
    return endpoints
      .filter(({ cluster, host }) => {
        const { address, port } = addressOf(host);
        if (filter.cluster !== undefined && cluster !== filter.cluster) return false;
        if (filter.fqdn !== undefined && !cluster.includes(filter.fqdn)) return false;
        if (filter.address !== undefined && address !== filter.address) return false;
        if (filter.status !== undefined && statusOf(host).toLowerCase() !== filter.status.toLowerCase()) return false;
        return filter.port === undefined || port === String(filter.port);
      })
      .sort((a, b) => a.cluster.localeCompare(b.cluster))
      .map((view) => ({ view, raw: view }));
  },
  rows: ({ view }) => {
    const { cluster, host } = view as { cluster: string; host: unknown };
    const { address, port } = addressOf(host);
    return [[port === '' ? address : `${address}:${port}`, statusOf(host), outlierCheckOf(host), cluster]];
  },
};

function addressOf(host: unknown): { address: string; port: string } {
  const socket = at(host, 'address', 'socket_address');
  if (socket !== undefined) return { address: textAt(socket, 'address'), port: textAt(socket, 'port_value') };
  const pipe = textAt(host, 'address', 'pipe', 'path');
  if (pipe !== '') return { address: `unix://${pipe}`, port: '' };
  return { address: `internal://${textAt(host, 'address', 'envoy_internal_address', 'server_listener_name')}`, port: '' };
}

// Absent in JSON where it is protobuf's zero value, UNKNOWN, which Envoy treats as healthy.
function statusOf(host: unknown): string {
  return textAt(host, 'health_status', 'eds_health_status') || 'HEALTHY';
}

function outlierCheckOf(host: unknown): string {
  return textAt(host, 'health_status', 'failed_outlier_check') === 'true' ? 'FAILED' : 'OK';
}
