import type { InboundService, ProxyView } from '@mizzen/model';
import { TrafficDirection } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { addressOf } from '../endpoint/load-assignment.ts';
import { ZERO_DURATION } from '../messages.ts';
import { inboundClusterName } from '../names.ts';
import { encodeResource, type TranslatedResource } from '../result.ts';
import { type InboundTarget, inboundChains } from './inbound-chains.ts';
import { httpInspector, tlsInspector } from './listener-filters.ts';

/** One listener for each port of the workload that its proxy binds, at the address where it waits for it. */
export function inboundListeners(view: ProxyView): TranslatedResource[] {
  return view.inbound.filter(({ isCaptured }) => !isCaptured).map((inbound) => inboundListener(view, inbound));
}

function inboundListener(view: ProxyView, inbound: InboundService): TranslatedResource {
  const name = `${inbound.bind}_${inbound.listenPort}`;
  const inspectors =
    inbound.mtls === 'disable' && inbound.protocol !== 'auto'
      ? []
      : [tlsInspector, ...(inbound.protocol === 'auto' ? [httpInspector] : [])];
  return encodeResource(ListenerSchema, name, {
    name,
    address: addressOf(inbound.bind, inbound.listenPort),
    trafficDirection: TrafficDirection.INBOUND,
    listenerFilters: inspectors,
    // A client that waits for the server's first byte must not be cut off while the inspectors wait for it.
    ...(inspectors.length > 0 && { listenerFiltersTimeout: ZERO_DURATION }),
    filterChains: inboundChains(view, inboundTarget(view, inbound)),
  });
}

export function inboundTarget(view: ProxyView, inbound: InboundService): InboundTarget {
  const { port, mtls } = inbound;
  return {
    protocol: inbound.protocol,
    mtls,
    port,
    cluster: inboundClusterName(port),
    statPrefix: `inbound_${inbound.bind}_${port}`,
    host: inbound.services[0]?.host ?? view.node.name,
  };
}
