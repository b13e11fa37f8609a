import type { KubeObject } from '../objects.ts';
import { isMap } from '../values.ts';
import { replaceMarks, wholeMark } from './template-values.ts';

/** A text that is a template already: what stands between `{{` and `}}`. */
export class Expression {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** An object that was rendered from marked values, as a template of the chart. */
export function templateOf(object: KubeObject): string {
  return writeMap(object as unknown as Readonly<Record<string, unknown>>, '');
}

function writeMap(map: Readonly<Record<string, unknown>>, indent: string): string {
  return Object.entries(map)
    .map(([key, value]) => {
      const mark = wholeMark(key);
      // Maps that the user gives are laid over what is there.
      if (mark)
        return `${indent}{{- range $key, $value := ${pathInChart(mark.path)} }}\n${indent}{{ $key }}: {{ toJson $value }}\n${indent}{{- end }}\n`;
      return `${indent}${writeText(key)}:${writeValue(value, indent)}`;
    })
    .join('');
}

function writeValue(value: unknown, indent: string): string {
  if (Array.isArray(value)) return writeList(value, indent);
  if (value instanceof Expression) return ` {{ ${value.text} | quote }}\n`;
  if (!isMap(value)) return ` ${writeScalar(value)}\n`;
  const keys = Object.keys(value);
  const mark = keys.length === 1 ? wholeMark(keys[0] as string) : undefined;
  if (mark) return ` {{ toJson ${pathInChart(mark.path)} }}\n`;
  return keys.length === 0 ? ' {}\n' : `\n${writeMap(value, `${indent}  `)}`;
}

function writeList(list: readonly unknown[], indent: string): string {
  const only = list.length === 1 && typeof list[0] === 'string' ? wholeMark(list[0]) : undefined;
  if (only?.type === 'list') return ` {{ toJson ${pathInChart(only.path)} }}\n`;
  if (list.length === 0) return ' []\n';
  return `\n${list.map((item) => writeItem(item, indent)).join('')}`;
}

function writeItem(item: unknown, indent: string): string {
  const mark = typeof item === 'string' ? wholeMark(item) : undefined;
  if (mark?.type === 'list') return `${indent}{{- range ${pathInChart(mark.path)} }}\n${indent}- {{ toJson . }}\n${indent}{{- end }}\n`;
  if (!isMap(item)) return `${indent}- ${writeScalar(item)}\n`;
  // The first key stands beside the dash.
  return `${indent}- ${writeMap(item, `${indent}  `).slice(indent.length + 2)}`;
}

function writeScalar(value: unknown): string {
  if (typeof value !== 'string') return JSON.stringify(value);
  const mark = wholeMark(value);
  if (mark?.type === 'scalar') return `{{ ${pathInChart(mark.path)} }}`;
  return writeText(value);
}

function writeText(text: string): string {
  const written = replaceMarks(
    JSON.stringify(text).replaceAll('-«text:revision»', '{{ include "mizzen.revisionSuffix" . }}'),
    (path) => `{{ ${pathInChart(path)} }}`,
  );
  return /^"[a-zA-Z][a-zA-Z0-9/.-]*"$/.test(written) && !RESERVED.test(text) ? text : written;
}

// Plain text that YAML would take for something else.
const RESERVED = /^(y|n|yes|no|on|off|true|false|null)$/i;

function pathInChart(path: string): string {
  return path === 'namespace' ? '.Release.Namespace' : `.Values.${path}`;
}
