import type { JsonObject } from '@bufbuild/protobuf';
import type { RouteConfiguration } from '@mizzen/xds-api/envoy/config/route/v3/route';
import {
  type Route as RouteMessage,
  type VirtualHost,
  VirtualHost_TlsRequirementType,
} from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import {
  compileDynamicMetadata,
  compileQueryParameters,
  compileRequestHeaders,
  compileTlsContext,
  type RequestCondition,
  runtimeFractionOf,
} from './conditions.ts';
import { inlineBody } from './data-source.ts';
import { Field, type FieldRejection, refuseFields } from './field.ts';
import { type FilterConfigCompilers, NO_FILTER_CONFIG, type PerFilterConfig } from './filter-configs.ts';
import { compileHeaderMutations, type HeaderMutations } from './header-mutations.ts';
import { compilePathMatch, NO_PATH_MATCH, type PathMatch } from './path-match.ts';
import { type CompiledRateLimit, compileRateLimits } from './rate-limits.ts';
import { type CompiledRedirect, compileRedirect, TLS_REDIRECT } from './redirect.ts';
import { pathOnly, type RequestView } from './request.ts';
import { type CompiledRouteAction, compileRouteAction } from './route-action.ts';
import { RouteIndex } from './route-index.ts';
import { combine, type MutationLists } from './route-targets.ts';
import { compileVirtualClusters, type VirtualClusterChoice } from './virtual-clusters.ts';
import { DomainTable, stripPort } from './virtual-hosts.ts';

/** What is common to the routes of a virtual host and needed while one of them is followed. */
export interface CompiledVirtualHost {
  readonly name: string;
  /** x-envoy-attempt-count to the upstream and to the client. */
  readonly includesRequestAttemptCount: boolean;
  readonly includesAttemptCountInResponse: boolean;
  readonly rateLimits: readonly CompiledRateLimit[];
  /** x-envoy-is-timeout-retry to the upstream, from the second try on. */
  readonly includesIsTimeoutRetry: boolean;
  /** The group that a request is counted in; undefined: none. */
  readonly virtualClusterOf: VirtualClusterChoice;
  /** By namespace, as access logs print it; undefined without. */
  readonly metadata?: MetadataByNamespace | undefined;
}

/** Compiles what a route says of spans; rejects at the field what cannot be honoured. */
export type TracingReader = (message: NonNullable<RouteMessage['tracing']>, field: Field) => object;

export type MetadataByNamespace = Readonly<Record<string, JsonObject>>;

export type CompiledAction =
  | { readonly kind: 'route'; readonly route: CompiledRouteAction }
  | { readonly kind: 'redirect'; readonly redirect: CompiledRedirect }
  | { readonly kind: 'direct-response'; readonly status: number; readonly body: Buffer };

/** One route, immutable. It is also the result of a match. */
export interface CompiledRoute {
  readonly name: string;
  readonly virtualHost: CompiledVirtualHost;
  readonly action: CompiledAction;
  /** For redirects and direct responses; a routed request takes those of its target. */
  readonly mutations: MutationLists;
  readonly filterConfig: PerFilterConfig;
  /** Its requests are counted under this name; '' : they are not. */
  readonly statPrefix: string;
  /** Name of the span, '' for the default. */
  readonly decoratorOperation: string;
  /** The other side is told it, by x-envoy-decorator-operation. */
  readonly propagatesOperation: boolean;
  /** How much of a request body may be kept for retries; undefined: the listener's limit. */
  readonly requestBufferLimitBytes: number | undefined;
  /** By namespace, as access logs print it; undefined without. */
  readonly metadata?: MetadataByNamespace | undefined;
  /** What `readTracing` made of its message; undefined without. */
  readonly tracing?: object | undefined;
}

interface MatchableRoute extends CompiledRoute {
  readonly path: PathMatch;
  readonly conditions: readonly RequestCondition[];
}

interface VirtualHostEntry {
  readonly virtualHost: CompiledVirtualHost;
  readonly routes: readonly MatchableRoute[];
  readonly index: RouteIndex<MatchableRoute>;
  /** Answers everything that did not come by TLS. */
  readonly tlsRedirect: CompiledRoute | undefined;
  /** Requests from inside of the mesh may come without TLS all the same. */
  readonly allowsPlainInside: boolean;
}

/** A route configuration, compiled once; immutable. */
export class RouteTable {
  readonly name: string;
  /** Every cluster that a route names. */
  readonly clusters: ReadonlySet<string>;
  /** Lower-cased headers that are only believed from inside. */
  readonly internalOnlyHeaders: readonly string[];
  readonly #domains: DomainTable<VirtualHostEntry>;
  readonly #ignoresPort: boolean;
  readonly #ignoresPathParameters: boolean;

  constructor(parts: {
    name: string;
    clusters: ReadonlySet<string>;
    internalOnlyHeaders: readonly string[];
    domains: DomainTable<VirtualHostEntry>;
    ignoresPort: boolean;
    ignoresPathParameters: boolean;
  }) {
    this.name = parts.name;
    this.clusters = parts.clusters;
    this.internalOnlyHeaders = parts.internalOnlyHeaders;
    this.#domains = parts.domains;
    this.#ignoresPort = parts.ignoresPort;
    this.#ignoresPathParameters = parts.ignoresPathParameters;
  }

  /** The first route of the request's virtual host that takes it; undefined: 404. Allocates nothing for plain paths. */
  match(request: RequestView): CompiledRoute | undefined {
    const entry = this.#domains.find(this.#ignoresPort ? stripPort(request.authority) : request.authority);
    if (entry === undefined) return undefined;
    if (entry.tlsRedirect !== undefined && request.scheme !== 'https' && !(entry.allowsPlainInside && isFromInside(request)))
      return entry.tlsRedirect;
    const path = this.#ignoresPathParameters ? withoutParameters(pathOnly(request.path)) : pathOnly(request.path);
    return entry.index.find(path, request, takes);
  }

  /** The virtual host that a host belongs to. */
  virtualHost(authority: string): CompiledVirtualHost | undefined {
    return this.#domains.find(this.#ignoresPort ? stripPort(authority) : authority)?.virtualHost;
  }
}

/** The connection manager says so of a request, by a header that nobody outside may set. */
function isFromInside(request: RequestView): boolean {
  return request.header('x-envoy-internal') === 'true';
}

/** `/a;v=1/b` is `/a` to routes. Source: envoy RouteEntryImplBase::sanitizePathBeforePathMatching (1.40). */
function withoutParameters(path: string): string {
  const semicolon = path.indexOf(';');
  return semicolon < 0 ? path : path.slice(0, semicolon);
}

/** Of a route whose path fits. */
function takes(route: MatchableRoute, request: RequestView): boolean {
  if (route.path.kind === 'connect' ? request.method !== 'CONNECT' : request.path === '') return false;
  return holdsAll(route.conditions, request);
}

function holdsAll(conditions: readonly RequestCondition[], request: RequestView): boolean {
  for (const condition of conditions) {
    if (!condition(request)) return false;
  }
  return true;
}

/**
 * Compiles a route configuration. Anything that cannot be used is rejected by its place, and then there is no table: the caller
 * refuses the resource and keeps what it had. `filterConfigs` read what routes say to HTTP filters, `readTracing` what they say of spans;
 * without them the one is not looked at, the other refused.
 */
export function compileRouteConfiguration(
  message: RouteConfiguration,
  at: Field = new Field('', []),
  options: { readonly filterConfigs?: FilterConfigCompilers | undefined; readonly readTracing?: TracingReader | undefined } = {},
): { readonly table: RouteTable | undefined; readonly rejections: readonly FieldRejection[] } {
  const before = at.rejections.length;
  refuseFields(at, message, ['vhds', 'clusterSpecifierPlugins']);
  const level: Level = {
    mutations: levelMutations(message, EMPTY_MUTATIONS, at, message.mostSpecificHeaderMutationsWins),
    mostSpecificWins: message.mostSpecificHeaderMutationsWins,
    filterConfig: NO_FILTER_CONFIG.extend(message.typedPerFilterConfig, options.filterConfigs, at),
    filterConfigs: options.filterConfigs,
    readTracing: options.readTracing,
    mirrors: message.requestMirrorPolicies,
    maxDirectBodyBytes: message.maxDirectResponseBodySizeBytes ?? DEFAULT_MAX_DIRECT_BODY_BYTES,
  };
  const domains = new DomainTable<VirtualHostEntry>();
  const clusters = new Set<string>();
  message.virtualHosts.forEach((virtualHost, index) => {
    const field = at.child('virtual_hosts', index);
    const entry = compileVirtualHost(virtualHost, level, field);
    if (virtualHost.domains.length === 0) field.child('domains').reject('needs at least one domain');
    virtualHost.domains.forEach((domain, position) => {
      domains.add(domain, entry, field.child('domains', position));
    });
    for (const { action } of entry.routes) if (action.kind === 'route') for (const cluster of action.route.clusters) clusters.add(cluster);
  });
  if (at.rejections.length > before) return { table: undefined, rejections: at.rejections };
  const internalOnlyHeaders = message.internalOnlyHeaders.map((name) => name.toLowerCase());
  return {
    table: new RouteTable({
      name: message.name,
      clusters,
      internalOnlyHeaders,
      domains,
      ignoresPort: message.ignorePortInHostMatching,
      ignoresPathParameters: message.ignorePathParametersInPathMatching,
    }),
    rejections: [],
  };
}

interface Level {
  readonly mutations: MutationLists;
  readonly mostSpecificWins: boolean;
  readonly filterConfig: PerFilterConfig;
  readonly filterConfigs: FilterConfigCompilers | undefined;
  readonly readTracing: TracingReader | undefined;
  readonly mirrors: VirtualHost['requestMirrorPolicies'];
  readonly maxDirectBodyBytes: number;
}

/** Source: envoy RouteConfiguration.max_direct_response_body_size_bytes (1.40). */
const DEFAULT_MAX_DIRECT_BODY_BYTES = 4096;

const EMPTY_MUTATIONS: MutationLists = { request: [], response: [] };

function levelMutations(
  message: Pick<RouteMessage, 'requestHeadersToAdd' | 'requestHeadersToRemove' | 'responseHeadersToAdd' | 'responseHeadersToRemove'>,
  outer: MutationLists,
  field: Field,
  mostSpecificWins: boolean,
): MutationLists {
  const compiled = (direction: 'request' | 'response'): HeaderMutations | undefined =>
    compileHeaderMutations(message[`${direction}HeadersToAdd`], message[`${direction}HeadersToRemove`], {
      add: field.child(`${direction}_headers_to_add`),
      remove: field.child(`${direction}_headers_to_remove`),
    });
  return {
    request: combine(compiled('request'), outer.request, mostSpecificWins),
    response: combine(compiled('response'), outer.response, mostSpecificWins),
  };
}

function compileVirtualHost(message: VirtualHost, outer: Level, field: Field): VirtualHostEntry {
  refuseFields(field, message, ['matcher', 'retryPolicyTypedConfig', 'hedgePolicy', 'cors']);
  const virtualHost: CompiledVirtualHost = {
    name: message.name,
    includesRequestAttemptCount: message.includeRequestAttemptCount,
    includesAttemptCountInResponse: message.includeAttemptCountInResponse,
    rateLimits: compileRateLimits(message.rateLimits, field.child('rate_limits')),
    includesIsTimeoutRetry: message.includeIsTimeoutRetryHeader,
    virtualClusterOf: compileVirtualClusters(message.virtualClusters, field.child('virtual_clusters')),
    metadata: message.metadata?.filterMetadata,
  };
  const level: Level = {
    ...outer,
    mutations: levelMutations(message, outer.mutations, field, outer.mostSpecificWins),
    filterConfig: outer.filterConfig.extend(message.typedPerFilterConfig, outer.filterConfigs, field),
    mirrors: message.requestMirrorPolicies.length > 0 ? message.requestMirrorPolicies : outer.mirrors,
  };
  const routes = message.routes.map((route, index) => compileRoute(route, { message, virtualHost, level }, field.child('routes', index)));
  const tlsRedirect: CompiledRoute | undefined =
    message.requireTls === VirtualHost_TlsRequirementType.NONE
      ? undefined
      : {
          name: '',
          virtualHost,
          action: { kind: 'redirect', redirect: TLS_REDIRECT },
          mutations: EMPTY_MUTATIONS,
          filterConfig: NO_FILTER_CONFIG,
          statPrefix: '',
          decoratorOperation: '',
          propagatesOperation: false,
          requestBufferLimitBytes: undefined,
        };
  return {
    virtualHost,
    routes,
    index: new RouteIndex(routes),
    tlsRedirect,
    allowsPlainInside: message.requireTls === VirtualHost_TlsRequirementType.EXTERNAL_ONLY,
  };
}

function compileRoute(
  message: RouteMessage,
  parent: { message: VirtualHost; virtualHost: CompiledVirtualHost; level: Level },
  field: Field,
): MatchableRoute {
  const { level } = parent;
  const mutations = levelMutations(message, level.mutations, field, level.mostSpecificWins);
  const filterConfig = level.filterConfig.extend(message.typedPerFilterConfig, level.filterConfigs, field);
  const { path, conditions } = compileMatch(message, field.child('match'));
  if (level.readTracing === undefined) refuseFields(field, message, ['tracing']);
  return {
    name: message.name,
    virtualHost: parent.virtualHost,
    action: compileAction(message, { ...parent, path, mutations, filterConfig }, field),
    mutations,
    filterConfig,
    statPrefix: message.statPrefix,
    decoratorOperation: message.decorator?.operation ?? '',
    propagatesOperation: (message.decorator?.operation ?? '') !== '' && (message.decorator?.propagate ?? true),
    requestBufferLimitBytes: message.perRequestBufferLimitBytes ?? parent.message.perRequestBufferLimitBytes,
    metadata: message.metadata?.filterMetadata,
    tracing: message.tracing === undefined ? undefined : level.readTracing?.(message.tracing, field.child('tracing')),
    path,
    conditions,
  };
}

function compileMatch({ match }: RouteMessage, field: Field): { path: PathMatch; conditions: RequestCondition[] } {
  if (match === undefined) {
    field.reject('is required');
    return { path: NO_PATH_MATCH, conditions: [] };
  }
  const conditions = [
    ...compileRequestHeaders(match.headers, field),
    ...compileQueryParameters(match.queryParameters, field),
    ...compileTlsContext(match.tlsContext),
    ...compileDynamicMetadata(match.dynamicMetadata, field),
  ];
  if (match.grpc !== undefined) conditions.push((request) => /^application\/grpc(?:\+|$)/.test(request.header('content-type') ?? ''));
  if (match.runtimeFraction !== undefined) {
    const ratio = runtimeFractionOf(match.runtimeFraction);
    conditions.push((request) => request.random < ratio);
  }
  return { path: compilePathMatch(match, field), conditions };
}

type ActionContext = { message: VirtualHost; level: Level; path: PathMatch; mutations: MutationLists; filterConfig: PerFilterConfig };

function compileAction({ action }: RouteMessage, context: ActionContext, field: Field): CompiledAction {
  switch (action.case) {
    case 'route': {
      const { path: match, mutations, filterConfig, level } = context;
      const route = compileRouteAction(action.value, {
        match,
        mutations,
        filterConfig,
        filterConfigs: level.filterConfigs,
        mostSpecificWins: level.mostSpecificWins,
        virtualHostRetry: context.message.retryPolicy,
        virtualHostMirrors: level.mirrors,
        field: field.child('route'),
      });
      return { kind: 'route', route };
    }
    case 'redirect':
      return { kind: 'redirect', redirect: compileRedirect(action.value, context.path, field.child('redirect')) };
    case 'directResponse': {
      const at = field.child('direct_response');
      const { status, body } = action.value;
      if (status < 200 || status > 599) at.child('status').reject('must be between 200 and 599');
      return {
        kind: 'direct-response',
        status,
        body: limitedBody(inlineBody(body, at.child('body')), context.level.maxDirectBodyBytes, at),
      };
    }
    default:
      field.reject('needs one of route, redirect, direct_response');
      return { kind: 'direct-response', status: 500, body: Buffer.alloc(0) };
  }
}

function limitedBody(body: Buffer, maxBytes: number, field: Field): Buffer {
  if (body.length > maxBytes)
    field
      .child('body')
      .reject(`has ${body.length} bytes; max_direct_response_body_size_bytes of the route configuration allows ${maxBytes}`);
  return body;
}
