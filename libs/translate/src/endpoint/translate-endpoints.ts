import { isIP } from 'node:net';
import { create, toBinary } from '@bufbuild/protobuf';
import { hasEndpointsInCluster, type Labels, labelsKey, type ProxyView, type ServiceEndpoints, selects } from '@mizzen/model';
import { ClusterLoadAssignmentSchema } from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint';
import { IdentityMemo } from '../memo.ts';
import { outboundClusterName, parseOutboundClusterName } from '../names.ts';
import { resourceOfBytes, type TranslatedResource, type TranslateResult } from '../result.ts';
import { loadAssignment } from './load-assignment.ts';

const translated = new IdentityMemo<Map<string, TranslatedResource>>();

/**
 * Endpoints of the clusters named. A name of no cluster that this proxy may know gives nothing; a known one without endpoints gives an
 * empty assignment, so that requests fail at once and do not wait.
 */
export function translateEndpoints(view: ProxyView, clusterNames: Iterable<string>): TranslateResult {
  const resources: TranslatedResource[] = [];
  for (const name of clusterNames) {
    const resource = endpointsOfCluster(view, name);
    if (resource !== undefined) resources.push(resource);
  }
  return { resources, diagnostics: [] };
}

function endpointsOfCluster(view: ProxyView, name: string): TranslatedResource | undefined {
  const target = parseOutboundClusterName(name);
  const service = target && view.outboundScope.servicesByHost.get(target.host);
  const endpoints = service && view.endpoints.get(service);
  if (target === undefined || service === undefined || endpoints === undefined || hasEndpointsInCluster(service)) return undefined;
  const labels =
    target.subset === ''
      ? {}
      : view.outboundScope.destinationRule(service.host)?.subsets.find((subset) => subset.name === target.subset)?.labels;
  if (labels === undefined && !hasSubset(view, service.host, target.subset)) return undefined;
  return assignment(endpoints, { ...target, labels: labels ?? {}, clusterId: view.node.clusterId });
}

function hasSubset(view: ProxyView, host: string, subset: string): boolean {
  return view.outboundScope.destinationRule(host)?.subsets.some(({ name }) => name === subset) ?? false;
}

function assignment(
  endpoints: ServiceEndpoints,
  target: { host: string; port: number; subset: string; labels: Labels; clusterId: string },
): TranslatedResource {
  const byName = translated.get([endpoints], () => new Map());
  const name = outboundClusterName(target);
  const key = `${name} ${target.clusterId} ${labelsKey(target.labels)}`;
  let resource = byName.get(key);
  if (resource === undefined) {
    const members = (endpoints.byPort.get(target.port) ?? []).filter(
      (endpoint) => isAddress(endpoint.address) && selects(target.labels, endpoint.labels),
    );
    resource = resourceOfBytes(
      ClusterLoadAssignmentSchema,
      name,
      toBinary(ClusterLoadAssignmentSchema, create(ClusterLoadAssignmentSchema, loadAssignment(name, members, target.clusterId))),
    );
    byName.set(key, resource);
  }
  return resource;
}

/** An assignment takes IP addresses and sockets only: one name in it and Envoy refuses all of it. */
export function isAddress(address: string): boolean {
  return address.startsWith('unix://') || isIP(address) !== 0;
}
