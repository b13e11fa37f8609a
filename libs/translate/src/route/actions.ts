import type { HttpRoute } from '@mizzen/mesh-api';
import type { OutboundScope } from '@mizzen/model';
import {
  RedirectAction_RedirectResponseCode,
  type RouteActionSchema,
  type RouteSchema,
} from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { fractionalPercent, type Init, optionalDuration, ZERO_DURATION } from '../messages.ts';
import { fittingWeights } from '../weights.ts';
import type { Read, RouteOrigin } from './destinations.ts';
import { routeLookup } from './destinations.ts';
import { hashPolicy } from './hash-policy.ts';
import { authorityOf, type HeaderFields, headerFields, joinHeaderFields } from './header-operations.ts';
import { retryPolicy } from './retries.ts';

type RouteInit = Init<typeof RouteSchema>;
type RouteActionInit = Init<typeof RouteActionSchema>;
type HttpDestinations = NonNullable<HttpRoute['route']>;

export interface ActionContext {
  readonly mesh: OutboundScope['mesh'];
  readonly origin: RouteOrigin;
  /** The port that clients came to. */
  readonly publicPort: number;
  readonly isTls: boolean;
  readonly read: Read;
}

/** What a rule does with a request, and the header operations that come with it. */
export function routeAction(rule: HttpRoute, context: ActionContext): { action: NonNullable<RouteInit['action']>; headers: HeaderFields } {
  const headers = headerFields(rule.headers);
  if (rule.redirect !== undefined) return { action: { case: 'redirect', value: redirect(rule.redirect, context) }, headers };
  if (rule.directResponse !== undefined) return { action: { case: 'directResponse', value: directResponse(rule.directResponse) }, headers };
  const [only, another] = weighted(rule.route ?? []);
  const ownHeaders = only !== undefined && another === undefined ? joinHeaderFields(headers, headerFields(only.headers)) : headers;
  return { action: { case: 'route', value: forward(rule, context) }, headers: ownHeaders };
}

function forward(rule: HttpRoute, context: ActionContext): RouteActionInit {
  const lookup = routeLookup(context.read, context.origin);
  const destinations = weighted(rule.route ?? []);
  const hashPolicies = destinations.flatMap(({ destination }) => hashPolicy(lookup.policy(lookup.target(destination))) ?? []);
  const retries = retryPolicy(rule.retries, {
    meshDefault: context.mesh.defaultHttpRetryPolicy,
    isConsistentHash: destinations.length === 1 && hashPolicies.length > 0,
  });
  const mirrors = mirrorPolicies(rule, lookup.clusterOf);
  return {
    clusterSpecifier: clusterSpecifier(destinations, lookup.clusterOf),
    ...routeTimeout(rule.timeout),
    ...(retries && { retryPolicy: retries }),
    ...rewriteFields(rule, destinations),
    ...(mirrors.length > 0 && { requestMirrorPolicies: mirrors }),
    ...(hashPolicies.length > 0 && { hashPolicy: hashPolicies }),
  };
}

/**
 * The timeout of a rule, none by default; gRPC clients may ask for less. The field is deprecated in Envoy, Istio sends it all the same.
 * Source: istio route.go setTimeout (1.32 dev).
 */
export function routeTimeout(timeout?: string): Pick<RouteActionInit, 'timeout' | 'maxGrpcTimeout'> {
  const limit = optionalDuration(timeout) ?? ZERO_DURATION;
  return { timeout: limit, maxGrpcTimeout: limit };
}

/** Without those of weight 0; the weight of a single destination means nothing. */
function weighted(destinations: HttpDestinations): HttpDestinations {
  if (destinations.length < 2) return destinations;
  const positive = destinations.filter(({ weight }) => (weight ?? 0) > 0);
  return positive.length > 0 ? positive : destinations.slice(0, 1);
}

function clusterSpecifier(
  destinations: HttpDestinations,
  clusterOf: (destination: HttpDestinations[number]['destination']) => string,
): NonNullable<RouteActionInit['clusterSpecifier']> {
  const [first, another] = destinations;
  if (first === undefined) return { case: 'cluster', value: 'BlackHoleCluster' };
  if (another === undefined) return { case: 'cluster', value: clusterOf(first.destination) };
  const weights = fittingWeights(destinations.map(({ weight }) => weight ?? 0));
  return {
    case: 'weightedClusters',
    value: {
      clusters: destinations.map(({ destination, headers }, index) => {
        const authority = authorityOf(headers);
        return {
          name: clusterOf(destination),
          weight: weights[index] ?? 0,
          ...headerFields(headers),
          ...(authority !== undefined && { hostRewriteSpecifier: { case: 'hostRewriteLiteral', value: authority } as const }),
        };
      }),
    },
  };
}

/** The rule's own authority wins over that of its only destination. */
function rewriteFields(rule: HttpRoute, destinations: HttpDestinations): RouteActionInit {
  const { rewrite } = rule;
  const single = destinations.length === 1 ? authorityOf(destinations[0]?.headers) : undefined;
  const authority = rewrite?.authority || authorityOf(rule.headers) || single;
  const pattern = rewrite?.uriRegexRewrite;
  return {
    ...(pattern?.match !== undefined
      ? { regexRewrite: { pattern: { regex: pattern.match }, substitution: pattern.rewrite ?? '' } }
      : rewrite?.uri
        ? { prefixRewrite: rewrite.uri }
        : {}),
    ...(authority && { hostRewriteSpecifier: { case: 'hostRewriteLiteral', value: authority } as const }),
  };
}

type MirrorPolicies = NonNullable<RouteActionInit['requestMirrorPolicies']>;

function mirrorPolicies(rule: HttpRoute, clusterOf: (destination: HttpDestinations[number]['destination']) => string): MirrorPolicies {
  const legacyPercent = rule.mirrorPercentage?.value ?? rule.mirrorPercent ?? rule.mirror_percent ?? 100;
  const mirrors = [
    ...(rule.mirror ? [{ destination: rule.mirror, percent: legacyPercent }] : []),
    ...(rule.mirrors ?? []).map(({ destination, percentage }) => ({
      destination,
      percent: percentage === undefined ? 100 : (percentage.value ?? 0),
    })),
  ];
  return mirrors
    .filter(({ percent }) => percent > 0)
    .map(({ destination, percent }) => ({
      cluster: clusterOf(destination),
      runtimeFraction: { defaultValue: fractionalPercent(percent) },
      traceSampled: false,
      disableShadowHostSuffixAppend: true,
    }));
}

const REDIRECT_CODES: Readonly<Record<number, RedirectAction_RedirectResponseCode>> = {
  301: RedirectAction_RedirectResponseCode.MOVED_PERMANENTLY,
  302: RedirectAction_RedirectResponseCode.FOUND,
  303: RedirectAction_RedirectResponseCode.SEE_OTHER,
  307: RedirectAction_RedirectResponseCode.TEMPORARY_REDIRECT,
  308: RedirectAction_RedirectResponseCode.PERMANENT_REDIRECT,
};

/** Source: istio route.go ApplyRedirect (1.32 dev). A port that is the scheme's own is left out. */
function redirect(settings: NonNullable<HttpRoute['redirect']>, context: ActionContext) {
  const port = settings.port || (settings.derivePort === 'FROM_REQUEST_PORT' ? context.publicPort : 0);
  const scheme = settings.scheme || (context.isTls ? 'https' : 'http');
  const isDefaultPort = (scheme === 'https' && port === 443) || (scheme === 'http' && port === 80);
  const path = settings.uri
    ? ({ case: 'pathRedirect', value: settings.uri } as const)
    : settings.prefixRewrite
      ? ({ case: 'prefixRewrite', value: settings.prefixRewrite } as const)
      : undefined;
  return {
    ...(settings.authority && { hostRedirect: settings.authority }),
    ...(settings.scheme && { schemeRewriteSpecifier: { case: 'schemeRedirect', value: settings.scheme } as const }),
    ...(port !== 0 && !isDefaultPort && { portRedirect: port }),
    ...(path && { pathRewriteSpecifier: path }),
    responseCode: REDIRECT_CODES[settings.redirectCode || 301] ?? RedirectAction_RedirectResponseCode.MOVED_PERMANENTLY,
  };
}

function directResponse({ status, body }: NonNullable<HttpRoute['directResponse']>) {
  const specifier =
    body?.string !== undefined
      ? ({ case: 'inlineString', value: body.string } as const)
      : body?.bytes !== undefined
        ? ({ case: 'inlineBytes', value: Uint8Array.from(atob(body.bytes), (character) => character.charCodeAt(0)) } as const)
        : undefined;
  return { status, ...(specifier && { body: { specifier } }) };
}
