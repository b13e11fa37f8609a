import { type OutboundScope, servicePort } from '@mizzen/model';
import { Cluster_DiscoveryType, ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { connectionPoolFields } from '../cluster/connection-pool.ts';
import { outboundClusterName } from '../names.ts';
import { encodeResource, type TranslatedResource } from '../result.ts';

/**
 * A cluster without endpoints in place of a rate limit service that the mesh does not have: proxies refuse filters that name no cluster, and
 * a rule says itself what becomes of requests while nobody counts.
 */
export function missingRateLimitCluster(scope: OutboundScope): TranslatedResource[] {
  const { rateLimitService: wanted, servicesByHost } = scope;
  if (wanted === undefined) return [];
  const service = servicesByHost.get(wanted.host);
  if (service !== undefined && servicePort(service, wanted.port) !== undefined) return [];
  const name = outboundClusterName(wanted);
  return [
    encodeResource(ClusterSchema, name, {
      name,
      ...connectionPoolFields(undefined, { protocol: 'grpc', meshConnectTimeout: scope.mesh.connectTimeout }),
      clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC },
    }),
  ];
}
