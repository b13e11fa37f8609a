import { errorMessage } from '@mizzen/core';
import type { KubeClient, KubeKind, KubeName, KubeObject, ListOptions, RequestOptions, WatchEvent, WatchOptions } from './contract.ts';
import { errorOfAnswer, isExpired, isNotFound, KubeError } from './kube-error.ts';
import { listPages } from './list-pages.ts';
import { acceptOf, collectionPath, objectPath, selectorQuery } from './paths.ts';
import { describe, readBody, type Transport } from './transport.ts';
import { watchEvents } from './watch-stream.ts';

// How long a watch may wait for the head of the answer: an API server under load queues it.
const WATCH_OPEN_TIMEOUT_MS = 30_000;
const MAX_LIST_RESTARTS = 3;

/** The API over a transport. */
export function createKubeClient(transport: Transport): KubeClient {
  const request = <T>(options: RequestOptions): Promise<T> => transport.request(options) as Promise<T>;
  const dryRunOf = (isDryRun: boolean | undefined): Record<string, string> => (isDryRun ? { dryRun: 'All' } : {});
  const nameOf = ({ metadata }: KubeObject): KubeName => metadata;

  const client: KubeClient = {
    server: transport.server,
    get: (kind, name) => request({ method: 'GET', path: objectPath(kind, name) }),
    async find<T extends KubeObject>(kind: KubeKind, name: KubeName): Promise<T | undefined> {
      try {
        return await client.get<T>(kind, name);
      } catch (thrown) {
        if (isNotFound(thrown)) return undefined;
        throw thrown;
      }
    },
    list: (kind, options = {}) => listWhole(client, kind, options),
    create: (kind, object, { dryRun } = {}) =>
      request({
        method: 'POST',
        path: collectionPath(kind, kind.isNamespaced ? (object.metadata.namespace ?? 'default') : undefined),
        query: dryRunOf(dryRun),
        body: withType(kind, object),
      }),
    replace: (kind, object) => request({ method: 'PUT', path: objectPath(kind, nameOf(object)), body: withType(kind, object) }),
    apply: (kind, object, { fieldManager, force, dryRun }) =>
      request({
        method: 'PATCH',
        path: objectPath(kind, nameOf(object)),
        query: { fieldManager, force: String(force ?? false), ...dryRunOf(dryRun) },
        body: withType(kind, object),
        // JSON is YAML.
        contentType: 'application/apply-patch+yaml',
      }),
    patch: (kind, name, patch, { subresource } = {}) =>
      request({ method: 'PATCH', path: objectPath(kind, name, subresource), body: patch, contentType: 'application/merge-patch+json' }),
    async delete(kind, name, { propagation } = {}) {
      try {
        await request({
          method: 'DELETE',
          path: objectPath(kind, name),
          ...(propagation !== undefined && {
            body: { apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: propagation },
          }),
        });
        return true;
      } catch (thrown) {
        if (isNotFound(thrown)) return false;
        throw thrown;
      }
    },
    request,
    watch: (kind, options) => openWatch(transport, kind, options),
  };
  return client;
}

function withType<T extends KubeObject>({ apiVersion, kind }: KubeKind, object: T): T {
  return { ...object, apiVersion, kind };
}

async function listWhole<T extends KubeObject>(client: KubeClient, kind: KubeKind, options: ListOptions): Promise<readonly T[]> {
  for (let restarts = 0; ; restarts++) {
    const items: T[] = [];
    try {
      for await (const page of listPages(client, kind, options)) items.push(...(page.items as T[]));
      return items;
    } catch (thrown) {
      // The token of the next page has grown old: what was read does not belong together any more.
      if (!isExpired(thrown) || restarts === MAX_LIST_RESTARTS) throw thrown;
    }
  }
}

async function openWatch(transport: Transport, kind: KubeKind, options: WatchOptions): Promise<AsyncIterable<WatchEvent>> {
  const { namespace, resourceVersion, timeoutSeconds, signal } = options;
  const path = collectionPath(kind, namespace);
  const asked = `watch ${describe({ method: 'GET', path })}`;
  const opening = new AbortController();
  const timer = setTimeout(() => opening.abort(new Error(`no answer within ${WATCH_OPEN_TIMEOUT_MS} ms`)), WATCH_OPEN_TIMEOUT_MS);
  try {
    const { status, body } = await transport.open({
      method: 'GET',
      path,
      query: {
        ...selectorQuery(options),
        watch: 'true',
        allowWatchBookmarks: 'true',
        resourceVersion,
        timeoutSeconds: String(timeoutSeconds),
      },
      ...acceptOf(options, 'watch'),
      signal: AbortSignal.any([signal, opening.signal]),
      isCompressible: false,
    });
    if (status !== 200) throw errorOfAnswer(asked, status, await readBody(body));
    return eventsUntilBroken(watchEvents(body, asked), { asked, signal });
  } finally {
    clearTimeout(timer);
  }
}

async function* eventsUntilBroken(
  events: AsyncIterable<WatchEvent>,
  { asked, signal }: { asked: string; signal: AbortSignal },
): AsyncGenerator<WatchEvent> {
  try {
    yield* events;
  } catch (thrown) {
    if (signal.aborted) return;
    if (thrown instanceof KubeError) throw thrown;
    throw new KubeError(`${asked}: the connection broke: ${errorMessage(thrown)}`, { status: 0, cause: thrown });
  }
}
