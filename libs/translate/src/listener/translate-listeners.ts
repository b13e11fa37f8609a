import type { ProxyView } from '@mizzen/model';
import type { TranslateResult } from '../result.ts';
import { gatewayListeners } from './gateway-listeners.ts';
import { inboundListeners } from './inbound-listeners.ts';
import { outboundListeners } from './outbound-listeners.ts';

/** All listeners of a proxy. Capture by the network (virtualOutbound, virtualInbound) would stand beside these. */
export function translateListeners(view: ProxyView): TranslateResult {
  const resources = view.node.type === 'router' ? gatewayListeners(view) : [...inboundListeners(view), ...outboundListeners(view)];
  return { resources, diagnostics: [] };
}
