import type { Diagnostic } from '@mizzen/core';
import type { Pod } from './pod.ts';

/**
 * A template that a person wrote: part of a pod (`metadata`, `spec`) that is laid over it by strategic merge. Its texts may hold
 * `${NAME}` and `${NAME:-default}`; `$${` is a plain `${`. A text that is one placeholder and nothing else takes the type of its value.
 */
export interface CustomTemplate {
  readonly name: string;
  readonly overlay: Readonly<Record<string, unknown>>;
}

/** What the placeholders stand for: `pod.labels.app`, `values.custom.size`, … */
export type TemplateScope = Readonly<Record<string, unknown>>;

const OWN_TEMPLATES = ['sidecar', 'gateway'];
const TOP_FIELDS = ['metadata', 'spec'];

export function parseCustomTemplates(
  written: Readonly<Record<string, unknown>>,
  diagnostics: Diagnostic[],
): ReadonlyMap<string, CustomTemplate> {
  const templates = new Map<string, CustomTemplate>();
  for (const [name, overlay] of Object.entries(written)) {
    const wrong = violation(name, overlay);
    if (wrong === undefined) templates.set(name, { name, overlay: overlay as Readonly<Record<string, unknown>> });
    else diagnostics.push({ code: 'IST0106', severity: 'error', message: `template "${name}" ${wrong}`, path: [name] });
  }
  return templates;
}

function violation(name: string, overlay: unknown): string | undefined {
  if (OWN_TEMPLATES.includes(name)) return 'is the mesh’s own and cannot be replaced; give yours another name';
  if (typeof overlay === 'string')
    return overlay.includes('{{')
      ? 'is a Go template, which is not understood here; write it as a part of a pod with placeholders of the form $NAME in braces'
      : 'is a text; write it as a part of a pod, without the "|" behind its name';
  if (typeof overlay !== 'object' || overlay === null || Array.isArray(overlay)) return 'must be a part of a pod: metadata and spec';
  const foreign = Object.keys(overlay).find((field) => !TOP_FIELDS.includes(field));
  return foreign === undefined ? undefined : `has a field "${foreign}"; a template has metadata and spec`;
}

/** The overlay with its placeholders filled in. Throws an Error that names the template and a placeholder without a value. */
export function renderTemplate({ name, overlay }: CustomTemplate, scope: TemplateScope): Pod {
  const render = (value: unknown): unknown => {
    if (typeof value === 'string') return renderText(value, scope, name);
    if (Array.isArray(value)) return value.map(render);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [String(renderText(key, scope, name)), render(inner)]));
  };
  return render(overlay) as Pod;
}

const PLACEHOLDER = /\$\$\{|\$\{([^}]*)\}/g;

function renderText(text: string, scope: TemplateScope, template: string): unknown {
  const whole = /^\$\{([^}]*)\}$/.exec(text)?.[1];
  if (whole !== undefined) return placeholderValue(whole, scope, template);
  return text.replaceAll(PLACEHOLDER, (_, inner: string | undefined) =>
    inner === undefined ? '${' : String(placeholderValue(inner, scope, template)),
  );
}

function placeholderValue(placeholder: string, scope: TemplateScope, template: string): unknown {
  const [name = '', fallback] = splitDefault(placeholder);
  const value = lookUp(scope, name);
  if (value !== undefined && value !== '') return value;
  if (fallback !== undefined) return fallback;
  if (value === '') return value;
  throw new Error(`template "${template}": \${${name}} has no value; write \${${name}:-default} where it may be absent`);
}

function splitDefault(placeholder: string): readonly (string | undefined)[] {
  const at = placeholder.indexOf(':-');
  return at < 0 ? [placeholder.trim()] : [placeholder.slice(0, at).trim(), placeholder.slice(at + 2)];
}

// The keys of labels and annotations hold dots themselves: the longest name that is there is taken first.
function lookUp(scope: unknown, name: string): unknown {
  if (typeof scope !== 'object' || scope === null) return undefined;
  if (Object.hasOwn(scope, name)) return (scope as Record<string, unknown>)[name];
  for (let dot = name.lastIndexOf('.'); dot > 0; dot = name.lastIndexOf('.', dot - 1)) {
    const head = name.slice(0, dot);
    if (Object.hasOwn(scope, head)) return lookUp((scope as Record<string, unknown>)[head], name.slice(dot + 1));
  }
  return undefined;
}
