import { errorMessage } from '@mizzen/core';
import { Field, formatRejections } from '@mizzen/matching';

/** A configuration that this proxy cannot use, with the place in it: the reason of a NACK. */
export class ConfigError extends Error {
  /** Field path in proto names: `filter_chains[0].filters[1].typed_config`. */
  readonly path: string;

  constructor(path: string, message: string) {
    super(path === '' ? message : `${path}: ${message}`);
    this.name = 'ConfigError';
    this.path = path;
  }
}

/** Runs `compile`; whatever it throws comes back as a ConfigError below `path`. */
export function within<T>(path: string, compile: () => T): T {
  try {
    return compile();
  } catch (thrown) {
    if (isConfigError(thrown)) throw new ConfigError(joinPath(path, thrown.path), stripPath(thrown));
    throw new ConfigError(path, errorMessage(thrown));
  }
}

/** Runs a compiler that collects what it cannot use, at `path`; throws that as one ConfigError. */
export function collected<T>(compile: (field: Field) => T, path = ''): T {
  const field = new Field(path, []);
  const compiled = compile(field);
  const [first, ...others] = field.rejections;
  if (first === undefined) return compiled;
  throw others.length === 0 ? new ConfigError(first.path, first.reason) : new ConfigError('', formatRejections(field.rejections));
}

export function isConfigError(thrown: unknown): thrown is ConfigError {
  return typeof thrown === 'object' && thrown !== null && 'name' in thrown && thrown.name === 'ConfigError';
}

function joinPath(before: string, after: string): string {
  if (before === '' || after === '') return before + after;
  return after.startsWith('[') ? before + after : `${before}.${after}`;
}

function stripPath(error: ConfigError): string {
  return error.path === '' ? error.message : error.message.slice(error.path.length + 2);
}
