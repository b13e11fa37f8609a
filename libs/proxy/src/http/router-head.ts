import type { CompiledRouteAction } from '@mizzen/matching';
import { cleanValue, type HeaderMap, SEEN } from './headers.ts';
import type { HttpStream } from './http-stream.ts';
import { isToldUpstream } from './peer-metadata-filter.ts';
import type { ResponseHead } from './stream.ts';
import type { HttpStreamInfo } from './stream-info.ts';
import type { UpstreamAttempt } from './upstream-attempt.ts';

/**
 * Makes the head that goes upstream out of the client's, as the route says: header operations, host, path.
 * Source: envoy RouteEntryImplBase::finalizeRequestHeaders (1.40).
 */
export function finalizeRequestHead(stream: HttpStream, action: CompiledRouteAction): void {
  const { info, target } = stream;
  const { headers } = info.head;
  // A name under which a caller inside would have the request counted too: it is not, and no affair of the upstream's.
  if ((headers.seen & SEEN.envoyInternal) !== 0) headers.remove('x-envoy-upstream-alt-stat-name');
  if (target !== undefined) for (const mutation of target.mutations.request) mutation.apply(headers, info);
  const host = rewrittenHost(info, action);
  if (action.rewritePath !== undefined && info.head.path !== '') rewritePath(stream, action.rewritePath);
  if (target?.hostRewrite !== undefined) {
    // What one of several clusters says tells nobody of the host before.
    info.head.authority = target.hostRewrite;
    info.authority = target.hostRewrite;
  } else if (host !== undefined && host !== '' && !/[^\x21-\x7e]/.test(host)) setHost(stream, host, action.appendXForwardedHost);
}

function rewrittenHost(info: HttpStreamInfo, { hostRewrite }: CompiledRouteAction): string | undefined {
  switch (hostRewrite?.kind) {
    case 'literal':
      return hostRewrite.host;
    case 'header':
      return info.requestHeader(hostRewrite.name);
    case 'path':
      return hostRewrite.substitute(info.head.path);
    default:
      return undefined;
  }
}

function rewritePath({ info, runtime }: HttpStream, rewrite: (path: string) => string): void {
  const { head } = info;
  const path = cleanPath(rewrite(head.path));
  info.originalPath = head.path;
  if (!runtime.config.suppressesEnvoyHeaders) head.headers.set('x-envoy-original-path', head.path);
  head.path = path;
  info.path = path;
}

/** Replaces the host; the first one stays in `x-envoy-original-host`, also where a second try rewrites it again. */
function setHost({ info, runtime }: HttpStream, host: string, appendsForwardedHost: boolean): void {
  const { head } = info;
  if (!runtime.config.suppressesEnvoyHeaders && !info.isHostRewritten) head.headers.set('x-envoy-original-host', info.authority);
  info.isHostRewritten = true;
  if (appendsForwardedHost && host !== info.authority) head.headers.append('x-forwarded-host', info.authority);
  head.authority = host;
  info.authority = host;
}

/** Sends the head of a try: with its endpoint's host where the route wants that, and what only the next hop is told. */
export function sendRequestHead(stream: HttpStream, action: CompiledRouteAction, { endpoint, stream: upstream }: UpstreamAttempt): void {
  const { info } = stream;
  const { peerMetadata, proxies100Continue } = stream.runtime.config;
  if (action.hostRewrite?.kind === 'endpoint' && endpoint.hostname !== '') setHost(stream, endpoint.hostname, action.appendXForwardedHost);
  let extra = '';
  if (peerMetadata !== undefined && isToldUpstream(peerMetadata, { cluster: endpoint.cluster, tls: upstream?.tls }))
    extra += peerMetadata.headerLines;
  if (info.head.expectsContinue && proxies100Continue) extra += 'expect: 100-continue\r\n';
  upstream?.sendHead(info.head, extra);
}

/** What the router adds to an upstream's answer. `serviceTimeMs`: how long that took, where it can be said. */
export function finalizeResponseHead({ info, route, runtime }: HttpStream, { headers }: ResponseHead, serviceTimeMs?: number): void {
  if (!runtime.config.suppressesEnvoyHeaders && serviceTimeMs !== undefined)
    setServiceTime(headers, Math.max(0, Math.floor(serviceTimeMs)));
  if (route?.virtualHost.includesAttemptCountInResponse === true) headers.set('x-envoy-attempt-count', String(info.upstreamAttempts));
}

function setServiceTime(headers: HeaderMap, durationMs: number): void {
  const name = 'x-envoy-upstream-service-time';
  if ((headers.seen & SEEN.upstreamServiceTime) === 0) headers.push(name, String(durationMs));
  else headers.set(name, String(durationMs));
}

// A rewritten path comes from configuration and the request: nothing in it may end the request line.
function cleanPath(path: string): string {
  return /[^\x21-\x7e]/.test(path)
    ? cleanValue(path).replace(/[^\x21-\x7e]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
    : path;
}
