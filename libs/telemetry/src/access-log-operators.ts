import { hostname } from 'node:os';
import { CommandOperatorError, type ParsedOperator } from '@mizzen/xds-api/command-operators';
import { compileTimeFormat } from '@mizzen/xds-api/time-format';
import { TLS_OPERATORS, TLS_TIME_OPERATORS } from './access-log-tls-operators.ts';
import {
  METADATA_OPERATORS,
  UPSTREAM_OPERATORS,
  UPSTREAM_TIME_OPERATORS,
  UPSTREAM_TIME_POINTS,
  withoutPort,
} from './access-log-upstream-operators.ts';
import { formatFlags, longFlags } from './response-flags.ts';
import type { StreamInfo } from './stream-info.ts';

/** What an operator gives: undefined and '' where there is nothing; an object only where metadata holds one. */
export type OperatorValue = string | number | boolean | object | undefined;
export type Operator = (info: StreamInfo) => OperatorValue;

/** Throws CommandOperatorError for an operator that does not exist, or whose argument is wrong. */
export function compileOperator({ name, argument, limit, position }: ParsedOperator): Operator {
  const operator = resolve(name, argument, position);
  if (limit === undefined) return operator;
  return (info) => {
    const value = operator(info);
    return value === undefined ? undefined : textOf(value).slice(0, limit);
  };
}

export function textOf(value: Exclude<OperatorValue, undefined>): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function resolve(name: string, argument: string | undefined, position: number): Operator {
  if (argument === undefined) {
    const plain = PLAIN_OPERATORS[name];
    if (plain !== undefined) return plain;
  }
  const withArgument = ARGUMENT_OPERATORS[name];
  if (withArgument === undefined) {
    if (UNSUPPORTED_OPERATORS.has(name)) throw new CommandOperatorError(`%${name}% is not supported by this proxy; remove it`, position);
    const isPlain = PLAIN_OPERATORS[name] !== undefined;
    throw new CommandOperatorError(isPlain ? `%${name}% takes no argument` : `unknown operator %${name}%`, position);
  }
  try {
    return withArgument(argument ?? '');
  } catch (thrown) {
    throw new CommandOperatorError(`%${name}%: ${(thrown as { message: string }).message}`, position);
  }
}

/** Envoy's, of which this proxy knows nothing to print. */
const UNSUPPORTED_OPERATORS: ReadonlySet<string> = new Set([
  'DOWNSTREAM_CX_RTT',
  'DOWNSTREAM_HANDSHAKE_DURATION',
  'DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED',
  'DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT',
  'DOWNSTREAM_DETECTED_CLOSE_TYPE',
  'DOWNSTREAM_LOCAL_CLOSE_REASON',
  'DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID',
  'DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID',
  'DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1',
  'DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256',
  'DOWNSTREAM_PEER_CHAIN_SERIALS',
  'DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256',
  'DOWNSTREAM_PEER_ISSUER_SERIAL',
  'DOWNSTREAM_PEER_OTHERNAME_SAN',
  'DOWNSTREAM_LOCAL_OTHERNAME_SAN',
  'DOWNSTREAM_TLS_GROUP',
  'TLS_JA3_FINGERPRINT',
  'TLS_JA4_FINGERPRINT',
  'UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED',
  'UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT',
  'UPSTREAM_DETECTED_CLOSE_TYPE',
  'UPSTREAM_LOCAL_CLOSE_REASON',
  'UPSTREAM_FILTER_STATE',
  'UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID',
  'LOCAL_REPLY_BODY',
  'CEL',
  'COALESCE',
  'FILE_CONTENT',
  'DYNAMIC_MODULE',
]);

const milliseconds = (from: number, to: number): number | undefined =>
  from === 0 || to === 0 ? undefined : Math.max(0, Math.round(to - from));

function portOf(address: string): number | undefined {
  const port = /:(\d+)$/.exec(address)?.[1];
  return port === undefined ? undefined : Number(port);
}

/** An address, its host and its port: three operators of one value. */
function addressOperators(name: string, read: (info: StreamInfo) => string): Readonly<Record<string, Operator>> {
  const port = name.replace(/_ADDRESS$/, '_PORT');
  return {
    [name]: read,
    [`${name}_WITHOUT_PORT`]: (info) => withoutPort(read(info)),
    [port]: (info) => portOf(read(info)),
  };
}

const isTcp = (info: StreamInfo): boolean => info.protocol === '';
const isoTime = (ms: number): string => new Date(ms).toISOString();
const hostName = process.env['HOSTNAME'] || hostname();

// Source: envoy docs, "Access logging", command operators (1.40).
const PLAIN_OPERATORS: Readonly<Record<string, Operator>> = {
  START_TIME: (info) => isoTime(info.startTimeMs),
  START_TIME_LOCAL: (info) => isoTime(info.startTimeMs),
  EMIT_TIME: () => isoTime(Date.now()),
  EMIT_TIME_LOCAL: () => isoTime(Date.now()),
  PROTOCOL: (info) => info.protocol,
  RESPONSE_CODE: (info) => info.responseCode,
  RESPONSE_CODE_DETAILS: (info) => info.responseCodeDetails.replaceAll(' ', '_'),
  CONNECTION_TERMINATION_DETAILS: (info) => info.connectionTerminationDetails,
  RESPONSE_FLAGS: formatFlags,
  RESPONSE_FLAGS_LONG: longFlags,
  BYTES_RECEIVED: (info) => info.bytesReceived,
  BYTES_SENT: (info) => info.bytesSent,
  DOWNSTREAM_WIRE_BYTES_RECEIVED: (info) => info.wireBytesReceived,
  DOWNSTREAM_WIRE_BYTES_SENT: (info) => info.wireBytesSent,
  DOWNSTREAM_HEADER_BYTES_RECEIVED: (info) => info.headerBytesReceived ?? 0,
  DOWNSTREAM_HEADER_BYTES_SENT: (info) => info.headerBytesSent ?? 0,
  REQUEST_HEADERS_BYTES: (info) => info.requestFieldBytes ?? 0,
  RESPONSE_HEADERS_BYTES: (info) => info.responseFieldBytes ?? 0,
  RESPONSE_TRAILERS_BYTES: (info) => info.responseTrailerBytes ?? 0,
  // Of QUIC, which this proxy does not speak.
  BYTES_RETRANSMITTED: () => 0,
  PACKETS_RETRANSMITTED: () => 0,
  ROUNDTRIP_DURATION: () => undefined,
  DURATION: (info) => milliseconds(info.startMonotonicMs, info.endMonotonicMs) ?? 0,
  REQUEST_DURATION: (info) => milliseconds(info.startMonotonicMs, info.requestEndMs || info.upstreamRequestSentMs),
  REQUEST_TX_DURATION: (info) => milliseconds(info.startMonotonicMs, info.upstreamRequestSentMs),
  RESPONSE_DURATION: (info) => milliseconds(info.startMonotonicMs, info.upstreamResponseStartMs),
  RESPONSE_TX_DURATION: (info) => milliseconds(info.upstreamResponseStartMs, info.endMonotonicMs),
  UPSTREAM_HOST: (info) => info.upstreamHost,
  // The address of a connection, so nothing where there was none.
  ...addressOperators('UPSTREAM_REMOTE_ADDRESS', (info) => (info.flags.includes('upstreamConnectionFailure') ? '' : info.upstreamHost)),
  ...addressOperators('UPSTREAM_LOCAL_ADDRESS', (info) => info.upstreamLocalAddress),
  UPSTREAM_CLUSTER: (info) => info.upstreamClusterAlias ?? info.upstreamCluster,
  UPSTREAM_CLUSTER_RAW: (info) => info.upstreamCluster,
  UPSTREAM_TRANSPORT_FAILURE_REASON: (info) => info.upstreamTransportFailureReason,
  UPSTREAM_REQUEST_ATTEMPT_COUNT: (info) => info.upstreamAttempts,
  UPSTREAM_PEER_URI_SAN: (info) => info.upstreamPeerUriSan,
  UPSTREAM_LOCAL_URI_SAN: (info) => info.upstreamLocalUriSan,
  DOWNSTREAM_PEER_URI_SAN: (info) => info.downstreamPeerUriSan,
  DOWNSTREAM_LOCAL_URI_SAN: (info) => info.downstreamLocalUriSan,
  ...addressOperators('DOWNSTREAM_LOCAL_ADDRESS', (info) => info.downstreamLocalAddress),
  ...addressOperators('DOWNSTREAM_REMOTE_ADDRESS', (info) => info.downstreamRemoteAddress),
  ...addressOperators('DOWNSTREAM_DIRECT_REMOTE_ADDRESS', (info) => info.downstreamDirectRemoteAddress ?? info.downstreamRemoteAddress),
  ...addressOperators('DOWNSTREAM_DIRECT_LOCAL_ADDRESS', (info) => info.downstreamDirectLocalAddress || info.downstreamLocalAddress),
  // Only connections whose handshake came to its end are logged.
  DOWNSTREAM_TRANSPORT_FAILURE_REASON: () => undefined,
  ...UPSTREAM_OPERATORS,
  ...TLS_OPERATORS,
  REQUESTED_SERVER_NAME: (info) => info.requestedServerName,
  ROUTE_NAME: (info) => info.routeName,
  FILTER_CHAIN_NAME: (info) => info.filterChainName,
  VIRTUAL_CLUSTER_NAME: (info) => info.virtualClusterName,
  CONNECTION_ID: (info) => info.connectionId,
  STREAM_ID: streamId,
  UNIQUE_ID: () => crypto.randomUUID(),
  TRACE_ID: (info) => info.traceId,
  SPAN_ID: (info) => info.spanId,
  GRPC_STATUS_NUMBER: (info) => (info.grpcStatus === '' ? undefined : Number(info.grpcStatus)),
  CUSTOM_FLAGS: () => undefined,
  ACCESS_LOG_TYPE: (info) => info.accessLogType ?? (isTcp(info) ? 'TcpConnectionEnd' : 'DownstreamEnd'),
  HOSTNAME: () => hostName,
  QUERY_PARAMS: (info) => queryOf(originalPath(info)),
};

const streamIds = new WeakMap<StreamInfo, string>();

/** The request's id; a TCP connection is given one when it is first asked for. */
function streamId(info: StreamInfo): string {
  if (info.requestId !== '') return info.requestId;
  const id = streamIds.get(info) ?? crypto.randomUUID();
  streamIds.set(info, id);
  return id;
}

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
  START_TIME: (argument) => timeOperator(argument, (info) => info.startTimeMs),
  START_TIME_LOCAL: (argument) => timeOperator(argument, (info) => info.startTimeMs),
  EMIT_TIME: (argument) => timeOperator(argument, () => Date.now()),
  EMIT_TIME_LOCAL: (argument) => timeOperator(argument, () => Date.now()),
  GRPC_STATUS: grpcStatus,
  ENVIRONMENT: (argument) => {
    if (argument === '') throw new Error('needs the name of a variable');
    const value = process.env[argument] ?? '-';
    return () => value;
  },
  HOSTNAME: () => () => hostName,
  QUERY_PARAM: (argument) => {
    if (argument === '') throw new Error('needs the name of a parameter');
    return (info) => new URLSearchParams(queryOf(originalPath(info)) ?? '').get(argument) ?? undefined;
  },
  QUERY_PARAMS: (argument) => {
    if (!['', 'ORIG', 'DECODED'].includes(argument)) throw new Error('takes ORIG or DECODED');
    // Envoy 1.40 prints what it was sent for DECODED too.
    return (info) => queryOf(originalPath(info));
  },
  PATH: pathOperator,
  COMMON_DURATION: commonDuration,
  ...METADATA_OPERATORS,
  FILTER_STATE: filterState,
  ...Object.fromEntries(
    Object.entries({ ...TLS_TIME_OPERATORS, ...UPSTREAM_TIME_OPERATORS }).map(([name, read]) => [
      name,
      (argument: string): Operator => {
        const format = compileTimeFormat(argument);
        return (info) => {
          const ms = read(info);
          return ms === undefined ? undefined : format(ms);
        };
      },
    ]),
  ),
};

function timeOperator(format: string, read: (info: StreamInfo) => number): Operator {
  const print = compileTimeFormat(format);
  return (info) => print(read(info));
}

function originalPath(info: StreamInfo): string {
  return info.originalPath || info.path;
}

function queryOf(path: string): string | undefined {
  const start = path.indexOf('?');
  return start < 0 ? undefined : path.slice(start + 1);
}

/** `PATH(NQ:ORIG)`: with (WQ) or without (NQ) the query; as routed (PATH), before a rewrite (ORIG), or the latter where there is one. */
function pathOperator(argument: string): Operator {
  const [query = '', which = ''] = argument.split(':', 2);
  if (!['', 'WQ', 'NQ'].includes(query)) throw new Error('takes WQ or NQ first');
  if (!['', 'PATH', 'ORIG', 'ORIG_OR_PATH'].includes(which)) throw new Error('takes PATH, ORIG or ORIG_OR_PATH second');
  const read = (info: StreamInfo): string => (which === 'PATH' ? info.path : which === 'ORIG' ? info.originalPath : originalPath(info));
  return query === 'NQ' ? withoutQuery(read) : read;
}

const TIME_POINTS: Readonly<Record<string, (info: StreamInfo) => number>> = {
  DS_RX_BEG: (info) => info.startMonotonicMs,
  DS_RX_HDR_END: (info) => info.startMonotonicMs,
  DS_RX_END: (info) => info.requestEndMs ?? 0,
  ...UPSTREAM_TIME_POINTS,
  // An upstream's answer is passed on as it comes, one of the proxy itself goes out whole.
  DS_TX_BEG: (info) => (info.responseCode === 0 ? 0 : info.upstreamResponseStartMs || info.endMonotonicMs),
  DS_TX_END: (info) => (info.responseCode === 0 ? 0 : info.endMonotonicMs),
};

/** `COMMON_DURATION(DS_RX_BEG:US_RX_BEG:ms)`: the time between two points of a request. */
function commonDuration(argument: string): Operator {
  const [from = '', to = '', unit = 'ms'] = argument.split(':');
  const [start, end] = [TIME_POINTS[from], TIME_POINTS[to]];
  const factor = { ms: 1, us: 1000, ns: 1_000_000 }[unit];
  if (start === undefined || end === undefined)
    throw new Error(`${start === undefined ? from : to} is not a point that this proxy knows; use ${Object.keys(TIME_POINTS).join(', ')}`);
  if (factor === undefined) throw new Error('takes ms, us or ns third');
  return (info) => {
    const [a, b] = [start(info), end(info)];
    return a === 0 || b < a ? undefined : Math.round((b - a) * factor);
  };
}

/** `key`, `key:PLAIN` or `key:TYPED`: what is kept is text, and so the same in both. A field of an object (`key:FIELD:…`) there is none of. */
function filterState(argument: string): Operator {
  const [key = '', form = 'TYPED'] = argument.split(':');
  if (key === '') throw new Error('needs the key of the object');
  if (form !== 'PLAIN' && form !== 'TYPED') throw new Error(`${form} is not supported by this proxy, whose objects are texts; use PLAIN`);
  return (info) => info.filterStateObject?.(key);
}

// Source: gRPC, "Status codes and their use in gRPC".
const GRPC_STATUSES =
  'OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated'.split(
    ' ',
  );

/** `GRPC_STATUS`, `(CAMEL_STRING)`, `(SNAKE_STRING)`, `(NUMBER)`. */
function grpcStatus(form: string): Operator {
  if (!['', 'CAMEL_STRING', 'SNAKE_STRING', 'NUMBER'].includes(form)) throw new Error('takes CAMEL_STRING, SNAKE_STRING or NUMBER');
  return ({ grpcStatus: status }) => {
    if (status === '' || form === 'NUMBER') return status === '' ? undefined : Number(status);
    const name = GRPC_STATUSES[Number(status)];
    if (name === undefined) return status;
    return form === 'SNAKE_STRING' ? name.replace(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase() : name;
  };
}
