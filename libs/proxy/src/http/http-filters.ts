import { compileFault, type Field, refuseFields } from '@mizzen/matching';
import { unpackAny } from '@mizzen/xds-api';
import { HTTPFaultSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/fault/v3/fault';
import { RouterSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import type {
  HttpConnectionManager,
  HttpFilter as HttpFilterMessage,
} from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { ConfigSchema as PeerMetadataSchema } from '@mizzen/xds-api/io/istio/http/peer_metadata/config';
import type { ProxyContext } from '../contract.ts';
import { CorsFilter } from './cors-filter.ts';
import { FaultFilter } from './fault-filter.ts';
import type { HttpFilter } from './http-filter.ts';
import { type PeerMetadataConfig, PeerMetadataFilter, peerHeaderLines } from './peer-metadata-filter.ts';

/** The filters in front of the router, in order, and what two of them say to the router. */
export interface CompiledFilters {
  readonly filters: readonly HttpFilter[];
  readonly suppressesEnvoyHeaders: boolean;
  readonly peerMetadata: PeerMetadataConfig | undefined;
}

/** Filters are told apart by the type of their configuration, as Envoy does; the router must be the last. */
export function compileHttpFilters(message: HttpConnectionManager, local: ProxyContext['localPeer'], field: Field): CompiledFilters {
  const builder = new FilterChainBuilder(local);
  message.httpFilters.forEach((filter, index) => {
    const at = field.child('http_filters', index);
    if (filter.disabled) return;
    const isLast = index === message.httpFilters.length - 1;
    try {
      builder.add(filter, isLast, at);
    } catch (thrown) {
      at.child('typed_config').reject(`does not decode: ${String(thrown)}`);
    }
  });
  if (!builder.hasRouter) field.child('http_filters').reject('must end with the router filter (envoy.filters.http.router)');
  return builder;
}

class FilterChainBuilder implements CompiledFilters {
  readonly filters: HttpFilter[] = [];
  suppressesEnvoyHeaders = false;
  peerMetadata: PeerMetadataConfig | undefined;
  hasRouter = false;
  readonly #local: ProxyContext['localPeer'];

  constructor(local: ProxyContext['localPeer']) {
    this.#local = local;
  }

  add(message: HttpFilterMessage, isLast: boolean, field: Field): void {
    if (message.configType.case !== 'typedConfig') {
      field.reject('needs a typed_config; other ways to configure a filter are not supported');
      return;
    }
    const config = message.configType.value;
    const type = config.typeUrl.slice(config.typeUrl.lastIndexOf('/') + 1);
    switch (type) {
      case 'envoy.extensions.filters.http.router.v3.Router': {
        const router = unpackAny(config, RouterSchema);
        if (router !== undefined)
          refuseFields(field.child('typed_config'), router, [
            'upstreamLog',
            'upstreamLogOptions',
            'strictCheckHeaders',
            'respectExpectedRqTimeout',
            'upstreamHttpFilters',
          ]);
        if (!isLast) field.reject('the router must be the last filter');
        this.hasRouter = true;
        this.suppressesEnvoyHeaders = router?.suppressEnvoyHeaders ?? false;
        return;
      }
      case 'envoy.extensions.filters.http.fault.v3.HTTPFault': {
        const fault = unpackAny(config, HTTPFaultSchema);
        if (fault !== undefined) this.filters.push(new FaultFilter(compileFault(fault, field.child('typed_config'))));
        return;
      }
      case 'envoy.extensions.filters.http.cors.v3.Cors':
        this.filters.push(new CorsFilter());
        return;
      case 'io.istio.http.peer_metadata.Config':
        this.#addPeerMetadata(message, field);
        return;
      case 'stats.PluginConfig':
        // Istio's metrics are made when the stream ends, by the observers.
        return;
      default:
        if (!message.isOptional)
          field.reject(`"${message.name}" (${type}) is a filter that this proxy does not have; mark it is_optional or remove it`);
    }
  }

  #addPeerMetadata(message: HttpFilterMessage, field: Field): void {
    const config = message.configType.case === 'typedConfig' ? unpackAny(message.configType.value, PeerMetadataSchema) : undefined;
    if (config === undefined) return;
    const byHeaders = (methods: readonly { readonly methodSpecifier: { readonly case: string | undefined } }[]): boolean =>
      methods.some((method) => method.methodSpecifier.case === 'istioHeaders');
    refuseFields(field.child('typed_config'), config, ['sharedWithUpstream', 'additionalLabels']);
    this.peerMetadata = {
      readsDownstream: byHeaders(config.downstreamDiscovery),
      readsUpstream: byHeaders(config.upstreamDiscovery),
      tellsDownstream: byHeaders(config.downstreamPropagation),
      tellsUpstream: byHeaders(config.upstreamPropagation),
      skipsExternal: config.upstreamPropagation.some(
        ({ methodSpecifier }) => methodSpecifier.case === 'istioHeaders' && methodSpecifier.value.skipExternalClusters,
      ),
      headerLines: peerHeaderLines(this.#local),
    };
    this.filters.push(new PeerMetadataFilter(this.peerMetadata, this.#local));
  }
}
