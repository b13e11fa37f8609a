import type { Diagnostic } from '@mizzen/core';
import type { TSchema } from 'typebox';
import { KINDS, type Kind } from './kinds.ts';
import { type Resource, refOf } from './resource.ts';
import { isDeprecated, shapeOf } from './schema-shape.ts';

/** One field of a kind that holds a value: `spec.http[].match[].headers.<k>.exact`. `[]` is a list, `<k>` a map's key. */
export interface LeafPath {
  readonly path: string;
  /** `string`, `integer`, `number`, `boolean`, `list<string>`, `map<string>`; `object` where anything may stand. */
  readonly type: string;
  /** The names that may stand there; empty if any may. */
  readonly values: readonly string[];
  readonly isDeprecated: boolean;
}

/** Every field of a kind that holds a value, in the schema's order. */
export function leafPaths(kind: Kind): readonly LeafPath[] {
  const leaves: LeafPath[] = [];
  collectLeaves(KINDS[kind].schema, { path: 'spec', container: '', isDeprecated: false }, leaves);
  return leaves;
}

function collectLeaves(
  schema: TSchema,
  at: { path: string; container: '' | 'list' | 'map'; isDeprecated: boolean },
  leaves: LeafPath[],
): void {
  const shape = shapeOf(schema);
  const deprecated = at.isDeprecated || isDeprecated(schema);
  switch (shape.type) {
    case 'object':
      for (const [name, field] of Object.entries(shape.fields)) {
        collectLeaves(field, { path: `${at.path}.${name}`, container: '', isDeprecated: deprecated }, leaves);
      }
      return;
    case 'list':
      collectLeaves(shape.items, { path: `${at.path}[]`, container: 'list', isDeprecated: deprecated }, leaves);
      return;
    case 'map':
      collectLeaves(shape.values, { path: `${at.path}.<k>`, container: 'map', isDeprecated: deprecated }, leaves);
      return;
    case 'opaque':
      leaves.push({ path: at.path, type: 'object', values: [], isDeprecated: deprecated });
      return;
    case 'scalar':
      leaves.push({
        path: at.path,
        type: at.container === '' ? shape.name : `${at.container}<${shape.name}>`,
        values: shape.values,
        isDeprecated: deprecated,
      });
  }
}

/**
 * One diagnostic `unsupported-field` (a warning) for each part of the resource that none of `supportedPaths` reaches, named at its
 * highest point: a whole unsupported block gives one. A supported path is written as `leafPaths` writes it and covers everything below
 * itself; a part above a supported path is descended into.
 */
export function unsupportedFields(resource: Resource, supportedPaths: readonly string[]): readonly Diagnostic[] {
  const { position, lineOf } = resource;
  const uncovered = uncoveredParts({ schema: KINDS[resource.kind].schema, value: resource.spec, root: 'spec' }, supportedPaths);
  return uncovered.map(({ pattern, path }) => ({
    code: 'unsupported-field',
    severity: 'warning',
    message: `${pattern} is valid but not supported yet; it has no effect`,
    resource: refOf(resource),
    path,
    ...(position && { position: { file: position.file, line: lineOf?.(path) ?? position.line } }),
  }));
}

/** A part of a value: where its schema has it (`http[].fault`) and where it stands. */
export interface UncoveredPart {
  readonly pattern: string;
  readonly path: readonly (string | number)[];
}

/** The parts of a value that none of `supportedPaths` reaches, each at its highest point. `root` stands before every path; '' is none. */
export function uncoveredParts(
  whole: { readonly schema: TSchema; readonly value: object; readonly root: string },
  supportedPaths: readonly string[],
): readonly UncoveredPart[] {
  const parts: UncoveredPart[] = [];
  const supported = prefixesOf(supportedPaths);
  const visit = (schema: TSchema, value: unknown, { pattern, path }: UncoveredPart): void => {
    const standing = supported.get(pattern);
    if (standing === 'whole' || value === undefined) return;
    if (standing === undefined) {
      parts.push({ pattern, path });
      return;
    }
    const shape = shapeOf(schema);
    if (shape.type === 'list') {
      for (const [index, item] of (value as readonly unknown[]).entries())
        visit(shape.items, item, { pattern: `${pattern}[]`, path: [...path, index] });
    } else if (shape.type === 'map') {
      for (const [key, item] of Object.entries(value as object))
        visit(shape.values, item, { pattern: `${pattern}.<k>`, path: [...path, key] });
    } else if (shape.type === 'object') {
      for (const [name, item] of Object.entries(value as object))
        visit(shape.fields[name] as TSchema, item, { pattern: `${pattern}.${name}`, path: [...path, name] });
    }
  };
  const shape = shapeOf(whole.schema);
  if (shape.type !== 'object') return [];
  const [prefix, start] = whole.root === '' ? ['', []] : [`${whole.root}.`, [whole.root]];
  for (const [name, value] of Object.entries(whole.value)) {
    const field = shape.fields[name];
    if (field !== undefined) visit(field, value, { pattern: `${prefix}${name}`, path: [...start, name] });
  }
  return parts;
}

type Standing = 'whole' | 'above';
const prefixCache = new WeakMap<readonly string[], ReadonlyMap<string, Standing>>();

function prefixesOf(paths: readonly string[]): ReadonlyMap<string, Standing> {
  const known = prefixCache.get(paths);
  if (known) return known;
  const prefixes = new Map<string, Standing>();
  for (const path of paths) {
    for (let end = path.search(/[.[]/); end > 0; end = nextStep(path, end)) {
      const prefix = path.slice(0, end);
      if (!prefixes.has(prefix)) prefixes.set(prefix, 'above');
    }
  }
  for (const path of paths) prefixes.set(path, 'whole');
  prefixCache.set(paths, prefixes);
  return prefixes;
}

// `spec.http[].match[]` has the prefixes `spec`, `spec.http`, `spec.http[]` and `spec.http[].match`.
function nextStep(path: string, from: number): number {
  const offset = path.slice(from + 1).search(/[.[]/);
  return offset < 0 ? -1 : from + 1 + offset;
}
