import type { CompiledRouteAction } from '@mizzen/matching';
import { cleanValue, SEEN } from './headers.ts';
import type { HttpStream } from './http-stream.ts';
import type { HttpStreamInfo } from './stream-info.ts';

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
export function setHost({ info, runtime }: HttpStream, host: string, appendsForwardedHost: boolean): void {
  const { head } = info;
  if (!runtime.config.suppressesEnvoyHeaders && !info.isHostRewritten) head.headers.set('x-envoy-original-host', info.authority);
  info.isHostRewritten = true;
  if (appendsForwardedHost && host !== info.authority) head.headers.append('x-forwarded-host', info.authority);
  head.authority = host;
  info.authority = host;
}

// A rewritten path comes from configuration and the request: nothing in it may end the request line.
function cleanPath(path: string): string {
  return /[^\x21-\x7e]/.test(path)
    ? cleanValue(path).replace(/[^\x21-\x7e]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
    : path;
}
