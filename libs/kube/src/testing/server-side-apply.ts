import type { KubeObject } from '../contract.ts';
import { ApiFault } from './api-fault.ts';
import { isJsonObject, isSame, type Json, type JsonObject } from './json.ts';

type Path = readonly string[];
/** Paths (as JSON text) that each field manager owns. */
export type Owners = ReadonlyMap<string, ReadonlySet<string>>;

export interface Applied {
  readonly object: KubeObject;
  readonly owners: Owners;
}

/**
 * Server-side apply for objects without a schema: maps are merged, lists are replaced as a whole (a real server merges lists that its
 * schema gives keys, like the containers of a pod). What a manager gives no more goes away unless somebody else owns it.
 * Source: kubernetes.io, Server-Side Apply.
 */
export function applyServerSide(
  before: KubeObject | undefined,
  given: KubeObject,
  about: { readonly owners: Owners; readonly fieldManager: string; readonly isForced: boolean },
): Applied {
  const { fieldManager, isForced } = about;
  const owners = new Map([...about.owners].map(([manager, paths]) => [manager, new Set(paths)]));
  const leaves = leavesOf(ownable(given));
  let merged = structuredClone((before ?? { metadata: given.metadata }) as unknown as Json);

  for (const [path, value] of leaves) {
    const text = JSON.stringify(path);
    for (const [manager, paths] of owners) {
      if (manager === fieldManager || !paths.has(text) || isSame(valueAt(merged, path), value)) continue;
      if (!isForced) throw new ApiFault(409, 'Conflict', `Apply failed with 1 conflict: conflict with "${manager}": .${path.join('.')}`);
      paths.delete(text);
    }
    merged = withValue(merged, path, value);
  }
  const mine = new Set(leaves.map(([path]) => JSON.stringify(path)));
  for (const text of about.owners.get(fieldManager) ?? []) {
    if (mine.has(text) || [...owners].some(([manager, paths]) => manager !== fieldManager && paths.has(text))) continue;
    merged = withoutValue(merged, JSON.parse(text) as Path);
  }
  owners.set(fieldManager, mine);
  return { object: merged as unknown as KubeObject, owners };
}

// Nobody owns what identifies an object, nor what another endpoint writes.
function ownable({ apiVersion: _, kind: __, metadata, status: ___, ...rest }: KubeObject): Json {
  const { labels, annotations, ownerReferences, finalizers } = metadata;
  const owned = {
    ...(labels && { labels }),
    ...(annotations && { annotations }),
    ...(ownerReferences && { ownerReferences }),
    ...(finalizers && { finalizers }),
  };
  return { ...rest, metadata: owned } as unknown as Json;
}

function leavesOf(value: Json, path: Path = []): (readonly [Path, Json])[] {
  if (!isJsonObject(value)) return [[path, value]];
  const entries = Object.entries(value);
  if (entries.length === 0 && path.length > 1) return [[path, value]];
  return entries.flatMap(([key, child]) => leavesOf(child, [...path, key]));
}

function valueAt(value: Json | undefined, path: Path): Json | undefined {
  return path.reduce<Json | undefined>((at, key) => (isJsonObject(at) ? at[key] : undefined), value);
}

function withValue(target: Json | undefined, [key, ...rest]: Path, value: Json): Json {
  if (key === undefined) return value;
  const object: JsonObject = isJsonObject(target) ? target : {};
  return { ...object, [key]: withValue(object[key], rest, value) };
}

function withoutValue(target: Json, [key, ...rest]: Path): Json {
  if (key === undefined || !isJsonObject(target) || !(key in target)) return target;
  const { [key]: child, ...others } = target;
  if (rest.length === 0 || child === undefined) return others;
  const left = withoutValue(child, rest);
  return isJsonObject(left) && Object.keys(left).length === 0 ? others : { ...others, [key]: left };
}
