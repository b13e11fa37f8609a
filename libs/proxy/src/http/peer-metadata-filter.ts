import { type Field, refuseFields } from '@mizzen/matching';
import type { Config } from '@mizzen/xds-api/io/istio/http/peer_metadata/config';
import type { ProxyContext, TlsInfo, UpstreamCluster } from '../contract.ts';
import { SEEN } from './headers.ts';
import type { FilterDecision, HttpFilter } from './http-filter.ts';
import type { HttpStream } from './http-stream.ts';
import type { ResponseHead } from './stream.ts';

const METADATA = 'x-envoy-peer-metadata';
const ID = 'x-envoy-peer-metadata-id';

/** What the connection manager does with peer metadata; compiled from io.istio.http.peer_metadata.Config. */
export interface PeerMetadataConfig {
  readonly readsDownstream: boolean;
  readonly readsUpstream: boolean;
  readonly tellsDownstream: boolean;
  readonly tellsUpstream: boolean;
  /** Only to upstreams inside of the mesh: `skip_external_clusters`. */
  readonly skipsExternal: boolean;
  /** Ours, as lines of a head: added by the router to requests that go to a peer with an identity. */
  readonly headerLines: string;
}

/**
 * Only exchange by headers is done; rejects what is shared in other ways. `workload_discovery`, which Istio always names,
 * finds nothing, as in Istio's proxy where METADATA_DISCOVERY is off (the default).
 */
export function compilePeerMetadata(config: Config, local: ProxyContext['localPeer'], field: Field): PeerMetadataConfig {
  const byHeaders = (methods: readonly { readonly methodSpecifier: { readonly case: string | undefined } }[]): boolean =>
    methods.some((method) => method.methodSpecifier.case === 'istioHeaders');
  refuseFields(field, config, ['sharedWithUpstream', 'additionalLabels']);
  return {
    readsDownstream: byHeaders(config.downstreamDiscovery),
    readsUpstream: byHeaders(config.upstreamDiscovery),
    tellsDownstream: byHeaders(config.downstreamPropagation),
    tellsUpstream: byHeaders(config.upstreamPropagation),
    skipsExternal: config.upstreamPropagation.some(
      ({ methodSpecifier }) => methodSpecifier.case === 'istioHeaders' && methodSpecifier.value.skipExternalClusters,
    ),
    headerLines: peerHeaderLines(local),
  };
}

/**
 * The two proxies of a hop tell each other whose they are, by headers that no application sees.
 * Source: istio/proxy peer_metadata filter (1.32 dev).
 */
export class PeerMetadataFilter implements HttpFilter {
  readonly #config: PeerMetadataConfig;
  readonly #local: ProxyContext['localPeer'];

  constructor(config: PeerMetadataConfig, local: ProxyContext['localPeer']) {
    this.#config = config;
    this.#local = local;
  }

  onRequest(stream: HttpStream): FilterDecision {
    const { info } = stream;
    const { headers } = info.head;
    if ((headers.seen & SEEN.peerMetadata) === 0) return 'continue';
    const value = headers.get(METADATA);
    headers.remove(METADATA);
    headers.remove(ID);
    // Only a peer that proved an identity is believed.
    if (this.#config.readsDownstream && value !== undefined && info.isDownstreamMtls) {
      info.peer = stream.runtime.decodePeerMetadata(value);
      stream.exchangesPeerMetadata = true;
    }
    return 'continue';
  }

  onResponse(stream: HttpStream, head: ResponseHead): void {
    const { headers } = head;
    if ((headers.seen & SEEN.peerMetadata) !== 0) {
      const value = headers.get(METADATA);
      headers.remove(METADATA);
      headers.remove(ID);
      if (this.#config.readsUpstream && value !== undefined && stream.info.upstreamPeerUriSan !== '')
        stream.info.peer = stream.runtime.decodePeerMetadata(value) ?? stream.info.peer;
    }
    if (!this.#config.tellsDownstream || !stream.exchangesPeerMetadata) return;
    headers.push(ID, this.#local.nodeId);
    headers.push(METADATA, this.#local.metadataHeader);
  }
}

/** Whether an upstream is told who we are: a peer of the mesh, which proved it, in a cluster that is not marked as external. */
export function isToldUpstream(
  config: PeerMetadataConfig | undefined,
  upstream: { readonly cluster: Pick<UpstreamCluster, 'isExternal'>; readonly tls: TlsInfo | undefined },
): boolean {
  if (config?.tellsUpstream !== true || (config.skipsExternal && upstream.cluster.isExternal)) return false;
  return upstream.tls?.peer?.uriSans.some((name) => name.startsWith('spiffe://')) ?? false;
}

export function peerHeaderLines(local: ProxyContext['localPeer']): string {
  return `${ID}: ${local.nodeId}\r\n${METADATA}: ${local.metadataHeader}\r\n`;
}
