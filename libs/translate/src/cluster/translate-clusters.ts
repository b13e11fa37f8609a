import type { OutboundScope, ProxyView } from '@mizzen/model';
import { IdentityMemo } from '../memo.ts';
import { missingRateLimitCluster } from '../rate-limit/cluster.ts';
import type { TranslatedResource, TranslateResult } from '../result.ts';
import { inboundClusters } from './inbound-clusters.ts';
import { serviceClusters } from './service-clusters.ts';
import { specialClusters } from './special-clusters.ts';

const outbound = new IdentityMemo<readonly TranslatedResource[]>();

/** All clusters of a proxy: those of its outbound scope, which it shares with others, then those of its own ports. */
export function translateClusters(view: ProxyView): TranslateResult {
  const shared = translateOutboundClusters(view);
  return { resources: view.inbound.length === 0 ? shared : [...shared, ...inboundClusters(view)], diagnostics: [] };
}

/** The part of a proxy's clusters that is equal for its whole scope; the same array for the same scope. */
export function translateOutboundClusters(view: Pick<ProxyView, 'outboundScope' | 'endpoints'>): readonly TranslatedResource[] {
  const scope: OutboundScope = view.outboundScope;
  return outbound.get([scope], () => [
    ...scope.services.flatMap((service) => serviceClusters(scope, service, view.endpoints.get(service))),
    ...specialClusters(scope),
    ...missingRateLimitCluster(scope),
  ]);
}
