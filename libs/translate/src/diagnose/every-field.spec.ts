import { describe, expect, it } from '@jest/globals';
import type { Diagnostic } from '@mizzen/core';
import { KINDS, type Kind, type LeafPath, leafPaths, type Resource } from '@mizzen/mesh-api';
import { GUARDING_FIELDS, SUPPORTED_FIELDS } from './supported-fields.ts';
import { unsupportedParts } from './unsupported.ts';

const TRANSLATED: readonly Kind[] = [
  'VirtualService',
  'DestinationRule',
  'Gateway',
  'ServiceEntry',
  'WorkloadEntry',
  'WorkloadGroup',
  'Sidecar',
  'PeerAuthentication',
  'RateLimit',
];

const VALUES: Readonly<Record<string, unknown>> = { string: 'a', integer: 1, number: 1, boolean: true, object: { a: 'b' } };

function sampleOf({ type, values }: LeafPath): unknown {
  const scalar = type.replace(/^(?:list|map)<(.*)>$/, '$1');
  const value = scalar === 'string' ? values.find((name) => name !== '') : undefined;
  return value ?? VALUES[scalar];
}

/** A spec that has this field and nothing else, and where the field stands in it. */
function specWith(leaf: LeafPath): { spec: Record<string, unknown>; path: (string | number)[] } {
  const steps = leaf.path.replaceAll('[]', '.[]').split('.').slice(1);
  const path = steps.map((step) => (step === '[]' ? 0 : step === '<k>' ? 'key' : step));
  const spec = steps.reduceRight<unknown>((inner, step) => {
    if (step === '[]') return [inner];
    return { [step === '<k>' ? 'key' : step]: inner };
  }, sampleOf(leaf));
  return { spec: spec as Record<string, unknown>, path: ['spec', ...path] };
}

function resourceOf(kind: Kind, spec: Record<string, unknown>): Resource {
  const [version] = KINDS[kind].versions;
  const metadata = {
    name: 'a',
    namespace: 'default',
    labels: {},
    annotations: {},
    creationTimestamp: '2024-01-01T00:00:00Z',
    generation: 1,
  };
  return { apiVersion: `${KINDS[kind].group}/${version}`, kind, metadata, spec } as unknown as Resource;
}

function concerns(diagnostic: Diagnostic, path: readonly (string | number)[]): boolean {
  const own = diagnostic.path ?? [];
  return diagnostic.code === 'unsupported-field' && own.length > 1 && own.every((step, index) => step === path[index]);
}

function isSupported(kind: Kind, leaf: string): boolean {
  return (SUPPORTED_FIELDS[kind] ?? []).some((path) => leaf === path || leaf.startsWith(`${path}.`) || leaf.startsWith(`${path}[]`));
}

describe.each(TRANSLATED)('every field of %s', (kind) => {
  it.each(leafPaths(kind).map((leaf) => [leaf.path, leaf] as const))('%s has an effect or is named', (_, leaf) => {
    const { spec, path } = specWith(leaf);
    const found = unsupportedParts(resourceOf(kind, spec));
    expect(found.filter((diagnostic) => concerns(diagnostic, path))).toHaveLength(isSupported(kind, leaf.path) ? 0 : 1);
    // Nothing but the field itself is named.
    expect(found.filter((diagnostic) => !concerns(diagnostic, path))).toEqual([]);
  });
});

describe('fields that keep something out', () => {
  const guards = Object.entries(GUARDING_FIELDS).flatMap(([kind, fields]) =>
    Object.keys(fields).map((path) => [kind as Kind, path] as const),
  );

  it.each(guards)('%s %s is an error where it is not supported', (kind, path) => {
    const leaf = leafPaths(kind).find((candidate) => candidate.path.startsWith(path));
    if (leaf === undefined) throw new Error(`${kind} has no field ${path}`);
    expect(unsupportedParts(resourceOf(kind, specWith(leaf).spec))).toMatchObject([{ code: 'unsupported-field', severity: 'error' }]);
  });
});

it('calls an ignored plugin of authentication or authorization an error', () => {
  const severity = (phase: string) =>
    unsupportedParts(resourceOf('WasmPlugin', { url: 'file:///a.wasm', phase })).map((found) => found.severity);
  expect([severity('AUTHZ'), severity('STATS')]).toEqual([['error'], ['warning']]);
});
