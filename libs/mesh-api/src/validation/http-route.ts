import { GRPC_STATUSES } from '../grpc-status.ts';
import type { StringMatch } from '../kinds/shared.ts';
import type { CorsPolicy, HttpFaultInjection, HttpMatchRequest, HttpRetry, HttpRoute } from '../kinds/virtual-service.ts';
import { checkDestination } from './common.ts';
import { isDnsLabel } from './names.ts';
import { atMostOne, given, type Path, type SpecReport } from './report.ts';
import { checkGateways, checkTotalWeight } from './virtual-service.ts';

interface At {
  readonly path: Path;
  readonly report: SpecReport;
}

export function checkHttpRoute(route: HttpRoute, at: At & { isDelegate: boolean; hasGateways: boolean }): void {
  const { path, report } = at;
  checkAction(route, at);
  for (const [index, match] of (route.match ?? []).entries())
    checkMatch(match, { path: [...path, 'match', index], hasGateways: at.hasGateways, report });
  for (const [index, { destination, headers }] of (route.route ?? []).entries()) {
    checkDestination(destination, [...path, 'route', index, 'destination'], report);
    checkHeaders(headers, { path: [...path, 'route', index, 'headers'], report });
  }
  checkTotalWeight(route.route, [...path, 'route'], report);
  checkHeaders(route.headers, { path: [...path, 'headers'], report });
  checkMirrors(route, at);
  checkRedirectAndRewrite(route, at);
  if (route.retries) checkRetries(route.retries, { path: [...path, 'retries'], report });
  if (route.fault) checkFault(route.fault, { path: [...path, 'fault'], report });
  if (route.corsPolicy) checkCors(route.corsPolicy, { path: [...path, 'corsPolicy'], report });
}

// What a rule does: exactly one of these, and some of its other parts only make sense with a route.
function checkAction(route: HttpRoute, { path, isDelegate, report }: At & { isDelegate: boolean }): void {
  const actions = [...given(route, ['redirect', 'directResponse', 'delegate']), ...((route.route?.length ?? 0) > 0 ? ['route'] : [])];
  if (actions.length === 0) report.error(path, 'a rule needs one of route, redirect, directResponse and delegate');
  if (actions.length > 1) report.error([...path, actions[0] as string], `${actions.join(' and ')} exclude each other; give one of them`);
  const misplaced = route.redirect || route.directResponse ? given(route, ['fault', 'rewrite']) : route.delegate ? [] : undefined;
  for (const name of misplaced ?? [])
    report.error([...path, name], `${name} cannot be combined with ${route.redirect ? 'redirect' : 'directResponse'}`);
  if (route.delegate) {
    if (isDelegate) report.error([...path, 'delegate'], 'a delegate (a VirtualService without hosts) cannot delegate further');
    if (!route.delegate.name) report.error([...path, 'delegate', 'name'], 'the name of the VirtualService to delegate to is required');
    if (route.delegate.namespace && !isDnsLabel(route.delegate.namespace))
      report.error([...path, 'delegate', 'namespace'], `"${route.delegate.namespace}" is not a namespace`);
  }
  const { status, body } = route.directResponse ?? {};
  if (status === undefined) return;
  atMostOne(body, ['string', 'bytes'], { path: [...path, 'directResponse', 'body'], report });
  const sizeBytes = body?.string === undefined ? ((body?.bytes?.length ?? 0) * 3) / 4 : Buffer.byteLength(body.string);
  if (sizeBytes > 2 ** 20) report.error([...path, 'directResponse', 'body'], 'the body of a direct response may be at most 1 MiB');
}

function checkMatch(match: HttpMatchRequest, { path, hasGateways, report }: At & { hasGateways: boolean }): void {
  for (const name of ['uri', 'scheme', 'method', 'authority'] as const) checkStringMatch(match[name], { path: [...path, name], report });
  for (const map of ['headers', 'withoutHeaders', 'queryParams'] as const) {
    for (const [name, value] of Object.entries(match[map] ?? {})) {
      if (name === '') report.error([...path, map, name], 'a name must not be empty');
      if (map !== 'queryParams' && name.startsWith('@request.auth.claims') && !hasGateways) {
        report.error([...path, map, name], 'routing by claims of a token works on gateways only');
      }
      checkStringMatch(value, { path: [...path, map, name], report });
    }
  }
  checkGateways(match.gateways, [...path, 'gateways'], report);
  if (match.gateways && match.gateways.length > 0 && !match.gateways.includes('mesh') && (match.sourceLabels || match.sourceNamespace)) {
    report.warn([...path, match.sourceLabels ? 'sourceLabels' : 'sourceNamespace'], 'has no effect in a match that names gateways');
  }
}

function checkStringMatch(match: StringMatch | undefined, { path, report }: At): void {
  atMostOne(match, ['exact', 'prefix', 'regex'], { path, report });
}

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: what a header's value may not contain
const HEADER_VALUE = /^[^\u0000-\u0008\u000A-\u001F\u007F]*$/;

function checkHeaders(headers: HttpRoute['headers'], { path, report }: At): void {
  for (const direction of ['request', 'response'] as const) {
    const { set = {}, add = {}, remove = [] } = headers?.[direction] ?? {};
    for (const [operation, values] of Object.entries({ set, add })) {
      for (const [name, value] of Object.entries(values)) {
        const at = [...path, direction, operation, name];
        checkHeaderName(name, direction === 'request' && isAuthority(name), { path: at, report });
        if (!HEADER_VALUE.test(value)) report.error(at, 'the value contains control characters');
      }
    }
    for (const [index, name] of remove.entries()) checkHeaderName(name, false, { path: [...path, direction, 'remove', index], report });
  }
}

// Host and :authority may be set on a request, which rewrites it; everything else that Envoy keeps for itself is refused.
function checkHeaderName(name: string, isAllowed: boolean, { path, report }: At): void {
  if (isAllowed) return;
  if (name.startsWith(':') || name.toLowerCase() === 'host') report.error(path, `"${name}" cannot be changed here`);
  else if (!HEADER_NAME.test(name)) report.error(path, `"${name}" is not the name of a header`);
}

function isAuthority(name: string): boolean {
  return [':authority', 'host'].includes(name.toLowerCase());
}

function checkMirrors(route: HttpRoute, { path, report }: At): void {
  checkDestination(route.mirror, [...path, 'mirror'], report);
  for (const [index, { destination }] of (route.mirrors ?? []).entries())
    checkDestination(destination, [...path, 'mirrors', index, 'destination'], report);
  atMostOne({ mirror: route.mirror, mirrors: route.mirrors }, ['mirror', 'mirrors'], { path, report });
}

function checkRedirectAndRewrite({ redirect, rewrite, headers }: HttpRoute, { path, report }: At): void {
  if (redirect) {
    const at = { path: [...path, 'redirect'], report };
    atMostOne(redirect, ['uri', 'prefixRewrite'], at);
    atMostOne(redirect, ['port', 'derivePort'], at);
    const parts = given(redirect, ['uri', 'prefixRewrite', 'authority', 'scheme', 'port', 'derivePort']);
    if (parts.length === 0) report.error(at.path, 'a redirect must change at least one of uri, authority, scheme and port');
    if (redirect.scheme && !['http', 'https'].includes(redirect.scheme)) report.error([...at.path, 'scheme'], 'must be http or https');
  }
  if (rewrite?.authority && Object.keys({ ...headers?.request?.set, ...headers?.request?.add }).some(isAuthority)) {
    report.error([...path, 'rewrite', 'authority'], 'the authority is set by headers.request too; give one of them');
  }
  if (rewrite) {
    const at = { path: [...path, 'rewrite'], report };
    atMostOne(rewrite, ['uri', 'uriRegexRewrite'], at);
    if (given(rewrite, ['uri', 'uriRegexRewrite', 'authority']).length === 0)
      report.error(at.path, 'a rewrite must change the uri or the authority');
    const regex = rewrite.uriRegexRewrite;
    if (regex && (!regex.match || regex.rewrite === undefined))
      report.error([...at.path, 'uriRegexRewrite'], 'both match and rewrite are required');
  }
}

// Source: Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on; istio pkg/config/validation/virtualservice.go.
const RETRY_CONDITIONS = new Set([
  '5xx',
  'gateway-error',
  'reset',
  'reset-before-request',
  'connect-failure',
  'envoy-ratelimited',
  'retriable-4xx',
  'refused-stream',
  'retriable-status-codes',
  'retriable-headers',
  'http3-post-connect-failure',
  'cancelled',
  'deadline-exceeded',
  'internal',
  'resource-exhausted',
  'unavailable',
]);

function checkRetries(retries: HttpRetry, { path, report }: At): void {
  if ((retries.attempts ?? 0) === 0) {
    const [set] = given(retries, ['perTryTimeout', 'retryOn', 'retryRemoteLocalities']);
    if (set) report.error([...path, set], 'needs attempts of at least 1; none, or 0, switches retries off');
  }
  for (const condition of (retries.retryOn ?? '').split(',').filter((part) => part.trim() !== '')) {
    const name = condition.trim();
    if (RETRY_CONDITIONS.has(name) || (/^\d{3}$/.test(name) && Number(name) >= 100 && Number(name) < 600)) continue;
    report.error([...path, 'retryOn'], `"${name}" is neither a retry condition of Envoy nor a status code`);
  }
}

function checkFault(fault: HttpFaultInjection, { path, report }: At): void {
  if (!fault.delay && !fault.abort) report.error(path, 'a fault needs a delay or an abort');
  if (fault.delay) {
    atMostOne(fault.delay, ['fixedDelay', 'exponentialDelay'], { path: [...path, 'delay'], report });
    if (given(fault.delay, ['fixedDelay', 'exponentialDelay']).length === 0)
      report.error([...path, 'delay', 'fixedDelay'], 'how long to delay is required');
  }
  if (!fault.abort) return;
  atMostOne(fault.abort, ['httpStatus', 'grpcStatus', 'http2Error'], { path: [...path, 'abort'], report });
  if (given(fault.abort, ['httpStatus', 'grpcStatus', 'http2Error']).length === 0)
    report.error([...path, 'abort'], 'one of httpStatus and grpcStatus is required');
  const { grpcStatus } = fault.abort;
  if (grpcStatus === undefined || GRPC_STATUSES.includes(grpcStatus)) return;
  if (!/^\d{1,2}$/.test(grpcStatus) || Number(grpcStatus) > 16)
    report.error([...path, 'abort', 'grpcStatus'], `"${grpcStatus}" is not a gRPC status such as UNAVAILABLE`);
}

const HTTP_METHOD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

function checkCors(cors: CorsPolicy, { path, report }: At): void {
  for (const [index, origin] of (cors.allowOrigins ?? []).entries()) {
    checkStringMatch(origin, { path: [...path, 'allowOrigins', index], report });
    if (given(origin, ['exact', 'prefix', 'regex']).length === 0)
      report.error([...path, 'allowOrigins', index], 'one of exact, prefix and regex is required');
  }
  for (const [index, method] of (cors.allowMethods ?? []).entries()) {
    if (!HTTP_METHOD.test(method)) report.error([...path, 'allowMethods', index], `"${method}" is not an HTTP method`);
  }
  for (const list of ['allowHeaders', 'exposeHeaders'] as const) {
    for (const [index, name] of (cors[list] ?? []).entries()) {
      if (name !== '*' && !HEADER_NAME.test(name)) report.error([...path, list, index], `"${name}" is not the name of a header`);
    }
  }
}
