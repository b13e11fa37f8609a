import type { InboundService, ProxyView } from '@mizzen/model';
import { Cluster_DiscoveryType, ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { addressOf } from '../endpoint/load-assignment.ts';
import { inboundClusterName } from '../names.ts';
import { encodeResource, type TranslatedResource } from '../result.ts';
import { connectionPoolFields } from './connection-pool.ts';

/** One cluster for each port of the workload: the application behind the proxy. */
export function inboundClusters(view: ProxyView): TranslatedResource[] {
  return view.inbound.map((inbound) => inboundCluster(view, inbound));
}

function inboundCluster(view: ProxyView, inbound: InboundService): TranslatedResource {
  const name = inboundClusterName(inbound.port);
  const endpoint = { address: applicationAddress(inbound.defaultEndpoint, inbound.port) };
  return encodeResource(ClusterSchema, name, {
    name,
    ...connectionPoolFields(undefined, { protocol: inbound.protocol, meshConnectTimeout: view.mesh.connectTimeout }),
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC },
    loadAssignment: { clusterName: name, endpoints: [{ lbEndpoints: [{ hostIdentifier: { case: 'endpoint', value: endpoint } }] }] },
    metadata: {
      filterMetadata: {
        istio: { services: inbound.services.map(({ host, name: service, namespace }) => ({ host, name: service, namespace })) },
      },
    },
  });
}

/** `unix:///path`, `127.0.0.1:5000` or `[::1]:5000`. Anything else is the port itself on the loopback address. */
function applicationAddress(text: string, port: number) {
  const [, host, number] = /^\[?([^[\]]+?)\]?:(\d+)$/.exec(text) ?? [];
  if (text.startsWith('unix://')) return addressOf(text, 0);
  return host !== undefined && number !== undefined ? addressOf(host, Number(number)) : addressOf('127.0.0.1', port);
}
