import { formatFlags } from './istio-metrics.ts';
import type { StreamInfo } from './stream-info.ts';

/** Istio's default text format. Source: istio pilot/pkg/model/telemetry_logging.go EnvoyTextLogFormat (1.32). */
export const ISTIO_TEXT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% ' +
  '%CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ' +
  '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" ' +
  '%UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n';

/** Formats one finished stream. */
export type AccessLogFormatter = (info: StreamInfo) => string;

/** A value, or undefined where there is none (`-` in text, null in JSON). */
type Operator = (info: StreamInfo) => string | number | undefined;

export class AccessLogFormatError extends Error {
  /** Where in the format the fault is, counted from 0. */
  readonly position: number;

  constructor(message: string, position: number) {
    super(`${message} at position ${position}`);
    this.name = 'AccessLogFormatError';
    this.position = position;
  }
}

/** A JSON format: keys with formats, nested as wished. */
export type JsonFormat = { readonly [key: string]: string | number | boolean | null | JsonFormat | readonly (string | JsonFormat)[] };

/**
 * Compiles a text format, or a JSON format that gives one object a line. Values are escaped, so that no header can forge a line or a field.
 * Throws AccessLogFormatError for an operator that does not exist or is cut off. Source: envoy docs, "Access logging", command operators.
 */
export function compileAccessLogFormat(format: string | JsonFormat): AccessLogFormatter {
  if (typeof format !== 'string') return compileJson(format);
  const parts = parseFormat(format);
  return (info) => {
    let line = '';
    for (const part of parts) {
      if (typeof part === 'string') line += part;
      else {
        const value = part(info);
        line += value === undefined || value === '' ? '-' : typeof value === 'number' ? value : escapeText(value);
      }
    }
    return line;
  };
}

function compileJson(format: JsonFormat): AccessLogFormatter {
  const build = compileJsonValue(format);
  return (info) => `${JSON.stringify(build(info))}\n`;
}

type JsonBuilder = (info: StreamInfo) => unknown;

function compileJsonValue(value: unknown): JsonBuilder {
  if (typeof value === 'string') return compileJsonText(value);
  if (Array.isArray(value)) {
    const items = value.map(compileJsonValue);
    return (info) => items.map((item) => item(info));
  }
  if (typeof value !== 'object' || value === null) return () => value;
  const entries = Object.entries(value).map(([key, item]) => [key, compileJsonValue(item)] as const);
  return (info) => Object.fromEntries(entries.map(([key, item]) => [key, item(info)]));
}

function compileJsonText(format: string): JsonBuilder {
  const parts = parseFormat(format);
  const [only] = parts;
  // An operator alone keeps its type; text around it makes a string.
  if (parts.length === 1 && typeof only === 'function') {
    return (info) => {
      const value = only(info);
      return value === undefined || value === '' ? null : value;
    };
  }
  return (info) => parts.map((part) => (typeof part === 'string' ? part : (part(info) ?? '-'))).join('');
}

function parseFormat(format: string): readonly (string | Operator)[] {
  const parts: (string | Operator)[] = [];
  let position = 0;
  while (position < format.length) {
    const start = format.indexOf('%', position);
    if (start < 0) {
      parts.push(format.slice(position));
      break;
    }
    if (start > position) parts.push(format.slice(position, start));
    if (format[start + 1] === '%') {
      parts.push('%');
      position = start + 2;
      continue;
    }
    const match = /^%([A-Z0-9_]+)(?:\(([^)]*)\))?(?::(\d+))?%/.exec(format.slice(start));
    if (match === null) throw new AccessLogFormatError('an operator is not closed: write %NAME%, or %% for a percent sign', start);
    const [whole, name, argument, limit] = match;
    const operator = resolveOperator(name as string, argument, start);
    parts.push(limit === undefined ? operator : limited(operator, Number(limit)));
    position = start + whole.length;
  }
  return parts;
}

function limited(operator: Operator, limit: number): Operator {
  return (info) => {
    const value = operator(info);
    return value === undefined ? undefined : String(value).slice(0, limit);
  };
}

function resolveOperator(name: string, argument: string | undefined, position: number): Operator {
  const plain = PLAIN_OPERATORS[name];
  if (plain !== undefined && argument === undefined) return plain;
  const withArgument = ARGUMENT_OPERATORS[name];
  if (withArgument === undefined)
    throw new AccessLogFormatError(plain === undefined ? `unknown operator %${name}%` : `%${name}% takes no argument`, position);
  try {
    return withArgument(argument ?? '');
  } catch (thrown) {
    throw new AccessLogFormatError(`%${name}%: ${(thrown as { message: string }).message}`, position);
  }
}

const milliseconds = (from: number, to: number): number | undefined =>
  from === 0 || to === 0 ? undefined : Math.max(0, Math.round(to - from));

function withoutPort(address: string): string {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):\d+$/.exec(address);
  return match?.[1] ?? match?.[2] ?? address;
}

function portOf(address: string): string | undefined {
  return /:(\d+)$/.exec(address)?.[1];
}

const PLAIN_OPERATORS: Readonly<Record<string, Operator>> = {
  START_TIME: (info) => new Date(info.startTimeMs).toISOString(),
  PROTOCOL: (info) => info.protocol,
  RESPONSE_CODE: (info) => info.responseCode,
  RESPONSE_CODE_DETAILS: (info) => info.responseCodeDetails.replaceAll(' ', '_'),
  CONNECTION_TERMINATION_DETAILS: (info) => info.connectionTerminationDetails,
  RESPONSE_FLAGS: formatFlags,
  RESPONSE_FLAGS_LONG: (info) =>
    info.flags.length === 0 ? undefined : info.flags.map((flag) => flag.charAt(0).toUpperCase() + flag.slice(1)).join(','),
  BYTES_RECEIVED: (info) => info.bytesReceived,
  BYTES_SENT: (info) => info.bytesSent,
  DOWNSTREAM_WIRE_BYTES_RECEIVED: (info) => info.wireBytesReceived,
  DOWNSTREAM_WIRE_BYTES_SENT: (info) => info.wireBytesSent,
  DURATION: (info) => milliseconds(info.startMonotonicMs, info.endMonotonicMs) ?? 0,
  REQUEST_DURATION: (info) => milliseconds(info.startMonotonicMs, info.upstreamRequestSentMs),
  RESPONSE_DURATION: (info) => milliseconds(info.startMonotonicMs, info.upstreamResponseStartMs),
  RESPONSE_TX_DURATION: (info) => milliseconds(info.upstreamResponseStartMs, info.endMonotonicMs),
  UPSTREAM_HOST: (info) => info.upstreamHost,
  UPSTREAM_REMOTE_ADDRESS: (info) => info.upstreamHost,
  UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: (info) => withoutPort(info.upstreamHost),
  UPSTREAM_REMOTE_PORT: (info) => portOf(info.upstreamHost),
  UPSTREAM_CLUSTER: (info) => info.upstreamCluster,
  UPSTREAM_CLUSTER_RAW: (info) => info.upstreamCluster,
  UPSTREAM_LOCAL_ADDRESS: (info) => info.upstreamLocalAddress,
  UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: (info) => withoutPort(info.upstreamLocalAddress),
  UPSTREAM_TRANSPORT_FAILURE_REASON: (info) => info.upstreamTransportFailureReason,
  UPSTREAM_REQUEST_ATTEMPT_COUNT: (info) => info.upstreamAttempts,
  UPSTREAM_PEER_URI_SAN: (info) => info.upstreamPeerUriSan,
  UPSTREAM_LOCAL_URI_SAN: (info) => info.upstreamLocalUriSan,
  DOWNSTREAM_PEER_URI_SAN: (info) => info.downstreamPeerUriSan,
  DOWNSTREAM_LOCAL_URI_SAN: (info) => info.downstreamLocalUriSan,
  DOWNSTREAM_LOCAL_ADDRESS: (info) => info.downstreamLocalAddress,
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: (info) => withoutPort(info.downstreamLocalAddress),
  DOWNSTREAM_LOCAL_PORT: (info) => portOf(info.downstreamLocalAddress),
  DOWNSTREAM_REMOTE_ADDRESS: (info) => info.downstreamRemoteAddress,
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: (info) => withoutPort(info.downstreamRemoteAddress),
  DOWNSTREAM_REMOTE_PORT: (info) => portOf(info.downstreamRemoteAddress),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: (info) => info.downstreamRemoteAddress,
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: (info) => withoutPort(info.downstreamRemoteAddress),
  REQUESTED_SERVER_NAME: (info) => info.requestedServerName,
  ROUTE_NAME: (info) => info.routeName,
  VIRTUAL_CLUSTER_NAME: () => undefined,
  STREAM_ID: (info) => info.requestId,
  TRACE_ID: (info) => info.traceId,
  GRPC_STATUS_NUMBER: (info) => info.grpcStatus,
  HOSTNAME: () => process.env['HOSTNAME'],
};

const PSEUDO_HEADERS: Readonly<Record<string, Operator>> = {
  ':method': (info) => info.method,
  ':path': (info) => info.path,
  ':authority': (info) => info.authority,
  ':scheme': (info) => info.scheme,
  'x-envoy-original-path': (info) => info.originalPath,
  'x-request-id': (info) => info.requestId || info.requestHeader('x-request-id'),
};

function requestHeader(name: string): Operator {
  return PSEUDO_HEADERS[name] ?? ((info) => info.requestHeader(name));
}

function responseHeader(name: string): Operator {
  if (name !== 'x-envoy-upstream-service-time') return (info) => info.responseHeader(name);
  return (info) => info.responseHeader(name) ?? milliseconds(info.upstreamRequestSentMs, info.upstreamResponseStartMs);
}

/** `A?B`: the first of the two that is there. */
function alternatives(argument: string, read: (name: string) => Operator): Operator {
  const [main = '', alternative] = argument.toLowerCase().split('?');
  if (main === '') throw new Error('needs the name of a header');
  const first = read(main);
  if (alternative === undefined) return first;
  const second = read(alternative);
  return (info) => first(info) || second(info);
}

function withoutQuery(operator: Operator): Operator {
  return (info) => {
    const value = operator(info);
    return typeof value === 'string' ? value.split('?', 1)[0] : value;
  };
}

const ARGUMENT_OPERATORS: Readonly<Record<string, (argument: string) => Operator>> = {
  REQ: (argument) => alternatives(argument, requestHeader),
  RESP: (argument) => alternatives(argument, responseHeader),
  TRAILER: (argument) => alternatives(argument, (name) => (info) => info.responseTrailer(name)),
  REQ_WITHOUT_QUERY: (argument) => withoutQuery(alternatives(argument, requestHeader)),
  START_TIME: compileTimeFormat,
  GRPC_STATUS: () => (info) => info.grpcStatus,
  ENVIRONMENT: (argument) => () => process.env[argument],
  // Nothing in this proxy sets dynamic metadata or filter state yet.
  DYNAMIC_METADATA: () => () => undefined,
  FILTER_STATE: () => () => undefined,
};

const TIME_PARTS: Readonly<Record<string, (date: Date) => string>> = {
  Y: (date) => String(date.getUTCFullYear()),
  m: (date) => String(date.getUTCMonth() + 1).padStart(2, '0'),
  d: (date) => String(date.getUTCDate()).padStart(2, '0'),
  H: (date) => String(date.getUTCHours()).padStart(2, '0'),
  M: (date) => String(date.getUTCMinutes()).padStart(2, '0'),
  S: (date) => String(date.getUTCSeconds()).padStart(2, '0'),
  F: (date) => date.toISOString().slice(0, 10),
  T: (date) => date.toISOString().slice(11, 19),
  s: (date) => String(Math.floor(date.getTime() / 1000)),
  z: () => '+0000',
  Z: () => 'UTC',
};

/** strftime's commands that logs use, and Envoy's `%3f` (milliseconds) to `%9f`. In a format the percent signs of a time format stand as they are. */
function compileTimeFormat(format: string): Operator {
  if (format === '') return PLAIN_OPERATORS['START_TIME'] as Operator;
  const parts = [...format.matchAll(/%(\d?)f|%([A-Za-z])|([^%]+|%)/g)].map(
    ([, digits, command, text]): string | ((date: Date) => string) => {
      if (digits !== undefined)
        return (date) =>
          String(date.getUTCMilliseconds())
            .padStart(3, '0')
            .padEnd(9, '0')
            .slice(0, Number(digits || '9'));
      if (command === undefined) return text as string;
      const part = TIME_PARTS[command];
      if (part === undefined) throw new Error(`time format %${command} is not supported`);
      return part;
    },
  );
  return (info) => {
    const date = new Date(info.startTimeMs);
    return parts.map((part) => (typeof part === 'string' ? part : part(date))).join('');
  };
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
