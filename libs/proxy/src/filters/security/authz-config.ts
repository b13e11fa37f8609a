import {
  compileMetadataMatcher,
  compileStringMatcher,
  durationMs,
  type Field,
  fractionOf,
  type MetadataReader,
  refuseFields,
  type StringPredicate,
} from '@mizzen/matching';
import type { RuntimeFeatureFlag, RuntimeFractionalPercent } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { ApiVersion } from '@mizzen/xds-api/envoy/config/core/v3/config_source';
import type {
  BufferSettings,
  CheckSettings,
  ExtAuthz,
  ExtAuthzPerRoute,
  HttpService,
} from '@mizzen/xds-api/envoy/extensions/filters/http/ext_authz/v3/ext_authz';
import type { ListStringMatcher } from '@mizzen/xds-api/envoy/type/matcher/v3/string';
import type { RuntimeValues } from '../../config/runtime-values.ts';
import { compileGrpcService, type GrpcTarget } from '../../grpc/grpc-service.ts';

/** How much of a request's body the authorization server is shown. */
export interface AuthzBody {
  readonly maxBytes: number;
  readonly allowsPartial: boolean;
  readonly packsAsBytes: boolean;
}

export interface AuthzHttpService {
  readonly kind: 'http';
  readonly cluster: string;
  readonly authority: string;
  readonly timeoutMs: number;
  readonly pathPrefix: string;
  readonly headersToAdd: readonly (readonly [name: string, value: string])[];
  /** Headers of an answer of 200 that the request is given; undefined: none. */
  readonly upstreamHeaders: StringPredicate | undefined;
  readonly upstreamHeadersToAppend: StringPredicate | undefined;
  /** Headers of a refusal that the client is given; undefined: all. */
  readonly clientHeaders: StringPredicate | undefined;
  readonly clientHeadersOnSuccess: StringPredicate | undefined;
  readonly metadataHeaders: StringPredicate | undefined;
}

export type AuthzService = AuthzHttpService | ({ readonly kind: 'grpc' } & GrpcTarget);

/** An ExtAuthz message, compiled. */
export interface AuthzConfig {
  readonly service: AuthzService;
  readonly allowsOnFailure: boolean;
  readonly marksFailure: boolean;
  readonly body: AuthzBody | undefined;
  readonly clearsRouteCache: boolean;
  readonly statusOnError: number;
  readonly validatesMutations: boolean;
  readonly metadataNamespaces: readonly string[];
  /** Which request headers are shown. */
  readonly showsHeader: StringPredicate;
  /** The share (0 to 1) of the requests that are asked about, now. */
  readonly enabledRatio: () => number;
  readonly isEnabledBy: ((read: MetadataReader) => boolean) | undefined;
  readonly deniesAtDisable: () => boolean;
  readonly includesPeerCertificate: boolean;
  readonly includesTlsSession: boolean;
  readonly encodesRawHeaders: boolean;
  readonly ingestsMetadata: boolean;
  /** A refusal counts as an answer of the cluster that the request is for. */
  readonly chargesCluster: boolean;
  readonly statPrefix: string;
}

const DEFAULT_GRPC_TIMEOUT_MS = 200;
const DEFAULT_STATUS = 403;

export function compileAuthz(message: ExtAuthz, field: Field, runtime: RuntimeValues): AuthzConfig {
  refuseFields(field, message, [
    'typedMetadataContextNamespaces',
    'routeMetadataContextNamespaces',
    'routeTypedMetadataContextNamespaces',
    'bootstrapMetadataLabelsKey',
    'decoderHeaderMutationRules',
  ]);
  if (message.transportApiVersion !== ApiVersion.V3) field.child('transport_api_version').reject('must be V3');
  const service = compileService(message, field);
  const isEnabledBy =
    message.filterEnabledMetadata && compileMetadataMatcher(message.filterEnabledMetadata, field.child('filter_enabled_metadata'));
  return {
    service,
    allowsOnFailure: message.failureModeAllow,
    marksFailure: message.failureModeAllowHeaderAdd,
    body: compileBody(message.withRequestBody, field.child('with_request_body')),
    clearsRouteCache: message.clearRouteCache,
    statusOnError: message.statusOnError?.code || DEFAULT_STATUS,
    validatesMutations: message.validateMutations,
    metadataNamespaces: message.metadataContextNamespaces,
    showsHeader: compileShown(message, field),
    enabledRatio: compileEnabled(message.filterEnabled, runtime),
    isEnabledBy,
    deniesAtDisable: compileFlag(message.denyAtDisable, runtime),
    includesPeerCertificate: message.includePeerCertificate,
    includesTlsSession: message.includeTlsSession,
    encodesRawHeaders: message.encodeRawHeaders,
    ingestsMetadata: message.enableDynamicMetadataIngestion ?? true,
    chargesCluster: message.chargeClusterResponseStats ?? true,
    statPrefix: message.statPrefix,
  };
}

function compileEnabled(enabled: RuntimeFractionalPercent | undefined, runtime: RuntimeValues): () => number {
  if (enabled === undefined) return () => 1;
  const ratio = enabled.defaultValue === undefined ? 0 : fractionOf(enabled.defaultValue);
  const { runtimeKey } = enabled;
  return runtimeKey === '' ? () => ratio : () => runtime.number(runtimeKey, ratio * 100) / 100;
}

function compileFlag(flag: RuntimeFeatureFlag | undefined, runtime: RuntimeValues): () => boolean {
  const fallback = flag?.defaultValue ?? false;
  const key = flag?.runtimeKey ?? '';
  return () => {
    const value = key === '' ? undefined : runtime.get(key);
    return value === undefined ? fallback : value === 'true';
  };
}

function compileService({ services }: ExtAuthz, field: Field): AuthzService {
  if (services.case === 'httpService') return compileHttpService(services.value, field.child('http_service'));
  if (services.case === 'grpcService') {
    const target = compileGrpcService(services.value, field.child('grpc_service'));
    return { kind: 'grpc', ...target, timeoutMs: target.timeoutMs ?? DEFAULT_GRPC_TIMEOUT_MS };
  }
  field.reject('needs http_service or grpc_service');
  return { kind: 'grpc', cluster: '', authority: '', metadata: [], timeoutMs: 0 };
}

function compileHttpService(message: HttpService, field: Field): AuthzHttpService {
  const uri = message.serverUri;
  const at = field.child('server_uri');
  if (uri?.httpUpstreamType.case !== 'cluster' || uri.httpUpstreamType.value === '') at.child('cluster').reject('is required');
  const { authorizationRequest: request, authorizationResponse: response } = message;
  const list = (matcher: ListStringMatcher | undefined, name: string): StringPredicate | undefined =>
    compileList(matcher, field.child('authorization_response').child(name));
  return {
    kind: 'http',
    cluster: uri?.httpUpstreamType.value ?? '',
    authority: URL.parse(uri?.uri ?? '')?.host ?? '',
    timeoutMs: durationMs(uri?.timeout) ?? DEFAULT_GRPC_TIMEOUT_MS,
    pathPrefix: message.pathPrefix,
    headersToAdd: (request?.headersToAdd ?? []).map(({ key, value }) => [key.toLowerCase(), value]),
    upstreamHeaders: list(response?.allowedUpstreamHeaders, 'allowed_upstream_headers'),
    upstreamHeadersToAppend: list(response?.allowedUpstreamHeadersToAppend, 'allowed_upstream_headers_to_append'),
    clientHeaders: list(response?.allowedClientHeaders, 'allowed_client_headers'),
    clientHeadersOnSuccess: list(response?.allowedClientHeadersOnSuccess, 'allowed_client_headers_on_success'),
    metadataHeaders: list(response?.dynamicMetadataFromHeaders, 'dynamic_metadata_from_headers'),
  };
}

// An HTTP service is shown little unless more is asked for, a gRPC service all. Source: envoy ext_authz FilterConfig (1.40).
function compileShown(message: ExtAuthz, field: Field): StringPredicate {
  const refused = compileList(message.disallowedHeaders, field.child('disallowed_headers'));
  const { services } = message;
  const ofService = services.case === 'httpService' ? services.value.authorizationRequest?.allowedHeaders : undefined;
  const at = message.allowedHeaders === undefined ? field.child('http_service').child('authorization_request') : field;
  const listed = compileList(message.allowedHeaders ?? ofService, at.child('allowed_headers'));
  const isHttp = services.case === 'httpService';
  const allowed: StringPredicate = (name) => (listed === undefined ? !isHttp : listed(name)) || (isHttp && name === 'authorization');
  return refused === undefined ? allowed : (name) => allowed(name) && !refused(name);
}

function compileList(matcher: ListStringMatcher | undefined, field: Field): StringPredicate | undefined {
  if (matcher === undefined || matcher.patterns.length === 0) return undefined;
  const any = matcher.patterns.map((pattern, index) => compileStringMatcher(pattern, field.child('patterns', index)));
  return (name) => any.some((matches) => matches(name));
}

function compileBody(settings: BufferSettings | undefined, field: Field): AuthzBody | undefined {
  if (settings === undefined) return undefined;
  if (settings.maxRequestBytes === 0) field.child('max_request_bytes').reject('must be greater than 0');
  return { maxBytes: settings.maxRequestBytes, allowsPartial: settings.allowPartialMessage, packsAsBytes: settings.packAsBytes };
}

/** What one level of a route says. */
export interface AuthzRoute {
  readonly isDisabled: boolean;
  readonly contextExtensions: Readonly<Record<string, string>>;
  /** 'none': the body is not shown; undefined: as the filter says. */
  readonly body: AuthzBody | 'none' | undefined;
}

export function compileAuthzRoute({ override }: ExtAuthzPerRoute, field: Field): AuthzRoute {
  if (override.case === 'checkSettings') return compileCheckSettings(override.value, field.child('check_settings'));
  if (override.case !== 'disabled' || !override.value) field.reject('needs disabled: true or check_settings');
  return { isDisabled: true, contextExtensions: {}, body: undefined };
}

function compileCheckSettings(settings: CheckSettings, field: Field): AuthzRoute {
  const { contextExtensions, disableRequestBodyBuffering, withRequestBody } = settings;
  if (disableRequestBodyBuffering && withRequestBody !== undefined)
    field.reject('disable_request_body_buffering and with_request_body exclude each other');
  return {
    isDisabled: false,
    contextExtensions,
    body: disableRequestBodyBuffering ? 'none' : compileBody(withRequestBody, field.child('with_request_body')),
  };
}
