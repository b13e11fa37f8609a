import { parseDocument, stringify, visit } from 'yaml';
import { helpOf } from '../value-help.ts';
import { FREE_VALUES, isMap, valuesOf, type Yaml } from '../values.ts';

/** Values that a chart has no use for: Helm makes the namespace. */
const OF_THE_NAMESPACE = new Set(['namespace', 'podSecurity']);

function chartValues(): Yaml {
  return Object.fromEntries(Object.entries(valuesOf('default')).filter(([name]) => !OF_THE_NAMESPACE.has(name)));
}

/** values.yaml: every value with its default, and what it means above it. */
export function renderValuesFile(): string {
  const document = parseDocument(stringify(chartValues(), { version: '1.1', aliasDuplicateObjects: false }));
  const path: string[] = [];
  visit(document, {
    Pair(_, pair, ancestors) {
      path.length = ancestors.filter((node) => 'key' in (node as object)).length;
      const key = String(pair.key);
      path.push(key);
      if (path.slice(0, -1).some((part) => FREE_VALUES.has(part))) return;
      const help = helpOf(path);
      const node = pair.key as { commentBefore?: string; spaceBefore?: boolean };
      if (help !== undefined) node.commentBefore = ` ${help}`;
      if (path.length === 1 && key !== 'hub') node.spaceBefore = true;
    },
  });
  document.commentBefore = ' Made from libs/manifests by `npm run check -- --write`. profiles/ holds values for other sizes of the mesh.';
  return document.toString({ lineWidth: 0 });
}

/** values.schema.json: Helm refuses values that there are not. */
export function renderValuesSchema(): string {
  const schema: Record<string, unknown> = { $schema: 'http://json-schema.org/draft-07/schema#', ...schemaOf(chartValues(), []) };
  // What a parent chart gives to all its charts.
  (schema['properties'] as Record<string, unknown>)['global'] = { type: 'object' };
  return `${JSON.stringify(schema, undefined, 2)}\n`;
}

function schemaOf(value: unknown, path: readonly string[]): Record<string, unknown> {
  const help = helpOf(path);
  const description = help === undefined ? {} : { description: help };
  if (Array.isArray(value)) return { type: 'array', ...description };
  if (!isMap(value)) return { type: typeof value === 'number' ? 'integer' : typeof value, ...description };
  if (FREE_VALUES.has(path.at(-1) ?? '')) return { type: 'object', ...description };
  const properties = Object.entries(value).map(([key, inner]) => [key, schemaOf(inner, [...path, key])]);
  return { type: 'object', ...description, properties: Object.fromEntries(properties), additionalProperties: false };
}
