import type { OutboundScope } from '@mizzen/model';
import { Cluster_DiscoveryType, ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { IdentityMemo } from '../memo.ts';
import { BLACK_HOLE_CLUSTER, CONNECT_HTTP, PASSTHROUGH_CLUSTER } from '../names.ts';
import { encodeResource, type TranslatedResource } from '../result.ts';
import { connectionPoolFields } from './connection-pool.ts';
import { originalDestinationFields } from './load-balancer.ts';

const translated = new IdentityMemo<Map<string, readonly TranslatedResource[]>>();

/** The clusters that belong to no service: nowhere, where the client wanted, and back into the proxy after a CONNECT. */
export function specialClusters(scope: OutboundScope): readonly TranslatedResource[] {
  const variants = translated.get([scope.mesh], () => new Map());
  const variant = `${scope.type} ${scope.isCaptured}`;
  let resources = variants.get(variant);
  if (resources === undefined) {
    resources =
      scope.type === 'router'
        ? [blackHole(scope)]
        : [blackHole(scope), passthrough(scope), ...(scope.isCaptured ? [] : [connectHttp(scope)])];
    variants.set(variant, resources);
  }
  return resources;
}

function blackHole(scope: OutboundScope): TranslatedResource {
  return encodeResource(ClusterSchema, BLACK_HOLE_CLUSTER, {
    name: BLACK_HOLE_CLUSTER,
    ...defaults(scope),
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC },
  });
}

function passthrough(scope: OutboundScope): TranslatedResource {
  return encodeResource(ClusterSchema, PASSTHROUGH_CLUSTER, {
    name: PASSTHROUGH_CLUSTER,
    ...defaults(scope),
    ...originalDestinationFields(scope.isCaptured),
  });
}

function connectHttp(scope: OutboundScope): TranslatedResource {
  const address = {
    case: 'envoyInternalAddress',
    value: { addressNameSpecifier: { case: 'serverListenerName', value: CONNECT_HTTP } },
  } as const;
  return encodeResource(ClusterSchema, CONNECT_HTTP, {
    name: CONNECT_HTTP,
    ...defaults(scope),
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC },
    loadAssignment: {
      clusterName: CONNECT_HTTP,
      endpoints: [{ lbEndpoints: [{ hostIdentifier: { case: 'endpoint', value: { address: { address } } } }] }],
    },
  });
}

function defaults(scope: OutboundScope) {
  return connectionPoolFields(undefined, { protocol: 'tcp', meshConnectTimeout: scope.mesh.connectTimeout });
}
