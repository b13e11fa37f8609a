import type { JsonPatchOperation } from '../json-patch.ts';

/** Carries out a JSON patch (RFC 6902) as an API server does, without sharing anything with what it was given. */
export function applyPatch(value: unknown, patch: readonly JsonPatchOperation[]): unknown {
  const root = structuredClone({ value }) as Record<string, unknown>;
  for (const step of patch) {
    const names = ['value', ...step.path.split('/').slice(1)].map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
    const last = names.pop() as string;
    const parent = names.reduce<Record<string, unknown>>((inner, name) => inner[name] as Record<string, unknown>, root);
    if (Array.isArray(parent)) applyToList(parent, last, step);
    else if (step.op === 'remove') delete parent[last];
    else parent[last] = step.value;
  }
  return JSON.parse(JSON.stringify(root['value']));
}

function applyToList(list: unknown[], index: string, step: JsonPatchOperation): void {
  if (step.op === 'remove') list.splice(Number(index), 1);
  else if (step.op === 'replace') list[Number(index)] = step.value;
  else list.splice(index === '-' ? list.length : Number(index), 0, step.value);
}
