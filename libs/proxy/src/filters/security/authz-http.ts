import type { JsonObject } from '@bufbuild/protobuf';
import { type AsyncCall, type AsyncResponse, type CallRuntime, sendAsyncRequest } from '../../http/async-client.ts';
import { HeaderMap } from '../../http/headers.ts';
import type { AuthzConfig, AuthzHttpService } from './authz-config.ts';
import type { AuthzDecision, HeaderChange } from './authz-decision.ts';
import type { AuthzQuestion } from './authz-question.ts';

/** Asks an HTTP authorization server: the request without its body, at another path. Source: envoy RawHttpClientImpl (1.40). */
export function askHttp(
  runtime: CallRuntime,
  question: AuthzQuestion,
  options: { readonly config: AuthzConfig; readonly service: AuthzHttpService; done(decision: AuthzDecision): void },
): AsyncCall {
  const { config, service, done } = options;
  const { info, body } = question;
  const headers = new HeaderMap();
  const shown = info.head.headers;
  for (const name of new Set(shown.names)) if (config.showsHeader(name)) headers.push(name, shown.get(name) ?? '');
  if (body !== undefined) headers.push('x-envoy-auth-partial-body', String(question.isPartial));
  for (const [name, value] of service.headersToAdd) headers.set(name, value);
  const request = {
    cluster: service.cluster,
    method: info.method,
    path: service.pathPrefix + info.path,
    authority: info.authority,
    headers,
    body: body ?? Buffer.alloc(0),
    timeoutMs: service.timeoutMs,
    saysEmptyBody: true,
  };
  return sendAsyncRequest(runtime, request, {
    onResponse: (response) => done(decisionOf(response, service)),
    onFailure: () => done({ kind: 'error' }),
  });
}

function decisionOf({ status, headers, body }: AsyncResponse, service: AuthzHttpService): AuthzDecision {
  if (status >= 500) return { kind: 'error' };
  const changes = (isWanted: ((name: string) => boolean) | undefined, action: HeaderChange['action']): HeaderChange[] =>
    headers.names.flatMap((name, index) =>
      isWanted?.(name) && !NEVER_PASSED_ON.has(name) ? [{ name, value: headers.values[index] as string, action }] : [],
    );
  if (status !== 200) {
    const { clientHeaders } = service;
    const isWanted = clientHeaders === undefined ? () => true : (name: string) => clientHeaders(name) || ALWAYS_TO_CLIENT.has(name);
    return { kind: 'denied', status, body, headers: changes(isWanted, 'set'), metadata: metadataOf(headers, service) };
  }
  return {
    kind: 'ok',
    requestHeaders: [...changes(service.upstreamHeaders, 'set'), ...changes(service.upstreamHeadersToAppend, 'add')],
    headersToRemove: (headers.get(REMOVE) ?? '').split(',').flatMap((name) => (name.trim() === '' ? [] : [name.trim()])),
    responseHeaders: changes(service.clientHeadersOnSuccess, 'add'),
    queryToSet: [],
    queryToRemove: [],
    metadata: metadataOf(headers, service),
  };
}

/** Names request headers that must not reach the upstream. */
const REMOVE = 'x-envoy-auth-headers-to-remove';
const ALWAYS_TO_CLIENT: ReadonlySet<string> = new Set(['www-authenticate', 'proxy-authenticate', 'location']);
// The proxy says itself when it answered and who it is.
const NEVER_PASSED_ON: ReadonlySet<string> = new Set([REMOVE, 'date', 'server', 'x-envoy-upstream-service-time']);

function metadataOf(headers: HeaderMap, { metadataHeaders }: AuthzHttpService): JsonObject | undefined {
  if (metadataHeaders === undefined) return undefined;
  const metadata: JsonObject = {};
  headers.names.forEach((name, index) => {
    if (metadataHeaders(name)) metadata[name] = headers.values[index] as string;
  });
  return Object.keys(metadata).length === 0 ? undefined : metadata;
}
