import { randomUUID } from 'node:crypto';
import type { KubeMetadata, KubeObject, WatchEvent } from '../contract.ts';
import { keyOfObject } from '../paths.ts';
import { ApiFault } from './api-fault.ts';
import { isSame, type Json } from './json.ts';

/** What is being changed: `networking.istio.io/v1/gateways`. */
export type Collection = string;

export interface StoredEvent {
  readonly revision: number;
  readonly collection: Collection;
  readonly event: WatchEvent;
}

export type Listener = (stored: StoredEvent) => void;

/** The objects of an API server with their history: one counter of revisions for all, as etcd has. */
export class ObjectStore {
  readonly #collections = new Map<Collection, Map<string, KubeObject>>();
  readonly #listeners = new Set<Listener>();
  #history: StoredEvent[] = [];
  #revision = 1;
  /** Revisions up to here are forgotten. */
  #compacted = 0;

  get revision(): number {
    return this.#revision;
  }

  /** Ordered by namespace and name. */
  list(collection: Collection): readonly KubeObject[] {
    return [...(this.#collections.get(collection) ?? new Map<string, KubeObject>())]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, object]) => object);
  }

  get(collection: Collection, key: string): KubeObject | undefined {
    return this.#collections.get(collection)?.get(key);
  }

  collections(): readonly Collection[] {
    return [...this.#collections.keys()];
  }

  create(collection: Collection, object: KubeObject): KubeObject {
    const { name, namespace } = object.metadata;
    if (this.get(collection, keyOfObject(object.metadata)))
      throw new ApiFault(409, 'AlreadyExists', `${collection} "${name}" already exists`);
    const metadata: KubeMetadata = {
      ...object.metadata,
      name,
      ...(namespace !== undefined && { namespace }),
      uid: object.metadata.uid ?? randomUUID(),
      creationTimestamp: object.metadata.creationTimestamp ?? new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
      generation: 1,
    };
    return this.#write(collection, { ...object, metadata }, 'ADDED');
  }

  /** Writes a new state; the generation goes up where anything but metadata and status differs. Nothing happens where nothing changed. */
  update(collection: Collection, before: KubeObject, after: KubeObject): KubeObject {
    const { uid, creationTimestamp, generation = 1, deletionTimestamp, namespace, name, resourceVersion } = before.metadata;
    const isSpecChanged = !isSame(withoutStatus(before), withoutStatus(after));
    const metadata = {
      ...after.metadata,
      name,
      ...(namespace !== undefined && { namespace }),
      ...(uid !== undefined && { uid }),
      ...(creationTimestamp !== undefined && { creationTimestamp }),
      ...(deletionTimestamp !== undefined && { deletionTimestamp }),
      ...(resourceVersion !== undefined && { resourceVersion }),
      generation: isSpecChanged ? generation + 1 : generation,
    };
    const next = { ...after, metadata };
    if (isSame(before as unknown as Json, next as unknown as Json)) return before;
    if (deletionTimestamp !== undefined && (metadata.finalizers ?? []).length === 0) return this.remove(collection, next);
    return this.#write(collection, next, 'MODIFIED');
  }

  /** Takes the object away, or marks it where finalizers hold it. */
  remove(collection: Collection, object: KubeObject): KubeObject {
    if ((object.metadata.finalizers ?? []).length > 0) {
      if (object.metadata.deletionTimestamp !== undefined) return object;
      const metadata = { ...object.metadata, deletionTimestamp: new Date().toISOString() };
      return this.#write(collection, { ...object, metadata }, 'MODIFIED');
    }
    return this.#write(collection, object, 'DELETED');
  }

  /** Events after a revision, then the coming ones. Throws `Expired` where the revision is forgotten. Returns what ends it. */
  watch(collection: Collection, fromRevision: number, listener: Listener): () => void {
    if (fromRevision < this.#compacted)
      throw new ApiFault(410, 'Expired', `too old resource version: ${fromRevision} (${this.#compacted})`);
    const mine: Listener = (stored) => {
      if (stored.collection === collection) listener(stored);
    };
    for (const stored of this.#history.filter(({ revision }) => revision > fromRevision)) mine(stored);
    this.#listeners.add(mine);
    return () => this.#listeners.delete(mine);
  }

  /** Forgets the history: whoever asks for an older revision gets 410. */
  compact(): void {
    this.#history = [];
    this.#compacted = ++this.#revision;
  }

  #write(collection: Collection, object: KubeObject, type: 'ADDED' | 'MODIFIED' | 'DELETED'): KubeObject {
    const revision = ++this.#revision;
    const written: KubeObject = Object.freeze({ ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } });
    const objects = this.#collections.get(collection) ?? new Map<string, KubeObject>();
    this.#collections.set(collection, objects);
    if (type === 'DELETED') objects.delete(keyOfObject(object.metadata));
    else objects.set(keyOfObject(object.metadata), written);
    const stored: StoredEvent = { revision, collection, event: { type, object: written } };
    this.#history.push(stored);
    for (const listener of [...this.#listeners]) listener(stored);
    return written;
  }
}

function withoutStatus({ metadata: _, status: __, ...rest }: KubeObject): Json {
  return rest as unknown as Json;
}
