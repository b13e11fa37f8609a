import type { Endpoint } from '@mizzen/model';
import type { AddressSchema } from '@mizzen/xds-api/envoy/config/core/v3/address';
import type { ClusterLoadAssignmentSchema } from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint';
import type { LbEndpointSchema } from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint_components';
import type { Init } from '../messages.ts';
import { fittingWeights } from '../weights.ts';

/** The endpoints of one cluster, grouped by locality; localities and endpoints in a fixed order. */
export function loadAssignment(
  clusterName: string,
  endpoints: readonly Endpoint[],
  clusterId: string,
): Init<typeof ClusterLoadAssignmentSchema> {
  const localities = new Map<string, Endpoint[]>();
  for (const endpoint of endpoints) {
    const list = localities.get(endpoint.locality);
    if (list === undefined) localities.set(endpoint.locality, [endpoint]);
    else list.push(endpoint);
  }
  return {
    clusterName,
    endpoints: [...localities.keys()].sort().map((locality) => {
      const members = localities.get(locality) ?? [];
      const weights = fittingWeights(members.map(({ weight }) => Math.max(weight, 1)));
      const [region = '', zone = '', subZone = ''] = locality.split('/');
      return {
        ...(locality !== '' && { locality: { region, zone, subZone } }),
        lbEndpoints: members.map((endpoint, index) => lbEndpoint(endpoint, { weight: weights[index] ?? 1, clusterId })),
        loadBalancingWeight: weights.reduce((sum, weight) => sum + weight, 0),
      };
    }),
  };
}

function lbEndpoint(endpoint: Endpoint, { weight, clusterId }: { weight: number; clusterId: string }): Init<typeof LbEndpointSchema> {
  const { workload } = endpoint;
  const name = `${workload.name};${workload.namespace};${workload.canonicalService};${workload.canonicalRevision};${clusterId}`;
  return {
    hostIdentifier: { case: 'endpoint', value: { address: addressOf(endpoint.address, endpoint.port) } },
    metadata: {
      filterMetadata: {
        ...(endpoint.tlsMode === 'istio' && { 'envoy.transport_socket_match': { tlsMode: 'istio' } }),
        istio: { workload: name },
      },
    },
    loadBalancingWeight: weight,
  };
}

/** `unix:///path`, or IP or DNS name with a port. */
export function addressOf(address: string, port: number): Init<typeof AddressSchema> {
  if (address.startsWith('unix://')) return { address: { case: 'pipe', value: { path: address.slice('unix://'.length) } } };
  return { address: { case: 'socketAddress', value: { address, portSpecifier: { case: 'portValue', value: port } } } };
}
