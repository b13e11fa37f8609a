import {
  compilePathMatch,
  compileQueryParameters,
  compileRequestHeaders,
  type Field,
  pathOnly,
  type RequestCondition,
  refuseFields,
} from '@mizzen/matching';
import type { RouteMatch } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import {
  type JwtAuthentication,
  JwtAuthenticationSchema,
  type PerRouteConfig,
  PerRouteConfigSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/http/jwt_authn/v3/config';
import {
  defineHttpFilter,
  type FilterDecision,
  type FilterEnvironment,
  type HttpFilter,
  type HttpFilterKind,
} from '../../http/http-filter.ts';
import type { HttpStream } from '../../http/http-stream.ts';
import type { HttpStreamInfo } from '../../http/stream-info.ts';
import { defineStats } from '../../observe/stat-registry.ts';
import { type CompiledProvider, compileProvider, type JwtStats } from './jwt-provider.ts';
import { compileRequirement, type JwtCheck, type JwtRun } from './jwt-requirement.ts';
import { type JwtStatus, jwtFailureText } from './jwt-status.ts';

const METADATA_NAMESPACE = 'envoy.filters.http.jwt_authn';
const MAX_REALM_PATH = 256;

/** Below `http.<stat_prefix>.jwt_authn.`. */
const JWT_STATS = defineStats({
  counters: {
    allowed: 'allowed',
    denied: 'denied',
    corsPreflightBypassed: 'cors_preflight_bypassed',
    fetchSuccess: 'jwks_fetch_success',
    fetchFailed: 'jwks_fetch_failed',
    cacheHit: 'jwt_cache_hit',
    cacheMiss: 'jwt_cache_miss',
  },
});

/** Checks the tokens of requests. Source: Envoy, JWT authentication filter (1.40). */
export const jwtFilter: HttpFilterKind = defineHttpFilter({
  schema: JwtAuthenticationSchema,
  create: (message, field, environment) => compileJwt(message, field, environment),
  perRoute: { schema: PerRouteConfigSchema, compile: compilePerRoute },
});

/** What a route says: another requirement by its name, or none (undefined name). */
interface JwtRoute {
  readonly requirementName: string | undefined;
}

function compilePerRoute({ requirementSpecifier: specifier }: PerRouteConfig, field: Field): JwtRoute {
  if (specifier.case === 'disabled' && !specifier.value) field.child('disabled').reject('may only be true');
  if (specifier.case === undefined || specifier.value === '') field.reject('needs disabled or requirement_name');
  return { requirementName: specifier.case === 'requirementName' ? specifier.value : undefined };
}

interface Rule {
  readonly matches: RequestCondition;
  /** undefined: nothing is required. */
  readonly check: JwtCheck | undefined;
}

function compileJwt(message: JwtAuthentication, field: Field, environment: FilterEnvironment): JwtFilter {
  refuseFields(field, message, ['filterStateRules']);
  const stats = environment.context.stats.counts(JWT_STATS, {
    prefix: `http.${environment.statPrefix}.jwt_authn`,
    tags: [['envoy.http_conn_manager_prefix', environment.statPrefix]],
  });
  const providers = new Map<string, CompiledProvider>();
  for (const [name, provider] of Object.entries(message.providers).sort(([one], [other]) => (one < other ? -1 : 1)))
    providers.set(name, compileProvider(provider, field.child(`providers["${name}"]`), { runtime: environment, stats }));
  const requirements = new Map<string, JwtCheck | undefined>();
  for (const [name, requirement] of Object.entries(message.requirementMap))
    requirements.set(name, compileRequirement(requirement, field.child(`requirement_map["${name}"]`), { providers }));
  const rules = message.rules.map(({ match, requirementType: type }, index): Rule => {
    const at = field.child('rules', index);
    const matches = compileMatch(match, at.child('match'));
    if (type.case !== 'requirementName') return { matches, check: compileRequirement(type.value, at.child('requires'), { providers }) };
    if (!requirements.has(type.value)) at.child('requirement_name').reject(`"${type.value}" is not in requirement_map`);
    return { matches, check: requirements.get(type.value) };
  });
  return new JwtFilter(message, { environment, stats, providers: [...providers.values()], requirements, rules });
}

function compileMatch(match: RouteMatch | undefined, field: Field): RequestCondition {
  if (match === undefined) {
    field.reject('is required');
    return () => false;
  }
  refuseFields(field, match, ['grpc', 'tlsContext', 'dynamicMetadata', 'runtimeFraction']);
  const path = compilePathMatch(match, field);
  const conditions = [...compileRequestHeaders(match.headers, field), ...compileQueryParameters(match.queryParameters, field)];
  return (request) => {
    if (path.kind === 'connect' ? request.method !== 'CONNECT' : !path.matches(pathOnly(request.path))) return false;
    return conditions.every((holds) => holds(request));
  };
}

class JwtFilter implements HttpFilter {
  readonly #message: JwtAuthentication;
  readonly #environment: FilterEnvironment;
  readonly #routeKey: string;
  readonly #stats: JwtStats;
  readonly #requirements: ReadonlyMap<string, JwtCheck | undefined>;
  readonly #rules: readonly Rule[];
  readonly #ownHeaders: readonly string[];

  constructor(
    message: JwtAuthentication,
    parts: {
      readonly environment: FilterEnvironment;
      readonly stats: JwtStats;
      readonly providers: readonly CompiledProvider[];
      readonly requirements: ReadonlyMap<string, JwtCheck | undefined>;
      readonly rules: readonly Rule[];
    },
  ) {
    this.#message = message;
    this.#environment = parts.environment;
    this.#routeKey = parts.environment.routeKey(PerRouteConfigSchema);
    this.#stats = parts.stats;
    this.#requirements = parts.requirements;
    this.#rules = parts.rules;
    this.#ownHeaders = [...new Set(parts.providers.flatMap(({ ownHeaders }) => ownHeaders))];
  }

  onRequest(stream: HttpStream): FilterDecision {
    const { info } = stream;
    if (this.#message.bypassCorsPreflight && isCorsPreflight(info)) {
      this.#stats.corsPreflightBypassed++;
      this.#stats.allowed++;
      return 'continue';
    }
    const route = stream.filterConfig(this.#routeKey) as JwtRoute | undefined;
    if (route?.requirementName !== undefined && !this.#requirements.has(route.requirementName))
      return this.#refuseRoute(stream, route.requirementName);
    const check = route === undefined ? this.#rules.find(({ matches }) => matches(info))?.check : this.#ofRoute(route);
    if (check === undefined) {
      this.#stats.allowed++;
      return 'continue';
    }
    return this.#run(stream, check);
  }

  #ofRoute({ requirementName }: JwtRoute): JwtCheck | undefined {
    return requirementName === undefined ? undefined : this.#requirements.get(requirementName);
  }

  #refuseRoute(stream: HttpStream, name: string): FilterDecision {
    const reason = `Wrong requirement_name: ${name}. It should be one of [${[...this.#requirements.keys()].join(',')}]`;
    const body = this.#message.stripFailureResponse ? '' : `Failed JWT authentication: ${reason}`;
    this.#stats.denied++;
    stream.reply({ status: 403, details: detailsOf(reason), flag: undefined, body });
    return 'stop';
  }

  #run(stream: HttpStream, check: JwtCheck): FilterDecision {
    const { info } = stream;
    // What the upstream reads as said by this proxy must not come from the client, whichever provider takes its token.
    for (const name of this.#ownHeaders) info.head.headers.remove(name);
    const realm = `${info.scheme}://${info.authority}${info.path.slice(0, MAX_REALM_PATH)}`;
    const run: JwtRun = {
      info,
      nowSeconds: Math.floor(this.#environment.context.clock.now() / 1000),
      isOver: () => stream.isOver,
      metadata: undefined,
      needsNewRoute: false,
    };
    let decision: FilterDecision | undefined;
    let hasStopped = false;
    check(run, (status) => {
      decision = this.#complete(stream, run, { status, realm });
      if (hasStopped && decision === 'continue') stream.continueRequest();
    });
    if (decision !== undefined) return decision;
    hasStopped = true;
    return 'stop';
  }

  #complete(stream: HttpStream, run: JwtRun, result: { readonly status: JwtStatus; readonly realm: string }): FilterDecision {
    if (run.metadata !== undefined) stream.info.setDynamicMetadata(METADATA_NAMESPACE, run.metadata);
    const { status, realm } = result;
    if (status === 'ok') {
      this.#stats.allowed++;
      if (run.needsNewRoute) stream.clearRouteCache();
      return 'continue';
    }
    this.#stats.denied++;
    const text = jwtFailureText(status);
    const strips = this.#message.stripFailureResponse;
    const challenge = `Bearer realm="${realm}"${status === 'missing' ? '' : ', error="invalid_token"'}`;
    stream.reply({
      status: status === 'audience-not-allowed' ? 403 : 401,
      details: detailsOf(text),
      flag: undefined,
      body: strips ? '' : text,
      ...(strips ? {} : { headers: [['www-authenticate', challenge] as const] }),
    });
    return 'stop';
  }
}

// A space would end the word in an access log.
function detailsOf(text: string): string {
  return `jwt_authn_access_denied{${text.replaceAll(/\s/g, '_')}}`;
}

function isCorsPreflight(info: HttpStreamInfo): boolean {
  const has = (name: string): boolean => (info.requestHeader(name) ?? '') !== '';
  return info.method === 'OPTIONS' && has('origin') && has('access-control-request-method');
}
