import type { Any } from '@bufbuild/protobuf/wkt';
import type { ClientKind } from '@mizzen/model';
import { MetadataExchangeSchema } from '@mizzen/xds-api/envoy/tcp/metadataexchange/config/metadata_exchange';
import { any } from './messages.ts';

/** The filter by which the two proxies of a TCP connection tell each other whose they are. */
export const METADATA_EXCHANGE = 'istio.metadata_exchange';
/** The ALPN protocol by which they agree to it. */
export const PEER_EXCHANGE = 'istio-peer-exchange';

/** For a listener or a cluster. Source: istio pilot/pkg/xds/filters/filters.go TCPListenerMx, TCPClusterMx (1.32 dev). */
export function metadataExchange(): Any {
  return any(MetadataExchangeSchema, { protocol: PEER_EXCHANGE });
}

/** What stands before other ALPN protocols of connections that carry bytes. A stock Envoy has no such filter, so it must not agree to it. */
export function peerExchangeAlpn(client: ClientKind): string[] {
  return client === 'mizzen' ? [PEER_EXCHANGE] : [];
}
