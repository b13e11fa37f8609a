import type { ProxyView } from '@mizzen/model';
import type { TranslatedResource, TranslateResult } from '../result.ts';
import { capturedOutboundListeners } from './captured-outbound.ts';
import { gatewayListeners } from './gateway-listeners.ts';
import { inboundListeners } from './inbound-listeners.ts';
import { boundEgressListeners, outboundListeners } from './outbound-listeners.ts';
import { virtualInbound } from './virtual-inbound.ts';
import { virtualOutbound } from './virtual-outbound.ts';

/** All listeners of a proxy: of a gateway, of a workload whose traffic the network leads to its proxy, or of one that names its proxy. */
export function translateListeners(view: ProxyView): TranslateResult {
  if (view.node.type === 'router') return { resources: gatewayListeners(view), diagnostics: [] };
  const resources = view.outboundScope.isCaptured ? capturedListeners(view) : [...inboundListeners(view), ...outboundListeners(view)];
  return { resources, diagnostics: [] };
}

/** Beside those that the network leads to, a Sidecar may ask for ports that are bound (`captureMode: NONE`). */
function capturedListeners(view: ProxyView): TranslatedResource[] {
  return [
    virtualOutbound(view),
    ...capturedOutboundListeners(view),
    ...boundEgressListeners(view),
    virtualInbound(view),
    ...inboundListeners(view),
  ];
}
