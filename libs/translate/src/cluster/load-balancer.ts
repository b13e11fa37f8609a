import { Cluster_DiscoveryType, Cluster_LbPolicy, type ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import type { Init } from '../messages.ts';
import type { PortPolicy } from './traffic-policy.ts';

type ClusterInit = Init<typeof ClusterSchema>;

/** Istio's default, which hashes evenly over few endpoints. Source: istio cluster_traffic_policy.go (1.32 dev). */
const DEFAULT_MINIMUM_RING_SIZE = 1024;
/** Envoy refuses more. Source: Cluster.RingHashLbConfig (1.40). */
const MAX_RING_SIZE = 8_388_608;

const SIMPLE: Readonly<Record<string, Cluster_LbPolicy>> = {
  ROUND_ROBIN: Cluster_LbPolicy.ROUND_ROBIN,
  RANDOM: Cluster_LbPolicy.RANDOM,
  LEAST_CONN: Cluster_LbPolicy.LEAST_REQUEST,
  LEAST_REQUEST: Cluster_LbPolicy.LEAST_REQUEST,
  UNSPECIFIED: Cluster_LbPolicy.LEAST_REQUEST,
};

/** How an endpoint is chosen. PASSTHROUGH makes the cluster go where the client wanted. */
export function loadBalancerFields(policy: PortPolicy): ClusterInit {
  const settings = policy.loadBalancer;
  if (settings?.consistentHash !== undefined) return consistentHashFields(settings.consistentHash);
  return { lbPolicy: SIMPLE[settings?.simple ?? 'UNSPECIFIED'] ?? Cluster_LbPolicy.LEAST_REQUEST };
}

function consistentHashFields(hash: NonNullable<NonNullable<PortPolicy['loadBalancer']>['consistentHash']>): ClusterInit {
  if (hash.maglev !== undefined) {
    const { tableSize } = hash.maglev;
    return {
      lbPolicy: Cluster_LbPolicy.MAGLEV,
      ...(tableSize !== undefined && { lbConfig: { case: 'maglevLbConfig', value: { tableSize: BigInt(tableSize) } } }),
    };
  }
  const size = hash.ringHash?.minimumRingSize ?? hash.minimumRingSize ?? DEFAULT_MINIMUM_RING_SIZE;
  return {
    lbPolicy: Cluster_LbPolicy.RING_HASH,
    lbConfig: { case: 'ringHashLbConfig', value: { minimumRingSize: BigInt(Math.min(size, MAX_RING_SIZE)) } },
  };
}

export function isPassthrough(policy: PortPolicy): boolean {
  return policy.loadBalancer?.simple === 'PASSTHROUGH';
}

/**
 * A cluster that connects to the address that the client wanted: the captured one, or, behind the explicit proxy, the one that the
 * request names. `port`: another than the one that the client wanted.
 */
export function originalDestinationFields(isCaptured: boolean, port?: number): ClusterInit {
  const settings = {
    ...(!isCaptured && { useHttpHeader: true, httpHeaderName: ':authority' }),
    ...(port !== undefined && { upstreamPortOverride: port }),
  };
  return {
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.ORIGINAL_DST },
    lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
    ...(Object.keys(settings).length > 0 && { lbConfig: { case: 'originalDstLbConfig', value: settings } }),
  };
}
