import type { Field, FilterConfigCompiler, FilterConfigCompilers } from '@mizzen/matching';
import { resolveTypedStruct, unpackAny } from '@mizzen/xds-api';
import { RouterSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import type {
  HttpConnectionManager,
  HttpFilter as HttpFilterMessage,
} from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { ConfigSchema as PeerMetadataSchema } from '@mizzen/xds-api/io/istio/http/peer_metadata/config';
import type { HttpConnectionManagerOptions, ProxyContext } from '../contract.ts';
import { alpnFilter } from '../filters/alpn.ts';
import { bufferFilter } from '../filters/buffer.ts';
import { compressorFilter } from '../filters/compressor.ts';
import { corsFilter } from '../filters/cors.ts';
import { csrfFilter } from '../filters/csrf.ts';
import { decompressorFilter } from '../filters/decompressor.ts';
import { dynamicForwardProxyFilter } from '../filters/dynamic-forward-proxy.ts';
import { faultFilter } from '../filters/fault.ts';
import { grpcStatsFilter } from '../filters/grpc-stats.ts';
import { grpcWebFilter } from '../filters/grpc-web.ts';
import { headerMutationFilter } from '../filters/header-mutation.ts';
import { headerToMetadataFilter } from '../filters/header-to-metadata.ts';
import { healthCheckFilter } from '../filters/health-check.ts';
import { localRateLimitFilter } from '../filters/local-rate-limit.ts';
import { rateLimitFilter } from '../filters/rate-limit.ts';
import { authzFilter } from '../filters/security/authz-filter.ts';
import { jwtFilter } from '../filters/security/jwt-filter.ts';
import { rbacFilter } from '../filters/security/rbac-filter.ts';
import { setFilterStateFilter } from '../filters/set-filter-state.ts';
import { setMetadataFilter } from '../filters/set-metadata.ts';
import { statefulSessionFilter } from '../filters/stateful-session.ts';
import { type ChainedFilter, HttpFilterChain } from './filter-chain.ts';
import { filterEnvironment, type HttpFilterKind } from './http-filter.ts';
import { compilePeerMetadata, type PeerMetadataConfig, PeerMetadataFilter } from './peer-metadata-filter.ts';
import { compileRouterConfig, DEFAULT_ROUTER_CONFIG, type RouterConfig } from './router-config.ts';
import { wheelOf } from './timer-wheel.ts';

/** The filters that this proxy has, besides those that the chain itself knows (the router, peer metadata). A new one is added here. */
const KINDS: readonly HttpFilterKind[] = [
  alpnFilter,
  bufferFilter,
  compressorFilter,
  corsFilter,
  csrfFilter,
  decompressorFilter,
  dynamicForwardProxyFilter,
  faultFilter,
  grpcStatsFilter,
  grpcWebFilter,
  headerMutationFilter,
  headerToMetadataFilter,
  healthCheckFilter,
  jwtFilter,
  authzFilter,
  localRateLimitFilter,
  rateLimitFilter,
  rbacFilter,
  setFilterStateFilter,
  setMetadataFilter,
  statefulSessionFilter,
];

const KIND_BY_TYPE: ReadonlyMap<string, HttpFilterKind> = new Map(KINDS.map((kind) => [kind.type, kind]));

/** Filters that are accepted and make nothing, each with the reason; by the type of their configuration. */
const DONE_ELSEWHERE: ReadonlyMap<string, string> = new Map([
  ['stats.PluginConfig', "Istio's metrics are made when the stream ends, by the observers, which read this message"],
]);

/** The filters in front of the router, in order, and what two of them say to the router. */
export interface CompiledFilters {
  readonly filters: HttpFilterChain;
  readonly router: RouterConfig;
  readonly peerMetadata: PeerMetadataConfig | undefined;
}

/** Filters are told apart by the type of their configuration, as Envoy does; the router must be the last. */
export function compileHttpFilters(
  message: HttpConnectionManager,
  options: Pick<HttpConnectionManagerOptions, 'context' | 'listener'>,
  field: Field,
): CompiledFilters {
  const builder = new FilterChainBuilder(message.statPrefix, options);
  message.httpFilters.forEach((filter, index) => {
    const at = field.child('http_filters', index);
    try {
      builder.add(filter, index === message.httpFilters.length - 1, at);
    } catch (thrown) {
      at.child('typed_config').reject(`does not decode: ${String(thrown)}`);
    }
  });
  if (!builder.hasRouter) field.child('http_filters').reject('must end with the router filter (envoy.filters.http.router)');
  const { router, peerMetadata } = builder;
  return { filters: new HttpFilterChain(builder.filters), router, peerMetadata };
}

const compilersOf = new WeakMap<ProxyContext, FilterConfigCompilers>();

/** What routes say to the filters of this proxy: for `compileRouteConfiguration`. */
export function routeFilterConfigs(context: ProxyContext): FilterConfigCompilers {
  let compilers = compilersOf.get(context);
  if (compilers === undefined) {
    const environment = { context, wheel: wheelOf(context.clock) };
    compilers = new Map(
      KINDS.flatMap(({ perRoute }): readonly (readonly [string, FilterConfigCompiler])[] =>
        perRoute === undefined ? [] : [[perRoute.type, (config, field) => perRoute.compile(config, field, environment)]],
      ),
    );
    compilersOf.set(context, compilers);
  }
  return compilers;
}

class FilterChainBuilder {
  readonly filters: ChainedFilter[] = [];
  router: RouterConfig = DEFAULT_ROUTER_CONFIG;
  peerMetadata: PeerMetadataConfig | undefined;
  hasRouter = false;
  readonly #statPrefix: string;
  readonly #options: Pick<HttpConnectionManagerOptions, 'context' | 'listener'>;

  constructor(statPrefix: string, options: Pick<HttpConnectionManagerOptions, 'context' | 'listener'>) {
    this.#statPrefix = statPrefix;
    this.#options = options;
  }

  add(message: HttpFilterMessage, isLast: boolean, field: Field): void {
    if (message.configType.case !== 'typedConfig') {
      field.reject('needs a typed_config; other ways to configure a filter are not supported');
      return;
    }
    const config = resolveTypedStruct(message.configType.value);
    const type = config.typeUrl.slice(config.typeUrl.lastIndexOf('/') + 1);
    if (type === RouterSchema.typeName) {
      this.#addRouter(message, isLast, field);
      return;
    }
    if (type === PeerMetadataSchema.typeName) {
      this.#addPeerMetadata(message, field);
      return;
    }
    if (DONE_ELSEWHERE.has(type)) return;
    const kind = KIND_BY_TYPE.get(type);
    if (kind === undefined) {
      if (!message.isOptional)
        field.reject(`"${message.name}" (${type}) is a filter that this proxy does not have; mark it is_optional or remove it`);
      return;
    }
    const { name, disabled: isDisabled } = message;
    const { context, listener } = this.#options;
    const environment = filterEnvironment({ name, context, listener, wheel: wheelOf(context.clock), statPrefix: this.#statPrefix });
    const filter = kind.create(config, field.child('typed_config'), environment);
    if (filter !== undefined) this.filters.push({ name, filter, isDisabled });
  }

  #addRouter(message: HttpFilterMessage, isLast: boolean, field: Field): void {
    const router = message.configType.case === 'typedConfig' ? unpackAny(message.configType.value, RouterSchema) : undefined;
    if (!isLast) field.reject('the router must be the last filter');
    if (message.disabled) field.child('disabled').reject('the router cannot be switched off');
    this.hasRouter = true;
    this.router = compileRouterConfig(router, field.child('typed_config'));
  }

  #addPeerMetadata(message: HttpFilterMessage, field: Field): void {
    const config = message.configType.case === 'typedConfig' ? unpackAny(message.configType.value, PeerMetadataSchema) : undefined;
    if (config === undefined || message.disabled) return;
    const { localPeer } = this.#options.context;
    this.peerMetadata = compilePeerMetadata(config, localPeer, field.child('typed_config'));
    const filter = new PeerMetadataFilter(this.peerMetadata, localPeer);
    this.filters.push({ name: message.name, filter, isDisabled: false });
  }
}
