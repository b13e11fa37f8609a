import type { ServerResponse } from 'node:http';
import type { KubeKind, KubeObject } from '../contract.ts';
import { keyOfObject } from '../paths.ts';
import { ApiFault } from './api-fault.ts';
import { isSame, type Json, mergePatch } from './json.ts';
import type { Collection, ObjectStore, StoredEvent } from './object-store.ts';
import { fitsSelectors } from './selectors.ts';
import { applyServerSide, type Owners } from './server-side-apply.ts';

/** What the API server asks others for. */
export interface Reviews {
  /** The `status` of a TokenReview. Default: nobody is authenticated. */
  readonly onTokenReview?: (spec: { readonly token?: string; readonly audiences?: readonly string[] }) => Readonly<Record<string, unknown>>;
  /** The `status` of a SubjectAccessReview. Default: everything is allowed. */
  readonly onSubjectAccessReview?: (spec: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>;
  /** What a validating webhook says against an object that is created; undefined lets it in. Default: all are let in. */
  readonly onAdmission?: (object: KubeObject) => string | undefined;
}

export interface ApiRequest {
  readonly method: string;
  readonly url: URL;
  readonly body: unknown;
  readonly contentType: string;
}

export interface ApiAnswer {
  readonly status: number;
  readonly body: unknown;
}

export interface OpenWatch {
  readonly response: ServerResponse;
  isSilent: boolean;
  bookmark(): void;
}

interface Target {
  readonly collection: Collection;
  readonly apiVersion: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

const NAMESPACES = 'v1/namespaces';

/** What the API server does with a request, without the HTTP around it. */
export class FakeApi {
  readonly watches = new Set<OpenWatch>();
  readonly missing = new Set<Collection>();
  readonly #store: ObjectStore;
  readonly #reviews: Reviews;
  readonly #owners = new Map<string, Owners>();

  constructor(store: ObjectStore, reviews: Reviews) {
    this.#store = store;
    this.#reviews = reviews;
  }

  collectionOf({ apiVersion, plural }: KubeKind): Collection {
    return `${apiVersion}/${plural}`;
  }

  /** Undefined where a watch took the response over. */
  answer(request: ApiRequest, response: ServerResponse): ApiAnswer | undefined {
    const { method, url } = request;
    if (url.pathname === '/version') return { status: 200, body: { major: '1', minor: '34', gitVersion: 'v1.34.0' } };
    const target = targetOf(url.pathname);
    if (target === undefined || this.missing.has(target.collection))
      throw new ApiFault(404, 'NotFound', 'the server could not find the requested resource');
    const { collection, name } = target;
    if (method === 'POST') return { status: 201, body: this.#create(request, target) };
    if (method === 'GET' && name === undefined) {
      if (url.searchParams.get('watch') !== 'true') return { status: 200, body: this.#list(url.searchParams, target) };
      this.#watch(url.searchParams, target, response);
      return undefined;
    }
    if (method === 'PATCH' && request.contentType.startsWith('application/apply-patch')) return this.#apply(request, target);
    const object = this.#store.get(collection, keyOfTarget(target));
    if (!object) throw new ApiFault(404, 'NotFound', `${collection} "${name}" not found`);
    switch (method) {
      case 'GET':
        return { status: 200, body: object };
      case 'PUT':
        return { status: 200, body: this.#replace(object, request, target) };
      case 'PATCH':
        return { status: 200, body: this.#patch(object, request, target) };
      case 'DELETE':
        return { status: 200, body: this.remove(collection, object) };
      default:
        throw new ApiFault(405, 'MethodNotAllowed', `${method} is not supported`);
    }
  }

  remove(collection: Collection, object: KubeObject): KubeObject {
    if (collection === NAMESPACES) {
      for (const other of this.#store.collections())
        for (const inside of this.#store.list(other))
          if (inside.metadata.namespace === object.metadata.name) this.#store.remove(other, inside);
    }
    this.#owners.delete(`${collection} ${keyOfObject(object.metadata)}`);
    return this.#store.remove(collection, object);
  }

  #create({ url, body }: ApiRequest, target: Target): unknown {
    const { collection, apiVersion, namespace, name, subresource } = target;
    const given = body as KubeObject & { readonly spec?: Readonly<Record<string, unknown>> };
    if (collection === 'authentication.k8s.io/v1/tokenreviews')
      return { ...given, status: this.#reviews.onTokenReview?.(given.spec ?? {}) ?? { authenticated: false } };
    if (collection === 'authorization.k8s.io/v1/subjectaccessreviews')
      return { ...given, status: this.#reviews.onSubjectAccessReview?.(given.spec ?? {}) ?? { allowed: true } };
    if (subresource === 'token') return { ...given, status: { token: `token of ${namespace}/${name}` } };
    const object = { apiVersion, ...given, metadata: { ...given.metadata, ...(namespace !== undefined && { namespace }) } };
    const refusal = this.#reviews.onAdmission?.(object);
    if (refusal !== undefined) throw new ApiFault(400, 'BadRequest', `admission webhook "fake.example" denied the request: ${refusal}`);
    if (isDryRun(url) && !this.#store.get(collection, keyOfObject(object.metadata))) return object;
    return this.#store.create(collection, object);
  }

  #replace(before: KubeObject, { url, body }: ApiRequest, { collection, subresource }: Target): KubeObject {
    const given = body as KubeObject;
    const { resourceVersion } = given.metadata;
    if (resourceVersion !== undefined && resourceVersion !== before.metadata.resourceVersion)
      throw new ApiFault(409, 'Conflict', 'the object has been modified; please apply your changes to the latest version and try again');
    const after = restrict(before, given, subresource);
    return isDryRun(url) ? after : this.#store.update(collection, before, after);
  }

  #patch(before: KubeObject, request: ApiRequest, target: Target): KubeObject {
    const patched = mergePatch(before as unknown as Json, request.body as Json) as unknown as KubeObject;
    return this.#replace(before, { ...request, body: patched }, target);
  }

  #apply({ url, body }: ApiRequest, target: Target): ApiAnswer {
    const { collection, namespace, name, subresource } = target;
    const fieldManager = url.searchParams.get('fieldManager');
    if (!fieldManager) throw new ApiFault(400, 'BadRequest', 'PatchOptions.fieldManager: Required value');
    const given = body as KubeObject;
    const key = keyOfTarget(target);
    const before = this.#store.get(collection, key);
    const metadata = { ...given.metadata, name: name ?? given.metadata.name, ...(namespace !== undefined && { namespace }) };
    const owners = this.#owners.get(`${collection} ${key}`) ?? new Map<string, ReadonlySet<string>>();
    const isForced = url.searchParams.get('force') === 'true';
    const applied = applyServerSide(before, { ...given, metadata }, { owners, fieldManager, isForced });
    const object = { ...applied.object, apiVersion: given.apiVersion, kind: given.kind } as KubeObject;
    if (isDryRun(url)) return { status: 200, body: object };
    this.#owners.set(`${collection} ${key}`, applied.owners);
    if (!before) return { status: 201, body: this.#store.create(collection, object) };
    return { status: 200, body: this.#store.update(collection, before, restrict(before, object, subresource)) };
  }

  #list(query: URLSearchParams, { collection, apiVersion, namespace }: Target): unknown {
    const limit = Number(query.get('limit') ?? '0') || Number.POSITIVE_INFINITY;
    const [revision, after = ''] = query.get('continue') === null ? [this.#store.revision] : readContinue(query.get('continue') ?? '');
    // The rest of an older list is only right as long as nothing is forgotten.
    if (query.get('continue') !== null) this.#store.watch(collection, revision, () => {})();
    const all = this.#store
      .list(collection)
      .filter((object) => (namespace === undefined || object.metadata.namespace === namespace) && fitsSelectors(object, query))
      .filter((object) => keyOfObject(object.metadata) > after);
    const page = all.slice(0, limit);
    const last = page.at(-1);
    const next =
      all.length > page.length && last ? Buffer.from(JSON.stringify([revision, keyOfObject(last.metadata)])).toString('base64') : '';
    // Items of a list come without their type.
    const items = page.map(({ apiVersion: _, kind: __, ...rest }) => rest);
    return { apiVersion, kind: 'List', metadata: { resourceVersion: String(revision), ...(next !== '' && { continue: next }) }, items };
  }

  #watch(query: URLSearchParams, { collection, namespace }: Target, response: ServerResponse): void {
    const fromRevision = Number(query.get('resourceVersion') ?? '0') || 0;
    const fits = ({ event: { object } }: StoredEvent): boolean =>
      (namespace === undefined || object.metadata.namespace === namespace) && fitsSelectors(object, query);
    const waiting: StoredEvent[] = [];
    let deliver = (stored: StoredEvent): void => void waiting.push(stored);
    const stop = this.#store.watch(collection, fromRevision, (stored) => deliver(stored));
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    const send = (event: unknown): void => {
      if (!watch.isSilent) response.write(`${JSON.stringify(event)}\n`);
    };
    const watch: OpenWatch = {
      response,
      isSilent: false,
      bookmark: () => send({ type: 'BOOKMARK', object: { metadata: { resourceVersion: String(this.#store.revision) } } }),
    };
    deliver = (stored) => {
      if (fits(stored)) send(stored.event);
    };
    for (const stored of waiting) deliver(stored);
    this.watches.add(watch);
    const timer = setTimeout(() => response.end(), Number(query.get('timeoutSeconds') ?? '3600') * 1_000);
    timer.unref();
    response.on('close', () => {
      clearTimeout(timer);
      stop();
      this.watches.delete(watch);
    });
  }
}

/** Writes to the object leave its status alone, writes to its status everything else. */
function restrict(before: KubeObject, after: KubeObject, subresource: string | undefined): KubeObject {
  if (subresource === 'status') return { ...before, ...(after['status'] !== undefined && { status: after['status'] }) };
  const { status: _, ...rest } = after;
  const kept = { ...rest, ...(before['status'] !== undefined && { status: before['status'] }) } as KubeObject;
  return isSame(before as unknown as Json, kept as unknown as Json) ? before : kept;
}

function isDryRun(url: URL): boolean {
  return url.searchParams.get('dryRun') === 'All';
}

function readContinue(token: string): [number, string] {
  return JSON.parse(Buffer.from(token, 'base64').toString('utf8')) as [number, string];
}

function keyOfTarget({ namespace, name = '' }: Target): string {
  return keyOfObject({ name, ...(namespace !== undefined && { namespace }) });
}

function targetOf(path: string): Target | undefined {
  const match = /^\/(?:api\/(v1)|apis\/([^/]+\/[^/]+))\/(.+)$/.exec(path);
  if (!match) return undefined;
  const apiVersion = match[1] ?? match[2] ?? '';
  const parts = (match[3] ?? '').split('/').map(decodeURIComponent);
  const isInside = apiVersion === 'v1' && parts[0] === 'namespaces' ? parts.length > 2 && parts[2] !== 'status' : parts[0] === 'namespaces';
  const [plural, name, subresource] = isInside ? parts.slice(2) : parts;
  return { collection: `${apiVersion}/${plural}`, apiVersion, namespace: isInside ? parts[1] : undefined, name, subresource };
}
