import type { CompiledCors } from '@mizzen/matching';
import { type HeaderMap, SEEN } from './headers.ts';
import type { FilterDecision, HttpFilter } from './http-filter.ts';
import type { HttpStream } from './http-stream.ts';
import type { ResponseHead } from './stream.ts';

/** Answers preflight requests and lets browsers read answers across origins, where the route has a policy. Source: Envoy, CORS filter (1.40). */
export class CorsFilter implements HttpFilter {
  onRequest(stream: HttpStream): FilterDecision {
    const { info } = stream;
    const policy = policyOf(stream);
    if (policy === undefined || info.method !== 'OPTIONS' || info.requestHeader('access-control-request-method') === undefined)
      return 'continue';
    const origin = info.requestHeader('origin') ?? '';
    if (!isAllowed(policy, origin)) {
      if (policy.forwardNotMatchingPreflights) return 'continue';
      stream.reply({ status: 200, details: 'cors_response', flag: undefined, body: '' });
      return 'stop';
    }
    const headers: [string, string][] = [];
    if (policy.allowMethods !== '') headers.push(['access-control-allow-methods', policy.allowMethods]);
    if (policy.allowHeaders !== '') headers.push(['access-control-allow-headers', policy.allowHeaders]);
    if (policy.maxAge !== '') headers.push(['access-control-max-age', policy.maxAge]);
    stream.reply({ status: 200, details: 'cors_response', flag: undefined, body: '', headers });
    return 'stop';
  }

  onResponse(stream: HttpStream, head: ResponseHead): void {
    const policy = policyOf(stream);
    if (policy === undefined) return;
    const origin = stream.info.requestHeader('origin') ?? '';
    if (!isAllowed(policy, origin)) return;
    head.headers.set('access-control-allow-origin', origin);
    if (policy.allowCredentials) head.headers.set('access-control-allow-credentials', 'true');
    if (policy.exposeHeaders !== '') head.headers.set('access-control-expose-headers', policy.exposeHeaders);
    addVary(head.headers);
  }
}

/** undefined also for requests that come from no other origin. */
function policyOf(stream: HttpStream): CompiledCors | undefined {
  if ((stream.info.head.headers.seen & SEEN.origin) === 0) return undefined;
  const policy = stream.target?.filterConfig.cors ?? stream.route?.filterConfig.cors;
  return policy === undefined || stream.info.random >= policy.enabledRatio ? undefined : policy;
}

function isAllowed(policy: CompiledCors, origin: string): boolean {
  return policy.allowOrigins.some((matches) => matches(origin));
}

// A cache must not give the answer for one origin to another.
function addVary(headers: HeaderMap): void {
  const present = headers.get('vary');
  if (present === undefined) headers.push('vary', 'origin');
  else if (!/(?:^|,)\s*(?:origin|\*)\s*(?:,|$)/i.test(present)) headers.set('vary', `${present}, origin`);
}
