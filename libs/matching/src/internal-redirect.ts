import { unpackAny } from '@mizzen/xds-api';
import type { InternalRedirectPolicy, RouteAction } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { RouteAction_InternalRedirectAction } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { AllowListedRoutesConfigSchema } from '@mizzen/xds-api/envoy/extensions/internal_redirect/allow_listed_routes/v3/allow_listed_routes_config';
import { PreviousRoutesConfigSchema } from '@mizzen/xds-api/envoy/extensions/internal_redirect/previous_routes/v3/previous_routes_config';
import { SafeCrossSchemeConfigSchema } from '@mizzen/xds-api/envoy/extensions/internal_redirect/safe_cross_scheme/v3/safe_cross_scheme_config';
import type { Field } from './field.ts';

/** Redirects of the upstream that the proxy follows in the client's place. */
export interface CompiledInternalRedirect {
  /** How often for one request. */
  readonly maxRedirects: number;
  readonly statusCodes: ReadonlySet<number>;
  readonly allowsCrossScheme: boolean;
  /** Response headers that the new request is given; those that the response does not have are taken from the request. */
  readonly headersToCopy: readonly string[];
  /** All must agree. */
  readonly predicates: readonly RedirectPredicate[];
}

/** What a predicate is asked for. */
export interface RedirectTarget {
  /** The new route. */
  readonly routeName: string;
  /** The routes, by name, that this request was already redirected to from the present one. */
  readonly previousRoutes: ReadonlySet<string>;
  readonly isDownstreamTls: boolean;
  readonly isTargetTls: boolean;
}

export type RedirectPredicate = (target: RedirectTarget) => boolean;

const ANSWERABLE: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Source: envoy InternalRedirectPolicyImpl (1.40). */
export function compileInternalRedirect(action: RouteAction, field: Field): CompiledInternalRedirect | undefined {
  const policy = action.internalRedirectPolicy;
  if (policy === undefined) return compileOlderForm(action);
  const at = field.child('internal_redirect_policy');
  const wanted = policy.redirectResponseCodes.filter((code) => ANSWERABLE.has(code));
  return {
    maxRedirects: policy.maxInternalRedirects ?? 1,
    // Others than redirects are passed over, as Envoy does.
    statusCodes: new Set(policy.redirectResponseCodes.length === 0 ? [302] : wanted),
    allowsCrossScheme: policy.allowCrossSchemeRedirect,
    headersToCopy: policy.responseHeadersToCopy.map((name, index) => copiedHeader(name, at.child('response_headers_to_copy', index))),
    predicates: policy.predicates.map((predicate, index) => compilePredicate(predicate, at.child('predicates', index))),
  };
}

function compileOlderForm(action: RouteAction): CompiledInternalRedirect | undefined {
  if (action.internalRedirectAction !== RouteAction_InternalRedirectAction.HANDLE_INTERNAL_REDIRECT) return undefined;
  return {
    maxRedirects: action.maxInternalRedirects ?? 1,
    statusCodes: new Set([302]),
    allowsCrossScheme: false,
    headersToCopy: [],
    predicates: [],
  };
}

function copiedHeader(name: string, field: Field): string {
  const lower = name.toLowerCase();
  if (lower.startsWith(':') || lower === 'host' || lower === '') field.reject(`"${name}" cannot be copied`);
  return lower;
}

function compilePredicate({ name, typedConfig }: InternalRedirectPolicy['predicates'][number], field: Field): RedirectPredicate {
  if (typedConfig !== undefined) {
    const allowed = unpackAny(typedConfig, AllowListedRoutesConfigSchema);
    if (allowed !== undefined) {
      const names = new Set(allowed.allowedRouteNames);
      return ({ routeName }) => names.has(routeName);
    }
    if (unpackAny(typedConfig, PreviousRoutesConfigSchema) !== undefined)
      return ({ routeName, previousRoutes }) => !previousRoutes.has(routeName);
    // A client that came without TLS must not be brought where only TLS was meant to lead.
    if (unpackAny(typedConfig, SafeCrossSchemeConfigSchema) !== undefined)
      return ({ isDownstreamTls, isTargetTls }) => isDownstreamTls || !isTargetTls;
  }
  field.reject(`"${name}" is not a predicate that this proxy has; it has allow_listed_routes, previous_routes and safe_cross_scheme`);
  return () => false;
}
