import { RoutingPriority } from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  type RetryPolicy,
  type RouteAction,
  RouteAction_ClusterNotFoundResponseCode,
  type RouteAction_RequestMirrorPolicy,
} from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { runtimeFractionOf } from './conditions.ts';
import { durationMs } from './duration.ts';
import { type Field, refuseFields } from './field.ts';
import type { FilterConfigCompilers, PerFilterConfig } from './filter-configs.ts';
import { compileHashPolicies, type RequestHash } from './hash-policy.ts';
import { type CompiledInternalRedirect, compileInternalRedirect } from './internal-redirect.ts';
import type { PathMatch } from './path-match.ts';
import { compilePathRewrite, type PathRewrite } from './path-rewrite.ts';
import { type CompiledRateLimit, compileRateLimits } from './rate-limits.ts';
import { pathOnly, type RequestView } from './request.ts';
import { type CompiledRetryPolicy, compileRetryPolicy } from './retry-policy.ts';
import { compileTargets, type MutationLists, type RouteTarget } from './route-targets.ts';
import { compileSubstitution } from './strings.ts';

export type HostRewrite =
  | { readonly kind: 'literal'; readonly host: string }
  /** To the name that the endpoint was resolved from. */
  | { readonly kind: 'endpoint' }
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'path'; readonly substitute: (path: string) => string };

export interface CompiledMirror {
  readonly cluster: string;
  /** The request header that names the cluster; '' where `cluster` does. */
  readonly clusterHeader: string;
  readonly ratio: number;
  readonly appendsShadowSuffix: boolean;
}

export interface CompiledRouteAction {
  /** The target of a request; undefined where `cluster_header` names none. */
  chooseTarget(request: RequestView): RouteTarget | undefined;
  /** Every cluster named; `cluster_header` names none. */
  readonly clusters: readonly string[];
  /** Its requests count against limits of their own. */
  readonly hasHighPriority: boolean;
  readonly clusterNotFoundStatus: number;
  /** 0: no limit. Envoy's default of 15 s is filled in. */
  readonly timeoutMs: number;
  /** 0: no limit; undefined: the connection manager's stream idle timeout. */
  readonly idleTimeoutMs: number | undefined;
  /** Longest time for the whole stream, 0: no limit; undefined: the connection manager's. */
  readonly maxStreamDurationMs: number | undefined;
  /** Upper bound of a `grpc-timeout` header; undefined: the header is not looked at; 0: no bound. */
  readonly maxGrpcTimeoutMs: number | undefined;
  /** Taken off a `grpc-timeout`, so that the answer of this proxy is there before the client gives up. */
  readonly grpcTimeoutOffsetMs: number;
  /** The older way to limit requests is not in force: `max_stream_duration` is given. */
  readonly usesStreamDuration: boolean;
  /** What `max_stream_duration` makes of a `grpc-timeout`; undefined: nothing. */
  readonly grpcStreamDuration: { readonly maxMs: number; readonly offsetMs: number } | undefined;
  readonly retryPolicy: CompiledRetryPolicy | undefined;
  readonly rewritePath: PathRewrite | undefined;
  readonly hostRewrite: HostRewrite | undefined;
  readonly appendXForwardedHost: boolean;
  readonly hash: RequestHash | undefined;
  readonly mirrors: readonly CompiledMirror[];
  /** Redirects of the upstream that the proxy follows itself; undefined: none. */
  readonly internalRedirect: CompiledInternalRedirect | undefined;
  readonly rateLimits: readonly CompiledRateLimit[];
  /** Those of the virtual host count besides the route's own; without own ones they always do. */
  readonly includesVirtualHostRateLimits: boolean;
  /** By lower-cased upgrade type; `isConnect`: a CONNECT tunnel ends here, its bytes go upstream as they are. */
  readonly upgrades: ReadonlyMap<string, { readonly isEnabled: boolean; readonly isConnect: boolean }>;
}

export interface RouteActionContext {
  readonly match: PathMatch;
  readonly mutations: MutationLists;
  readonly mostSpecificWins: boolean;
  readonly filterConfig: PerFilterConfig;
  readonly filterConfigs: FilterConfigCompilers | undefined;
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
  refuseFields(field, action, ['pathRewritePolicy', 'earlyDataPolicy', 'retryPolicyTypedConfig', 'hedgePolicy', 'cors']);
  const mirrors = action.requestMirrorPolicies.length > 0 ? action.requestMirrorPolicies : context.virtualHostMirrors;
  return {
    ...compileTargets(action, context, field),
    hasHighPriority: action.priority === RoutingPriority.HIGH,
    clusterNotFoundStatus: NOT_FOUND_STATUS[action.clusterNotFoundResponseCode] ?? 503,
    timeoutMs: durationMs(action.timeout) ?? DEFAULT_TIMEOUT_MS,
    idleTimeoutMs: durationMs(action.idleTimeout),
    maxStreamDurationMs: durationMs(action.maxStreamDuration?.maxStreamDuration),
    maxGrpcTimeoutMs: durationMs(action.maxGrpcTimeout),
    grpcTimeoutOffsetMs: durationMs(action.grpcTimeoutOffset) ?? 0,
    usesStreamDuration: action.maxStreamDuration !== undefined,
    grpcStreamDuration: compileGrpcStreamDuration(action),
    retryPolicy: compileRetryPolicy(action.retryPolicy ?? context.virtualHostRetry, field.child('retry_policy')),
    rewritePath: compilePathRewrite({ prefix: action.prefixRewrite, regex: action.regexRewrite }, match, field),
    hostRewrite: compileHostRewrite(action, field),
    appendXForwardedHost: action.appendXForwardedHost,
    hash: compileHashPolicies(action.hashPolicy, field.child('hash_policy')),
    mirrors: mirrors.map((mirror, index) => compileMirror(mirror, field.child('request_mirror_policies', index))),
    upgrades: compileUpgrades(action, field),
    internalRedirect: compileInternalRedirect(action, field),
    rateLimits: compileRateLimits(action.rateLimits, field.child('rate_limits')),
    includesVirtualHostRateLimits: action.includeVhRateLimits ?? false,
  };
}

function compileGrpcStreamDuration({ maxStreamDuration }: RouteAction): CompiledRouteAction['grpcStreamDuration'] {
  const maxMs = durationMs(maxStreamDuration?.grpcTimeoutHeaderMax);
  return maxMs === undefined ? undefined : { maxMs, offsetMs: durationMs(maxStreamDuration?.grpcTimeoutHeaderOffset) ?? 0 };
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
  if ((mirror.cluster === '') === (mirror.clusterHeader === '')) field.child('cluster').reject('give one of cluster and cluster_header');
  return {
    cluster: mirror.cluster,
    clusterHeader: mirror.clusterHeader.toLowerCase(),
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
