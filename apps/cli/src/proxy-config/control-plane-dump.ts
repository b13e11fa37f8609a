import type { DumpedResource } from './config-dump.ts';
import { at, listAt, textAt, withProtoNames } from './json.ts';
import type { ProxyDump } from './section.ts';

/**
 * What a control plane has for one proxy (its /debug/config_dump), in the shape of what a proxy says of itself. It knows neither the
 * bootstrap nor a secret, no address behind a DNS name, and of an endpoint's health only what it told the proxy.
 */
export function readControlPlaneDump(answer: unknown): ProxyDump {
  const clusters = resourcesOf(answer, 'CDS');
  return {
    dump: {
      bootstrap: undefined,
      clusters,
      listeners: resourcesOf(answer, 'LDS'),
      routes: resourcesOf(answer, 'RDS'),
      secrets: [],
    },
    clusterStatuses: { cluster_statuses: clusterStatuses(clusters, resourcesOf(answer, 'EDS')) },
  };
}

function resourcesOf(answer: unknown, type: string): DumpedResource[] {
  return listAt(answer, 'configs')
    .filter((config) => at(config, 'type') === type)
    .flatMap((config) => listAt(config, 'resources'))
    .map((entry) => at(entry, 'resource'))
    .map((raw) => ({ raw, view: withProtoNames(raw) }));
}

/** As a proxy's /clusters: the endpoints of each cluster, be they discovered or part of the cluster itself. */
function clusterStatuses(clusters: readonly DumpedResource[], discovered: readonly DumpedResource[]): unknown[] {
  const assignments = new Map(discovered.map(({ view }) => [textAt(view, 'cluster_name'), view]));
  return clusters.map(({ view }) => {
    const name = textAt(view, 'name');
    const serviceName = textAt(view, 'eds_cluster_config', 'service_name') || name;
    const assignment = at(view, 'load_assignment') ?? assignments.get(serviceName);
    const endpoints = listAt(assignment, 'endpoints').flatMap((locality) => listAt(locality, 'lb_endpoints'));
    return {
      name,
      host_statuses: endpoints.map((endpoint) => ({
        address: at(endpoint, 'endpoint', 'address'),
        health_status: { eds_health_status: textAt(endpoint, 'health_status') || 'HEALTHY' },
      })),
    };
  });
}
