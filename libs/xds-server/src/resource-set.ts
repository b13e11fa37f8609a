import { contentVersion, type EncodedResource } from './encoded-resource.ts';
import { memoizedPair } from './memo.ts';

/** What a client is known to hold: names and versions, bodies not needed. */
export interface HeldResources {
  readonly resources: ReadonlyMap<string, { readonly version: string }>;
}

/**
 * Resources of one type, immutable. Its identity is what makes sharing work: two proxies that are given the same set are sent
 * the same bytes, and the difference between two sets is computed once for all of them.
 */
export class ResourceSet implements HeldResources {
  static readonly empty: ResourceSet = new ResourceSet([]);
  readonly resources: ReadonlyMap<string, EncodedResource>;
  #version: string | undefined;

  constructor(resources: Iterable<EncodedResource>) {
    this.resources = new Map(Array.from(resources, (resource) => [resource.name, resource]));
  }

  /** Equal for equal names and versions in the same order. */
  get version(): string {
    this.#version ??= contentVersion(Array.from(this.resources.values(), ({ name, version }) => `${name}\0${version}`).join('\n'));
    return this.#version;
  }

  /** Those of the names that exist, in the order of the names. */
  select(names: Iterable<string>): EncodedResource[] {
    const selected: EncodedResource[] = [];
    for (const name of names) {
      const resource = this.resources.get(name);
      if (resource) selected.push(resource);
    }
    return selected;
  }
}

const interned = new Map<string, WeakRef<ResourceSet>>();
const forgotten = new FinalizationRegistry<string>((version) => {
  if (!interned.get(version)?.deref()) interned.delete(version);
});

/** The set of these resources: the same object for equal names and versions of one type, whoever they are for. */
export function internResourceSet(typeUrl: string, resources: Iterable<EncodedResource>): ResourceSet {
  const set = new ResourceSet(resources);
  const key = `${typeUrl} ${set.version}`;
  const known = interned.get(key)?.deref();
  if (known) return known;
  interned.set(key, new WeakRef(set));
  forgotten.register(set, key);
  return set;
}

/** What has to be sent to somebody who holds one set so that it holds another. */
export interface Difference {
  readonly changed: readonly EncodedResource[];
  readonly removed: readonly string[];
}

const NO_DIFFERENCE: Difference = { changed: [], removed: [] };
const compareOnce = memoizedPair(compare);

/** The same object for the same two sets, so that what is made from it can be shared as well. */
export function differenceOf(held: HeldResources, target: ResourceSet): Difference {
  return held === target ? NO_DIFFERENCE : compareOnce(held, target);
}

function compare(held: HeldResources, target: ResourceSet): Difference {
  const changed: EncodedResource[] = [];
  for (const resource of target.resources.values()) {
    if (held.resources.get(resource.name)?.version !== resource.version) changed.push(resource);
  }
  const removed: string[] = [];
  for (const name of held.resources.keys()) {
    if (!target.resources.has(name)) removed.push(name);
  }
  return changed.length + removed.length === 0 ? NO_DIFFERENCE : { changed, removed };
}

const retainOnce = memoizedPair(
  (held: HeldResources, target: ResourceSet): HeldResources =>
    held instanceof ResourceSet ? unionOfSets(held, target) : { resources: new Map([...held.resources, ...target.resources]) },
);

/** `target` and, of what it lacks, what is still held: the state between make and break. The same object for the same two sets. */
export function retainRemoved(held: ResourceSet, target: ResourceSet): ResourceSet;
export function retainRemoved(held: HeldResources, target: ResourceSet): HeldResources;
export function retainRemoved(held: HeldResources, target: ResourceSet): HeldResources {
  return retainOnce(held, target);
}

function unionOfSets(held: ResourceSet, target: ResourceSet): ResourceSet {
  const kept = [...held.resources.values()].filter(({ name }) => !target.resources.has(name));
  return new ResourceSet([...target.resources.values(), ...kept]);
}

/** `held` without some names. */
export function withoutNames(held: HeldResources, names: Iterable<string>): HeldResources {
  const resources = new Map(held.resources);
  for (const name of names) resources.delete(name);
  return { resources };
}
