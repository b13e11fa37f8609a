import type { CompiledInternalRedirect, RequestView } from '@mizzen/matching';
import type { UpstreamCluster } from '../contract.ts';
import { type HeaderMap, SEEN } from './headers.ts';
import type { HttpStream } from './http-stream.ts';
import type { Router } from './router.ts';
import type { RequestHead, ResponseHead } from './stream.ts';
import type { UpstreamAttempt } from './upstream-attempt.ts';

const NO_BODY: readonly Buffer[] = [];

/** What one client's request has been through because the proxy followed redirects. */
export class RedirectHistory {
  count = 0;
  readonly #targets = new Map<string, Set<string>>();

  /** Routes that requests of this route were led to before. */
  targetsOf(routeName: string): Set<string> {
    let targets = this.#targets.get(routeName);
    if (targets === undefined) {
      targets = new Set();
      this.#targets.set(routeName, targets);
    }
    return targets;
  }
}

interface Url {
  readonly scheme: 'http' | 'https';
  readonly authority: string;
  readonly path: string;
}

/** Goes where the upstream sent the client. False: that is the client's to follow. Source: envoy Filter::setupRedirect (1.40). */
export function followRedirect(router: Router, attempt: UpstreamAttempt, head: ResponseHead): boolean {
  const { stream, body } = router;
  const { stats } = router.cluster as UpstreamCluster;
  const policy = router.action?.internalRedirect;
  const isPossible = policy !== undefined && router.isRequestDone && body?.isComplete !== false;
  const next = isPossible ? redirectedHead(stream, policy, head) : undefined;
  if (next === undefined) {
    stats.upstreamInternalRedirectFailedTotal++;
    return false;
  }
  stats.upstreamInternalRedirectSucceededTotal++;
  // Taken before the end, at which the router drops what it kept.
  const chunks = body?.chunks ?? NO_BODY;
  router.end();
  attempt.cancel();
  const successor = stream.followRedirect(next, head.status);
  if (next.hasBody) replay(successor, chunks, body?.trailers);
  return true;
}

function replay(stream: HttpStream, body: readonly Buffer[], trailers: HeaderMap | undefined): void {
  for (const chunk of body) stream.onData(chunk);
  if (trailers !== undefined) stream.onTrailers(trailers);
  stream.onEnd();
  stream.onReadEnd();
}

/**
 * The request that a redirect of the upstream leads to; undefined where the client is to follow it itself.
 * Source: envoy Filter::convertRequestHeadersForInternalRedirect (1.40).
 */
function redirectedHead(stream: HttpStream, policy: CompiledInternalRedirect, response: ResponseHead): RequestHead | undefined {
  const { info } = stream;
  const url = parseAbsolute(response.headers.get('location') ?? '');
  if (url === undefined || info.head.path === '') return undefined;
  const isPlain = info.head.scheme !== 'https' || info.facts.scheme === 'http';
  if (!policy.allowsCrossScheme && isPlain !== (url.scheme === 'http')) return undefined;
  stream.redirects ??= new RedirectHistory();
  if (stream.redirects.count >= policy.maxRedirects) return undefined;
  const headers = info.head.headers.clone();
  // The first pass left some: x-envoy-expected-rq-timeout-ms.
  headers.seen |= SEEN.envoyInternal;
  for (const name of policy.headersToCopy) {
    const value = response.headers.get(name);
    if (value === undefined) headers.remove(name);
    else headers.set(name, value);
  }
  const route = stream.runtime.routeTable()?.match(viewOf(stream, url));
  if (route === undefined) return undefined;
  const previousRoutes = stream.redirects.targetsOf(info.routeName);
  const target = { routeName: route.name, previousRoutes, isDownstreamTls: !isPlain, isTargetTls: url.scheme === 'https' };
  if (!policy.predicates.every((accepts) => accepts(target))) return undefined;
  previousRoutes.add(route.name);
  stream.redirects.count++;
  headers.set('x-envoy-original-url', `${isPlain ? 'http' : 'https'}://${info.head.authority}${info.head.path}`);
  const head: RequestHead = { ...info.head, headers, authority: url.authority, path: url.path, scheme: url.scheme };
  const { method } = info.head;
  // See other: whatever it was, it is fetched now (RFC 9110 §15.4.4).
  return response.status === 303 && method !== 'GET' && method !== 'HEAD'
    ? { ...head, method: 'GET', hasBody: false, contentLength: -1 }
    : head;
}

/** The present request as it will look to routes. */
function viewOf({ info }: HttpStream, { authority, path }: Url): RequestView {
  return {
    authority,
    path,
    method: info.method,
    scheme: info.scheme,
    random: info.random,
    isDownstreamMtls: info.isDownstreamMtls,
    dynamicMetadata: info.dynamicMetadata,
    header: (name) => info.requestHeader(name),
  };
}

function parseAbsolute(location: string): Url | undefined {
  const match = /^(https?):\/\/([^/?#@\s]+)([^#\s]*)/i.exec(location);
  if (match === null) return undefined;
  const [, scheme = '', authority = '', rest = ''] = match;
  return { scheme: scheme.toLowerCase() as Url['scheme'], authority, path: rest.startsWith('/') ? rest : `/${rest}` };
}
