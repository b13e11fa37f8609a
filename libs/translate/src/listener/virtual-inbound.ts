import type { InboundService, PassthroughPort, ProxyView } from '@mizzen/model';
import { TrafficDirection } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import type { FilterChainSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { type Init, optionalDuration, ZERO_DURATION } from '../messages.ts';
import { BLACK_HOLE_CLUSTER, INBOUND_PASSTHROUGH_CLUSTER, VIRTUAL_INBOUND } from '../names.ts';
import { encodeResource, type TranslatedResource } from '../result.ts';
import { type InboundTarget, inboundChains } from './inbound-chains.ts';
import { inboundTarget } from './inbound-listeners.ts';
import { exceptAtPorts, httpInspector, type ListenerFilterInit, originalDestination, tlsInspector } from './listener-filters.ts';
import { tcpFilters } from './tcp-filters.ts';
import { wildcardAddresses } from './wildcards.ts';

type FilterChainInit = Init<typeof FilterChainSchema>;

const DEFAULT_PORT = 15_006;
/** Source: istio pilot/pkg/model/context.go VirtualInboundCatchAllHTTPFilterChainName (1.32 dev). */
const PASSTHROUGH_CHAINS = { http: 'virtualInbound-catchall-http', tcp: VIRTUAL_INBOUND };

/**
 * The listener that the network leads all connections for the workload to: chains for each port that a service has, and for the rest.
 * Source: istio pilot/pkg/networking/core/listener_inbound.go inboundVirtualListener (1.32 dev).
 */
export function virtualInbound(view: ProxyView): TranslatedResource {
  const port = view.mesh.proxyInboundListenPort || DEFAULT_PORT;
  const captured = view.inbound.filter(({ isCaptured }) => isCaptured).map((inbound) => portTarget(view, inbound));
  return encodeResource(ListenerSchema, VIRTUAL_INBOUND, {
    name: VIRTUAL_INBOUND,
    ...wildcardAddresses(view.node.ipFamily, port),
    trafficDirection: TrafficDirection.INBOUND,
    useOriginalDst: false,
    listenerFilters: listenerFilters(captured, port),
    listenerFiltersTimeout: optionalDuration(view.mesh.protocolDetectionTimeout) ?? ZERO_DURATION,
    continueOnListenerFiltersTimeout: true,
    filterChains: [
      blackHole(view, port),
      ...view.inboundPassthrough.flatMap((passthrough) => passthroughChains(view, passthrough)),
      ...captured.flatMap((target) => inboundChains(view, target)),
    ],
  });
}

/** Only a port that is told apart by its first bytes waits for them. */
function listenerFilters(captured: readonly InboundTarget[], port: number): ListenerFilterInit[] {
  const declared = captured.filter(({ protocol }) => protocol !== 'auto');
  const plain = declared.filter(({ mtls }) => mtls === 'disable');
  return [
    originalDestination,
    exceptAtPorts(tlsInspector, [port, ...plain.map((inbound) => inbound.port)]),
    exceptAtPorts(httpInspector, [port, ...declared.map((inbound) => inbound.port)]),
  ];
}

/** A connection to the listener's own port would lead back to it for ever. */
function blackHole(view: ProxyView, port: number): FilterChainInit {
  return {
    name: `${VIRTUAL_INBOUND}-blackhole`,
    filterChainMatch: { destinationPort: port },
    filters: tcpFilters(view, { role: 'inbound', statPrefix: BLACK_HOLE_CLUSTER, targets: [{ cluster: BLACK_HOLE_CLUSTER, weight: 1 }] }),
  };
}

function passthroughChains(view: ProxyView, { port, mtls }: PassthroughPort): FilterChainInit[] {
  return inboundChains(view, {
    protocol: 'auto',
    mtls,
    cluster: INBOUND_PASSTHROUGH_CLUSTER,
    statPrefix: INBOUND_PASSTHROUGH_CLUSTER,
    host: '',
    port: 0,
    ...(port !== 0 && { destinationPort: port }),
    names: PASSTHROUGH_CHAINS,
  });
}

function portTarget(view: ProxyView, inbound: InboundService): InboundTarget {
  const name = `${inbound.bind}_${inbound.port}`;
  return { ...inboundTarget(view, inbound), destinationPort: inbound.port, names: { http: name, tcp: name } };
}
