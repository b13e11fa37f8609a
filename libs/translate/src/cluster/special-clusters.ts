import type { OutboundScope } from '@mizzen/model';
import { Cluster_DiscoveryType, ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { IdentityMemo } from '../memo.ts';
import { BLACK_HOLE_CLUSTER, CONNECT_HTTP, INBOUND_PASSTHROUGH_CLUSTER, PASSTHROUGH_CLUSTER } from '../names.ts';
import { encodeResource, type TranslatedResource } from '../result.ts';
import { connectionPoolFields } from './connection-pool.ts';
import { inboundBindConfig } from './inbound-clusters.ts';
import { originalDestinationFields } from './load-balancer.ts';

const translated = new IdentityMemo<Map<string, readonly TranslatedResource[]>>();

/**
 * The clusters that belong to no service: nowhere, where the client wanted (also to the workload's own ports), and back into the proxy
 * after a CONNECT.
 */
export function specialClusters(scope: OutboundScope): readonly TranslatedResource[] {
  const variants = translated.get([scope.mesh], () => new Map());
  const variant = `${scope.type} ${scope.isCaptured} ${scope.ipFamily}`;
  let resources = variants.get(variant);
  if (resources === undefined) {
    resources =
      scope.type === 'router'
        ? [blackHole(scope)]
        : [blackHole(scope), passthrough(scope), scope.isCaptured ? inboundPassthrough(scope) : connectHttp(scope)];
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
    ...passthroughFields(scope),
  });
}

function inboundPassthrough(scope: OutboundScope): TranslatedResource {
  return encodeResource(ClusterSchema, INBOUND_PASSTHROUGH_CLUSTER, {
    name: INBOUND_PASSTHROUGH_CLUSTER,
    ...passthroughFields(scope),
    upstreamBindConfig: inboundBindConfig(scope.ipFamily),
  });
}

/** In the protocol in which the client came, where that was seen. */
function passthroughFields(scope: OutboundScope) {
  const protocol = scope.isCaptured ? 'auto' : 'tcp';
  return {
    ...connectionPoolFields(undefined, { protocol, meshConnectTimeout: scope.mesh.connectTimeout, isCaptured: scope.isCaptured }),
    ...originalDestinationFields(scope.isCaptured),
  };
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
