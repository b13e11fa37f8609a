import { errorMessage, MizzenError } from './errors.ts';
import type { LogLevel } from './logging.ts';
import { LOG_LEVELS } from './logging.ts';

/** How one setting is given: by `--flag`, by the environment, or by its default. */
export interface Setting<T> {
  /** Long flag without dashes: `xds-port`. The environment variable is `MIZZEN_XDS_PORT` unless `env` says another. */
  readonly flag: string;
  readonly env: string;
  readonly help: string;
  /** What `--help` shows for the value: `PORT`. Absent for switches. */
  readonly placeholder?: string;
  readonly parse: (text: string) => T;
  /** `undefined` together with `required` false means that the setting may be absent. */
  readonly fallback: T;
  readonly required: boolean;
  /** A flag without a value. */
  readonly isSwitch: boolean;
  /** Comma-separated in the environment, repeatable as a flag. */
  readonly isList: boolean;
  /** How `--help` shows the default; its plain text where absent. */
  readonly show?: (value: T) => string;
}

// biome-ignore lint/suspicious/noExplicitAny: a schema holds settings of every type
export type SettingsSchema = Readonly<Record<string, Setting<any>>>;
export type SettingsOf<S extends SettingsSchema> = { readonly [K in keyof S]: S[K] extends Setting<infer T> ? T : never };

interface SettingOptions<T> {
  help: string;
  fallback?: T;
  env?: string;
  placeholder?: string;
}

function setting<T>(flag: string, options: SettingOptions<T>, parse: (text: string) => T, shape: Partial<Setting<T>> = {}): Setting<T> {
  return {
    flag,
    env: options.env ?? `MIZZEN_${flag.toUpperCase().replaceAll('-', '_')}`,
    help: options.help,
    placeholder: options.placeholder ?? 'VALUE',
    parse,
    fallback: options.fallback as T,
    required: !('fallback' in options),
    isSwitch: false,
    isList: false,
    ...shape,
  };
}

/** Builders of settings. Without `fallback` a setting is required; `fallback: undefined` makes it optional. */
export const settings = {
  string: <T extends string | undefined = string>(flag: string, options: SettingOptions<T>): Setting<T> =>
    setting<T>(flag, options, (text) => text as T),

  oneOf: <T extends string>(flag: string, values: readonly T[], options: SettingOptions<T>): Setting<T> =>
    setting<T>(flag, { ...options, placeholder: values.join('|') }, (text) => {
      const value = values.find((candidate) => candidate === text);
      if (value === undefined) throw new Error(`must be one of ${values.join(', ')}`);
      return value;
    }),

  /** 0 to 65535; 0 means any free port. */
  port: <T extends number | undefined = number>(flag: string, options: SettingOptions<T>): Setting<T> =>
    setting<T>(flag, { placeholder: 'PORT', ...options }, (text) => wholeNumber(text, 0, 65_535) as T),

  integer: (flag: string, options: SettingOptions<number> & { min?: number; max?: number }): Setting<number> =>
    setting(flag, { placeholder: 'N', ...options }, (text) => wholeNumber(text, options.min ?? 0, options.max ?? Number.MAX_SAFE_INTEGER)),

  number: (flag: string, options: SettingOptions<number> & { min?: number; max?: number }): Setting<number> =>
    setting(flag, { placeholder: 'N', ...options }, (text) => {
      const value = Number(text);
      if (text.trim() === '' || !Number.isFinite(value)) throw new Error('must be a number');
      if (value < (options.min ?? -Infinity) || value > (options.max ?? Infinity))
        throw new Error(`must be between ${options.min} and ${options.max}`);
      return value;
    }),

  /** In milliseconds once parsed; written `500ms`, `30s`, `5m`, `24h`. */
  durationMs: (flag: string, options: SettingOptions<number>): Setting<number> =>
    setting(flag, { placeholder: 'DURATION', ...options }, parseDurationMs, { show: formatDurationMs }),

  flag: (flag: string, options: { help: string; env?: string }): Setting<boolean> =>
    setting(flag, { ...options, fallback: false }, parseBoolean, { isSwitch: true }),

  list: (flag: string, options: { help: string; env?: string; placeholder?: string }): Setting<readonly string[]> =>
    setting<readonly string[]>(flag, { ...options, fallback: [] }, (text) => text.split(',').filter((item) => item !== ''), {
      isList: true,
    }),

  logLevel: (): Setting<LogLevel> =>
    settings.oneOf<LogLevel>('log-level', LOG_LEVELS, { help: 'least severe message that is logged', fallback: 'info' }),
};

function wholeNumber(text: string, min: number, max: number): number {
  if (!/^\d+$/.test(text)) throw new Error('must be a whole number');
  const value = Number(text);
  if (value < min || value > max) throw new Error(`must be between ${min} and ${max}`);
  return value;
}

function parseBoolean(text: string): boolean {
  if (/^(true|1|yes|on)$/i.test(text)) return true;
  if (/^(false|0|no|off|)$/i.test(text)) return false;
  throw new Error('must be true or false');
}

const DURATION_UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `1h30m`, `250ms`, `1.5s` in milliseconds. Throws on anything else. Source: Go's duration syntax, as Istio's fields use it. */
export function parseDurationMs(text: string): number {
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) throw new Error('must be a duration such as 500ms, 30s, 5m or 24h');
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g))
    total += Number(amount) * (DURATION_UNITS_MS[unit as string] as number);
  return total;
}

/** The inverse of `parseDurationMs`, in the largest unit that divides: 5400000 is `90m`. */
export function formatDurationMs(durationMs: number): string {
  for (const unit of ['h', 'm', 's']) {
    const unitMs = DURATION_UNITS_MS[unit] as number;
    if (durationMs >= unitMs && durationMs % unitMs === 0) return `${durationMs / unitMs}${unit}`;
  }
  return `${durationMs}ms`;
}

/**
 * Reads all settings of a process and reports every mistake at once.
 * Precedence: flag, environment, default. `--flag value` and `--flag=value` are the same; what follows `--` is left alone in `rest`.
 * Throws MIZZEN_SETTINGS with one line per mistake.
 */
export function readSettings<S extends SettingsSchema>(
  schema: S,
  input: { argv: readonly string[]; env: Readonly<Record<string, string | undefined>> },
): { values: SettingsOf<S>; rest: readonly string[] } {
  const mistakes: string[] = [];
  const { given, rest } = readFlags(schema, input.argv, mistakes);
  const values: Record<string, unknown> = {};
  for (const [name, entry] of Object.entries(schema)) {
    const fromFlag = given.get(entry.flag);
    const fromEnv = input.env[entry.env];
    const text = fromFlag ?? (fromEnv === '' ? undefined : fromEnv);
    if (text === undefined) {
      if (entry.required) mistakes.push(`--${entry.flag} (or ${entry.env}) is required: ${entry.help}`);
      values[name] = entry.fallback;
      continue;
    }
    try {
      values[name] = entry.parse(text);
    } catch (thrown) {
      mistakes.push(`${fromFlag === undefined ? entry.env : `--${entry.flag}`} ${errorMessage(thrown)}, not "${text}"`);
    }
  }
  if (mistakes.length > 0) throw new MizzenError('MIZZEN_SETTINGS', mistakes.join('\n'));
  return { values: Object.freeze(values) as SettingsOf<S>, rest };
}

function readFlags(schema: SettingsSchema, argv: readonly string[], mistakes: string[]): { given: Map<string, string>; rest: string[] } {
  const byFlag = new Map(Object.values(schema).map((entry) => [entry.flag, entry]));
  const given = new Map<string, string>();
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index] as string;
    if (argument === '--') return { given, rest: argv.slice(index + 1) };
    const [, flag, inline] = /^--([a-z0-9-]+)(?:=([\s\S]*))?$/.exec(argument) ?? [];
    const entry = flag === undefined ? undefined : byFlag.get(flag);
    if (!entry || flag === undefined) {
      mistakes.push(`unknown argument ${argument}; --help lists the flags`);
      continue;
    }
    const text = inline ?? (entry.isSwitch ? 'true' : argv[++index]);
    if (text === undefined) mistakes.push(`--${flag} needs a value`);
    else given.set(flag, entry.isList && given.has(flag) ? `${given.get(flag)},${text}` : text);
  }
  return { given, rest: [] };
}

/** The text that `--help` prints. */
export function describeSettings(schema: SettingsSchema, about: { usage: string; summary: string }): string {
  const rows = Object.values(schema).map((entry) => {
    const left = `  --${entry.flag}${entry.isSwitch ? '' : ` ${entry.placeholder ?? 'VALUE'}`}`;
    const hasDefault =
      !entry.required &&
      entry.fallback !== undefined &&
      entry.fallback !== false &&
      !(Array.isArray(entry.fallback) && entry.fallback.length === 0);
    const notes = [
      entry.required ? 'required' : '',
      hasDefault ? `default ${entry.show?.(entry.fallback) ?? String(entry.fallback)}` : '',
      entry.env,
    ].filter((note) => note !== '');
    return [left, `${entry.help} (${notes.join('; ')})`] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length), 8) + 2;
  const lines = rows.map(([left, right]) => `${left.padEnd(width)}${right}`);
  return [
    `Usage: ${about.usage}`,
    '',
    about.summary,
    '',
    'Flags (and environment variables):',
    ...lines,
    `${'  --help'.padEnd(width)}print this text`,
    '',
  ].join('\n');
}
