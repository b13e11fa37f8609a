import { FREE_VALUES, type InstallValues, isMap, valuesOf, type Yaml } from '../values.ts';

// Marks the path of a value inside of a manifest. No manifest has these characters.
const OPEN = '«';
const CLOSE = '»';

/** The kind of a value decides how a template writes it. */
export type ValueType = 'text' | 'scalar' | 'map' | 'list';

/**
 * Values that stand for themselves: what is rendered from them shows which value went where. Text becomes a mark; a map one with a mark as its
 * key; a list one with a mark as its item.
 */
export function markedValues(): InstallValues {
  return mark(valuesOf('default') as unknown as Yaml, []) as unknown as InstallValues;
}

function mark(value: unknown, path: readonly string[]): unknown {
  const type = typeAt(value);
  const name = `${OPEN}${type}:${path.join('.')}${CLOSE}`;
  if (type === 'list') return [name];
  if (!isMap(value)) return name;
  if (FREE_VALUES.has(path.at(-1) ?? '')) return { [name]: name };
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, mark(inner, [...path, key])]));
}

function typeAt(value: unknown): ValueType {
  if (Array.isArray(value)) return 'list';
  if (isMap(value)) return 'map';
  return typeof value === 'string' ? 'text' : 'scalar';
}

/** A mark that is the whole of a text. */
export function wholeMark(text: string): { readonly type: ValueType; readonly path: string } | undefined {
  const match = /^«(text|scalar|map|list):([^»]+)»$/.exec(text);
  return match ? { type: match[1] as ValueType, path: match[2] as string } : undefined;
}

/** Replaces the marks within a text. */
export function replaceMarks(text: string, replace: (path: string) => string): string {
  return text.replaceAll(/«text:([^»]+)»/g, (_, path: string) => replace(path));
}
