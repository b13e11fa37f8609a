import type { ProxyView } from '@mizzen/model';
import { TrafficDirection } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import type { FilterSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import type { Init } from '../messages.ts';
import { BLACK_HOLE_CLUSTER, PASSTHROUGH_CLUSTER, VIRTUAL_OUTBOUND } from '../names.ts';
import { encodeResource, type TranslatedResource } from '../result.ts';
import { originalDestination } from './listener-filters.ts';
import { tcpFilters } from './tcp-filters.ts';
import { wildcardAddresses } from './wildcards.ts';

const DEFAULT_PORT = 15_001;

/**
 * The listener that the network leads all connections of the workload to. It hands them to the listener of the address that they were
 * for; what has none goes where it wanted, or nowhere.
 * Source: istio pilot/pkg/networking/core/listener_builder.go buildVirtualOutboundListener (1.32 dev).
 */
export function virtualOutbound(view: ProxyView): TranslatedResource {
  const port = view.mesh.proxyListenPort || DEFAULT_PORT;
  return encodeResource(ListenerSchema, VIRTUAL_OUTBOUND, {
    name: VIRTUAL_OUTBOUND,
    ...wildcardAddresses(view.node.ipFamily, port),
    trafficDirection: TrafficDirection.OUTBOUND,
    useOriginalDst: true,
    listenerFilters: [originalDestination],
    filterChains: [
      // Who calls the port itself would be led back to it for ever.
      {
        name: `${VIRTUAL_OUTBOUND}-blackhole`,
        filterChainMatch: { destinationPort: port },
        filters: filtersTo(view, BLACK_HOLE_CLUSTER),
      },
      { name: `${VIRTUAL_OUTBOUND}-catchall-tcp`, filters: unknownDestinationFilters(view) },
    ],
  });
}

/** What becomes of connections to addresses that the mesh does not know. */
export function unknownDestinationFilters(view: ProxyView): Init<typeof FilterSchema>[] {
  return filtersTo(view, view.outboundScope.isRegistryOnly ? BLACK_HOLE_CLUSTER : PASSTHROUGH_CLUSTER);
}

function filtersTo(view: ProxyView, cluster: string): Init<typeof FilterSchema>[] {
  return tcpFilters(view, { role: 'outbound', statPrefix: cluster, targets: [{ cluster, weight: 1 }] });
}
