import {
  type RetryPolicy,
  type RouteAction,
  RouteAction_ClusterNotFoundResponseCode,
  type RouteAction_RequestMirrorPolicy,
  type WeightedCluster_ClusterWeight,
} from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { runtimeFractionOf } from './conditions.ts';
import { durationMs } from './duration.ts';
import { type Field, refuseFields } from './field.ts';
import { compilePerFilterConfig, type PerFilterConfig } from './filter-configs.ts';
import { compileHashPolicies, type RequestHash } from './hash-policy.ts';
import { compileHeaderMutations, type HeaderMutations } from './header-mutations.ts';
import type { PathMatch } from './path-match.ts';
import { compilePathRewrite, type PathRewrite } from './path-rewrite.ts';
import { pathOnly, type RequestView } from './request.ts';
import { type CompiledRetryPolicy, compileRetryPolicy } from './retry-policy.ts';
import { compileSubstitution } from './strings.ts';

/** Request and response header changes in the order in which they apply. */
export interface MutationLists {
  readonly request: readonly HeaderMutations[];
  readonly response: readonly HeaderMutations[];
}

/** Where a request goes once the weights are cast. */
export interface RouteTarget {
  readonly cluster: string;
  /** Overrides the route's; undefined where the target says nothing. */
  readonly hostRewrite: string | undefined;
  readonly mutations: MutationLists;
  readonly filterConfig: PerFilterConfig;
}

export type HostRewrite =
  | { readonly kind: 'literal'; readonly host: string }
  /** To the name that the endpoint was resolved from. */
  | { readonly kind: 'endpoint' }
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'path'; readonly substitute: (path: string) => string };

export interface CompiledMirror {
  readonly cluster: string;
  readonly ratio: number;
  readonly appendsShadowSuffix: boolean;
}

export interface CompiledRouteAction {
  /** The target of a request; undefined where `cluster_header` names none. */
  chooseTarget(request: RequestView): RouteTarget | undefined;
  /** Every cluster named; `cluster_header` names none. */
  readonly clusters: readonly string[];
  readonly clusterNotFoundStatus: number;
  /** 0: no limit. Envoy's default of 15 s is filled in. */
  readonly timeoutMs: number;
  /** 0: no limit; undefined: the connection manager's stream idle timeout. */
  readonly idleTimeoutMs: number | undefined;
  /** Longest time for the whole stream, 0: no limit; undefined: the connection manager's. */
  readonly maxStreamDurationMs: number | undefined;
  /** Upper bound of a `grpc-timeout` header; undefined: the header is not looked at; 0: no bound. */
  readonly maxGrpcTimeoutMs: number | undefined;
  readonly retryPolicy: CompiledRetryPolicy | undefined;
  readonly rewritePath: PathRewrite | undefined;
  readonly hostRewrite: HostRewrite | undefined;
  readonly appendXForwardedHost: boolean;
  readonly hash: RequestHash | undefined;
  readonly mirrors: readonly CompiledMirror[];
  /** By lower-cased upgrade type; `isConnect`: a CONNECT tunnel ends here, its bytes go upstream as they are. */
  readonly upgrades: ReadonlyMap<string, { readonly isEnabled: boolean; readonly isConnect: boolean }>;
}

export interface RouteActionContext {
  readonly match: PathMatch;
  readonly mutations: MutationLists;
  readonly mostSpecificWins: boolean;
  readonly filterConfig: PerFilterConfig;
  readonly virtualHostRetry: RetryPolicy | undefined;
  readonly virtualHostMirrors: readonly RouteAction_RequestMirrorPolicy[];
  readonly field: Field;
}

const DEFAULT_TIMEOUT_MS = 15_000;
const NOT_FOUND_STATUS: Readonly<Record<number, number>> = {
  [RouteAction_ClusterNotFoundResponseCode.SERVICE_UNAVAILABLE]: 503,
  [RouteAction_ClusterNotFoundResponseCode.NOT_FOUND]: 404,
  [RouteAction_ClusterNotFoundResponseCode.INTERNAL_SERVER_ERROR]: 500,
};

export function compileRouteAction(action: RouteAction, context: RouteActionContext): CompiledRouteAction {
  const { field, match } = context;
  refuseFields(field, action, [
    'metadataMatch',
    'pathRewritePolicy',
    'earlyDataPolicy',
    'retryPolicyTypedConfig',
    'rateLimits',
    'includeVhRateLimits',
    'grpcTimeoutOffset',
    'internalRedirectPolicy',
    'internalRedirectAction',
    'maxInternalRedirects',
    'hedgePolicy',
    'cors',
  ]);
  const mirrors = action.requestMirrorPolicies.length > 0 ? action.requestMirrorPolicies : context.virtualHostMirrors;
  return {
    ...compileTargets(action, context),
    clusterNotFoundStatus: NOT_FOUND_STATUS[action.clusterNotFoundResponseCode] ?? 503,
    timeoutMs: durationMs(action.timeout) ?? DEFAULT_TIMEOUT_MS,
    idleTimeoutMs: durationMs(action.idleTimeout),
    maxStreamDurationMs: durationMs(action.maxStreamDuration?.maxStreamDuration),
    maxGrpcTimeoutMs: durationMs(action.maxStreamDuration?.grpcTimeoutHeaderMax ?? action.maxGrpcTimeout),
    retryPolicy: compileRetryPolicy(action.retryPolicy ?? context.virtualHostRetry, field.child('retry_policy')),
    rewritePath: compilePathRewrite({ prefix: action.prefixRewrite, regex: action.regexRewrite }, match, field),
    hostRewrite: compileHostRewrite(action, field),
    appendXForwardedHost: action.appendXForwardedHost,
    hash: compileHashPolicies(action.hashPolicy, field.child('hash_policy')),
    mirrors: mirrors.map((mirror, index) => compileMirror(mirror, field.child('request_mirror_policies', index))),
    upgrades: compileUpgrades(action, field),
  };
}

function compileTargets(action: RouteAction, context: RouteActionContext): Pick<CompiledRouteAction, 'chooseTarget' | 'clusters'> {
  const { field, mutations, filterConfig } = context;
  const specifier = action.clusterSpecifier;
  switch (specifier.case) {
    case 'cluster': {
      const target: RouteTarget = { cluster: specifier.value, hostRewrite: undefined, mutations, filterConfig };
      return { chooseTarget: () => target, clusters: [specifier.value] };
    }
    case 'clusterHeader': {
      const name = specifier.value.toLowerCase();
      const chooseTarget = (request: RequestView): RouteTarget | undefined => {
        const cluster = name === ':authority' || name === 'host' ? request.authority : request.header(name);
        return cluster === undefined || cluster === '' ? undefined : { cluster, hostRewrite: undefined, mutations, filterConfig };
      };
      return { chooseTarget, clusters: [] };
    }
    case 'weightedClusters': {
      const at = field.child('weighted_clusters');
      refuseFields(at, specifier.value, ['randomValueSpecifier']);
      const weights = specifier.value.clusters.map((cluster) => cluster.weight ?? 0);
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      if (total === 0) at.reject('needs a sum of weights above 0');
      const targets = specifier.value.clusters.map((cluster, index) =>
        compileWeightedTarget(cluster, context, at.child('clusters', index)),
      );
      const chooseTarget = (request: RequestView): RouteTarget | undefined => {
        let point = request.random * total;
        for (let index = 0; index < targets.length; index++) {
          point -= weights[index] as number;
          if (point < 0) return targets[index];
        }
        return targets.at(-1);
      };
      return { chooseTarget, clusters: targets.map((target) => target.cluster) };
    }
    default:
      field.reject('needs one of cluster, weighted_clusters, cluster_header');
      return { chooseTarget: () => undefined, clusters: [] };
  }
}

function compileWeightedTarget(cluster: WeightedCluster_ClusterWeight, context: RouteActionContext, field: Field): RouteTarget {
  refuseFields(field, cluster, ['clusterHeader', 'metadataMatch']);
  if (cluster.name === '') field.child('name').reject('is required');
  const request = compileHeaderMutations(cluster.requestHeadersToAdd, cluster.requestHeadersToRemove, {
    add: field.child('request_headers_to_add'),
    remove: field.child('request_headers_to_remove'),
  });
  const response = compileHeaderMutations(cluster.responseHeadersToAdd, cluster.responseHeadersToRemove, {
    add: field.child('response_headers_to_add'),
    remove: field.child('response_headers_to_remove'),
  });
  const { mutations, mostSpecificWins } = context;
  return {
    cluster: cluster.name,
    hostRewrite: cluster.hostRewriteSpecifier.case === undefined ? undefined : cluster.hostRewriteSpecifier.value,
    mutations: {
      request: combine(request, mutations.request, mostSpecificWins),
      response: combine(response, mutations.response, mostSpecificWins),
    },
    filterConfig: compilePerFilterConfig(cluster.typedPerFilterConfig, context.filterConfig, field),
  };
}

/** The level that applies last wins: the least specific one, unless the route configuration asks for the opposite. */
export function combine(
  inner: HeaderMutations | undefined,
  outer: readonly HeaderMutations[],
  mostSpecificWins: boolean,
): readonly HeaderMutations[] {
  if (inner === undefined) return outer;
  return mostSpecificWins ? [...outer, inner] : [inner, ...outer];
}

function compileHostRewrite(action: RouteAction, field: Field): HostRewrite | undefined {
  const specifier = action.hostRewriteSpecifier;
  switch (specifier.case) {
    case 'hostRewriteLiteral':
      if (/[\0-\x20\x7f]/.test(specifier.value)) field.child('host_rewrite_literal').reject('is not a valid host');
      return { kind: 'literal', host: specifier.value };
    case 'autoHostRewrite':
      return specifier.value.value ? { kind: 'endpoint' } : undefined;
    case 'hostRewriteHeader':
      return { kind: 'header', name: specifier.value.toLowerCase() };
    case 'hostRewritePathRegex': {
      const substitute = compileSubstitution(specifier.value, field.child('host_rewrite_path_regex'));
      return { kind: 'path', substitute: (path) => substitute(pathOnly(path)) };
    }
    default:
      return undefined;
  }
}

function compileMirror(mirror: RouteAction_RequestMirrorPolicy, field: Field): CompiledMirror {
  refuseFields(field, mirror, ['clusterHeader']);
  if (mirror.cluster === '') field.child('cluster').reject('is required');
  return {
    cluster: mirror.cluster,
    ratio: runtimeFractionOf(mirror.runtimeFraction),
    appendsShadowSuffix: !mirror.disableShadowHostSuffixAppend,
  };
}

function compileUpgrades(action: RouteAction, field: Field): CompiledRouteAction['upgrades'] {
  const upgrades = new Map<string, { isEnabled: boolean; isConnect: boolean }>();
  action.upgradeConfigs.forEach((config, index) => {
    const at = field.child('upgrade_configs', index);
    const type = config.upgradeType.toLowerCase();
    if (upgrades.has(type)) at.reject(`upgrade type "${type}" is given twice`);
    if (config.connectConfig !== undefined) {
      if (type !== 'connect') at.child('connect_config').reject('is only for the upgrade type CONNECT');
      refuseFields(at.child('connect_config'), config.connectConfig, ['proxyProtocolConfig', 'allowPost']);
    }
    upgrades.set(type, { isEnabled: config.enabled ?? true, isConnect: config.connectConfig !== undefined });
  });
  return upgrades;
}
