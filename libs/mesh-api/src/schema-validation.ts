import { type DiagnosticCode, parseDurationMs } from '@mizzen/core';
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import type { TSchema } from 'typebox';
import { isRecord } from './schema-shape.ts';
import { suggest } from './suggest.ts';

/** Something wrong at a place of a value. */
export interface Finding {
  readonly code: DiagnosticCode;
  readonly path: readonly (string | number)[];
  readonly message: string;
}

const ajv = new Ajv({ allErrors: true, strict: false, verbose: true, logger: false });
ajv.addFormat('go-duration', (text) => durationMs(text) !== undefined);
ajv.addFormat('go-duration-positive', (text) => (durationMs(text) ?? 0) >= 1);
ajv.addFormat('byte', /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/);

function durationMs(text: string): number | undefined {
  try {
    return parseDurationMs(text);
  } catch {
    return undefined;
  }
}

// Compiled when first needed: all kinds take longer to compile than a process should take to start.
const validators = new WeakMap<TSchema, ValidateFunction>();

/** Everything that does not fit the schema, in the order of the schema. */
export function checkSchema(value: unknown, schema: TSchema): readonly Finding[] {
  const validate = validators.get(schema) ?? ajv.compile(schema);
  validators.set(schema, validate);
  if (validate(value)) return [];
  return (validate.errors ?? []).map((error) => describe(error, value));
}

function describe(error: ErrorObject, root: unknown): Finding {
  const path = pathOf(error.instancePath, root);
  const { params, data } = error;
  const wrong = (message: string, at: readonly (string | number)[] = path): Finding => ({ code: 'IST0106', path: at, message });
  switch (error.keyword) {
    case 'additionalProperties':
      return unknownField(
        String(params['additionalProperty']),
        Object.keys((error.parentSchema?.['properties'] as object | undefined) ?? {}),
        path,
      );
    case 'required':
      return wrong(`"${params['missingProperty']}" is required`, [...path, String(params['missingProperty'])]);
    case 'type':
      return wrong(`must be ${withArticle(String(params['type']))}, but is ${describeValue(data)}${quoteHint(params['type'], data)}`);
    case 'enum':
      return wrong(notOneOf(data, (params['allowedValues'] as readonly unknown[]).map(String)));
    case 'format':
      return wrong(formatMessage(String(params['format']), data));
    case 'pattern':
      return wrong(`must match ${params['pattern']}, but is ${describeValue(data)}`);
    case 'minimum':
    case 'maximum':
      return wrong(`must be ${error.keyword === 'minimum' ? 'at least' : 'at most'} ${params['limit']}, but is ${describeValue(data)}`);
    case 'minLength':
      return wrong(params['limit'] === 1 ? 'must not be empty' : `must have at least ${params['limit']} characters`);
    case 'maxLength':
      return wrong(params['limit'] === 0 ? 'must be empty' : `must have at most ${params['limit']} characters`);
    case 'minItems':
      return wrong(params['limit'] === 1 ? 'must have at least one item' : `must have at least ${params['limit']} items`);
    case 'maxItems':
    case 'maxProperties':
      return wrong(`must have at most ${params['limit']} items`);
    default:
      return wrong(error.message ?? `does not fit (${error.keyword})`);
  }
}

export function unknownField(name: string, known: readonly string[], parent: readonly (string | number)[]): Finding {
  const near = suggest(name, known);
  return {
    code: 'unknown-field',
    path: [...parent, name],
    message: `there is no field "${name}" here${near ? `; did you mean "${near}"?` : ''}`,
  };
}

// A JSON pointer, with a number for each index of a list.
function pathOf(pointer: string, root: unknown): readonly (string | number)[] {
  let value = root;
  return pointer
    .split('/')
    .slice(1)
    .map((escaped) => {
      const step = escaped.replaceAll('~1', '/').replaceAll('~0', '~');
      const isIndex = Array.isArray(value);
      value = isRecord(value) || isIndex ? (value as Record<string, unknown>)[step] : undefined;
      return isIndex ? Number(step) : step;
    });
}

const ARTICLES: Readonly<Record<string, string>> = {
  object: 'an object',
  array: 'a list',
  integer: 'a whole number',
  boolean: 'true or false',
};

function withArticle(type: string): string {
  return ARTICLES[type] ?? `a ${type}`;
}

function describeValue(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'string') return `the string ${JSON.stringify(shorten(value))}`;
  return `${typeof value === 'number' ? 'the number ' : ''}${String(value)}`;
}

function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function quoteHint(wanted: unknown, data: unknown): string {
  if (wanted === 'string' && (typeof data === 'number' || typeof data === 'boolean')) return `; write it in quotes: "${String(data)}"`;
  if ((wanted === 'integer' || wanted === 'number') && typeof data === 'string' && data.trim() !== '' && Number.isFinite(Number(data)))
    return '; write it without quotes';
  return '';
}

function notOneOf(data: unknown, allowed: readonly string[]): string {
  const near = typeof data === 'string' ? suggest(data, allowed) : undefined;
  return `must be one of ${allowed.filter((name) => name !== '').join(', ')}, but is ${describeValue(data)}${near ? `; did you mean ${near}?` : ''}`;
}

function formatMessage(format: string, data: unknown): string {
  if (format === 'byte') return 'must be base64';
  const least = format === 'go-duration-positive' ? ' of at least 1ms' : '';
  return `must be a duration${least}, such as 7s, 1.5s, 100ms or 1h, but is ${describeValue(data)}`;
}
