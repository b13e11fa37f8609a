import { parseCommandOperators } from '@mizzen/xds-api/command-operators';
import { compileOperator, type Operator, textOf } from './access-log-operators.ts';
import type { StreamInfo } from './stream-info.ts';

/** Istio's default text format. Source: istio pilot/pkg/model/telemetry_logging.go EnvoyTextLogFormat (1.32). */
export const ISTIO_TEXT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% ' +
  '%CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ' +
  '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" ' +
  '%UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n';

/** Formats one finished stream. */
export type AccessLogFormatter = (info: StreamInfo) => string;

/** A JSON format: keys with formats, nested as wished. */
export type JsonFormat = { readonly [key: string]: string | number | boolean | null | JsonFormat | readonly (string | JsonFormat)[] };

export interface AccessLogFormatOptions {
  /** Text: nothing in the place of `-`; JSON: no key. Default false. */
  readonly omitsEmptyValues?: boolean;
  /** JSON: keys by the alphabet and not as they were written. Default false. */
  readonly sortsKeys?: boolean;
}

/**
 * Compiles a text format, or a JSON format that gives one object a line. Values are escaped, so that no header can forge a line or a field.
 * Throws CommandOperatorError for an operator that does not exist or is cut off. Source: envoy docs, "Access logging", command operators.
 */
export function compileAccessLogFormat(format: string | JsonFormat, options: AccessLogFormatOptions = {}): AccessLogFormatter {
  if (typeof format !== 'string') {
    const build = compileAccessLogJson(format, options);
    return (info) => `${JSON.stringify(build(info))}\n`;
  }
  const parts = compileParts(format);
  const missing = options.omitsEmptyValues === true ? '' : '-';
  return (info) => {
    let line = '';
    for (const part of parts) {
      if (typeof part === 'string') {
        line += part;
        continue;
      }
      const value = part(info);
      if (value === undefined || value === '') line += missing;
      else if (typeof value === 'number') line += value;
      // JSON is printed as such: what could forge a line is escaped in it.
      else line += typeof value === 'object' ? escapeControls(textOf(value)) : escapeText(textOf(value));
    }
    return line;
  };
}

type JsonBuilder = (info: StreamInfo) => unknown;

/** Builds the object of a JSON format; an operator that stands alone keeps its type. */
function compileAccessLogJson(format: JsonFormat, options: AccessLogFormatOptions = {}): JsonBuilder {
  const build = compileJsonValue(format, options);
  return (info) => build(info) ?? {};
}

function compileJsonValue(value: unknown, options: AccessLogFormatOptions): JsonBuilder {
  if (typeof value === 'string') return compileJsonText(value, options);
  if (Array.isArray(value)) {
    const items = value.map((item) => compileJsonValue(item, options));
    return (info) => items.map((item) => item(info) ?? null);
  }
  if (typeof value !== 'object' || value === null) return () => value;
  const entries = Object.entries(value).map(([key, item]) => [key, compileJsonValue(item, options)] as const);
  if (options.sortsKeys === true) entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return (info) => {
    const built: Record<string, unknown> = {};
    for (const [key, item] of entries) {
      const found = item(info);
      if (found !== undefined) built[key] = found;
    }
    return options.omitsEmptyValues === true && Object.keys(built).length === 0 ? undefined : built;
  };
}

// undefined is left out by JSON, null is not.
function compileJsonText(format: string, { omitsEmptyValues = false }: AccessLogFormatOptions): JsonBuilder {
  const parts = compileParts(format);
  const [only] = parts;
  // An operator alone keeps its type; text around it makes a string.
  if (parts.length === 1 && typeof only === 'function') {
    return (info) => {
      const value = only(info);
      if (value !== undefined && value !== '') return value;
      return omitsEmptyValues ? undefined : null;
    };
  }
  const missing = omitsEmptyValues ? '' : '-';
  return (info) =>
    parts
      .map((part) => {
        if (typeof part === 'string') return part;
        const value = part(info);
        return value === undefined || value === '' ? missing : textOf(value);
      })
      .join('');
}

function compileParts(format: string): readonly (string | Operator)[] {
  return parseCommandOperators(format).map((part) => (typeof part === 'string' ? part : compileOperator(part)));
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not get through
const UNSAFE = /["\\\u0000-\u001f\u007f-\u009f\u2028\u2029]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above
const UNSAFE_EACH = /["\\\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;

function escapeText(value: string): string {
  if (!UNSAFE.test(value)) return value;
  return value.replace(UNSAFE_EACH, (character) => {
    if (character === '"' || character === '\\') return `\\${character}`;
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}

/** JSON has no control characters of ASCII; the others are escaped its way. */
function escapeControls(json: string): string {
  return json.replace(/[\u007f-\u009f\u2028\u2029]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
