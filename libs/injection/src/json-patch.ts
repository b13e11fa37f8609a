import { isDeepStrictEqual } from 'node:util';

/** One step of a JSON patch (RFC 6902). */
export type JsonPatchOperation =
  | { readonly op: 'add' | 'replace'; readonly path: string; readonly value: unknown }
  | { readonly op: 'remove'; readonly path: string };

type JsonObject = Readonly<Record<string, unknown>>;

/** The steps that turn `before` into `after`; none where they are equal. */
export function jsonPatch(before: unknown, after: unknown): JsonPatchOperation[] {
  return compare(before, after, '');
}

function compare(before: unknown, after: unknown, path: string): JsonPatchOperation[] {
  if (isDeepStrictEqual(before, after)) return [];
  if (isObject(before) && isObject(after)) return compareObjects(before, after, path);
  if (Array.isArray(before) && Array.isArray(after)) return compareLists(before, after, path);
  return [{ op: 'replace', path, value: after }];
}

function compareObjects(before: JsonObject, after: JsonObject, path: string): JsonPatchOperation[] {
  const removed = Object.keys(before).filter((name) => after[name] === undefined);
  const steps: JsonPatchOperation[] = removed.map((name) => ({ op: 'remove', path: pointer(path, name) }));
  for (const [name, value] of Object.entries(after)) {
    if (value === undefined) continue;
    if (before[name] === undefined) steps.push({ op: 'add', path: pointer(path, name), value });
    else steps.push(...compare(before[name], value, pointer(path, name)));
  }
  return steps;
}

function compareLists(before: readonly unknown[], after: readonly unknown[], path: string): JsonPatchOperation[] {
  const shared = Math.min(before.length, after.length);
  const steps = before.slice(0, shared).flatMap((item, index) => compare(item, after[index], `${path}/${index}`));
  // From the end, so that the indices of what remains to be removed stay true.
  for (let index = before.length - 1; index >= shared; index--) steps.push({ op: 'remove', path: `${path}/${index}` });
  for (const value of after.slice(shared)) steps.push({ op: 'add', path: `${path}/-`, value });
  return steps;
}

function pointer(path: string, name: string): string {
  return `${path}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
