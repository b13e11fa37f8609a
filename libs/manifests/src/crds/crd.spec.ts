import { describe, expect, it } from '@jest/globals';
import { KIND_NAMES, KINDS, type Kind, leafPaths } from '@mizzen/mesh-api';
import { renderCrd } from './crd.ts';
import type { StructuralSchema } from './structural-schema.ts';

interface Version {
  readonly name: string;
  readonly served: boolean;
  readonly storage: boolean;
  readonly schema: { readonly openAPIV3Schema: StructuralSchema };
}

const versionsOf = (kind: Kind): readonly Version[] => (renderCrd(kind)['spec'] as { versions: readonly Version[] }).versions;
const specOf = (kind: Kind): StructuralSchema => versionsOf(kind)[0]?.schema.openAPIV3Schema.properties?.['spec'] as StructuralSchema;

describe('the CRD of a kind', () => {
  it.each(KIND_NAMES)('serves every version of %s with one schema and stores one', (kind) => {
    const versions = versionsOf(kind);
    expect(versions.map(({ name }) => name)).toEqual(KINDS[kind].versions);
    expect(versions.every(({ served }) => served)).toBe(true);
    expect(versions.filter(({ storage }) => storage)).toHaveLength(1);
    expect(new Set(versions.map(({ schema }) => JSON.stringify(schema))).size).toBe(1);
  });

  it('stores Telemetry in the version that Istio stores it in', () => {
    expect(versionsOf('Telemetry').find(({ storage }) => storage)?.name).toBe('v1alpha1');
  });

  it.each(KIND_NAMES)('knows every field of %s', (kind) => {
    const paths = leavesOf(specOf(kind), 'spec');
    expect([...paths].sort()).toEqual(
      leafPaths(kind)
        .map(({ path }) => path)
        .sort(),
    );
  });

  it.each(KIND_NAMES)('is structural: no field of %s is without a type', (kind) => {
    const untyped: string[] = [];
    visit(specOf(kind), 'spec', (schema, path) => {
      if (schema.type === undefined) untyped.push(path);
      if (schema.properties && schema.additionalProperties) untyped.push(path);
    });
    expect(untyped).toEqual([]);
  });

  it('takes any content exactly where Istio does', () => {
    const open: string[] = [];
    for (const kind of KIND_NAMES) {
      visit(specOf(kind), kind, (schema, path) => {
        if (schema['x-kubernetes-preserve-unknown-fields']) open.push(path);
      });
    }
    expect(open.sort()).toEqual([
      'EnvoyFilter.configPatches[].patch.value',
      'TrafficExtension.wasm.pluginConfig',
      'WasmPlugin.pluginConfig',
    ]);
  });
});

function visit(schema: StructuralSchema, path: string, see: (schema: StructuralSchema, path: string) => void): void {
  see(schema, path);
  for (const [name, inner] of Object.entries(schema.properties ?? {})) visit(inner, `${path}.${name}`, see);
  if (schema.items) visit(schema.items, `${path}[]`, see);
  if (schema.additionalProperties) visit(schema.additionalProperties, `${path}{}`, see);
}

/** As `leafPaths` writes them. */
function leavesOf(schema: StructuralSchema, path: string): readonly string[] {
  if (schema.properties) return Object.entries(schema.properties).flatMap(([name, inner]) => leavesOf(inner, `${path}.${name}`));
  if (schema.items) return leavesOf(schema.items, `${path}[]`);
  if (schema.additionalProperties) return leavesOf(schema.additionalProperties, `${path}.<k>`);
  return [path];
}
