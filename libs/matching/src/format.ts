import { errorMessage } from '@mizzen/core';
import { CommandOperatorError, type ParsedOperator, parseCommandOperators } from '@mizzen/xds-api/command-operators';
import { compileTimeFormat } from '@mizzen/xds-api/time-format';
import { queryParameter } from './conditions.ts';
import type { Field } from './field.ts';
import { valueAt } from './metadata-matcher.ts';

/** What command operators in header values read. A stream's information fits it. */
export interface FormatSource {
  readonly startTimeMs: number;
  readonly protocol: string;
  readonly responseCode: number;
  readonly responseCodeDetails: string;
  readonly routeName: string;
  readonly virtualHostName: string;
  readonly upstreamCluster: string;
  readonly upstreamHost: string;
  readonly upstreamLocalAddress: string;
  readonly downstreamLocalAddress: string;
  readonly downstreamRemoteAddress: string;
  readonly downstreamPeerUriSan: string;
  readonly downstreamLocalUriSan: string;
  readonly requestedServerName: string;
  requestHeader(lowerCaseName: string): string | undefined;
  responseHeader(lowerCaseName: string): string | undefined;
  /** The path before it was rewritten, '' where it was not. */
  readonly originalPath?: string;
  readonly requestId?: string;
  readonly traceId?: string;
  readonly upstreamAttempts?: number;
  readonly upstreamPeerUriSan?: string;
  readonly upstreamLocalUriSan?: string;
  readonly upstreamTransportFailureReason?: string;
  /** The peer of the connection itself, whatever headers say. */
  readonly downstreamDirectRemoteAddress?: string;
  readonly downstreamPeer?: { readonly subject: string; readonly dnsSans: readonly string[]; readonly sha256: string } | undefined;
  readonly dynamicMetadata?: ReadonlyMap<string, Readonly<Record<string, unknown>>> | undefined;
}

export type ValueFormat = (source: FormatSource) => string;

const SIMPLE: Readonly<Record<string, ValueFormat>> = {
  PROTOCOL: (source) => source.protocol,
  RESPONSE_CODE: (source) => String(source.responseCode),
  RESPONSE_CODE_DETAILS: (source) => source.responseCodeDetails,
  ROUTE_NAME: (source) => source.routeName,
  VIRTUAL_HOST_NAME: (source) => source.virtualHostName,
  UPSTREAM_CLUSTER: (source) => source.upstreamCluster,
  UPSTREAM_CLUSTER_RAW: (source) => source.upstreamCluster,
  UPSTREAM_HOST: (source) => source.upstreamHost,
  UPSTREAM_REMOTE_ADDRESS: (source) => source.upstreamHost,
  UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: (source) => withoutPort(source.upstreamHost),
  UPSTREAM_REMOTE_PORT: (source) => portOf(source.upstreamHost),
  UPSTREAM_LOCAL_ADDRESS: (source) => source.upstreamLocalAddress,
  UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: (source) => withoutPort(source.upstreamLocalAddress),
  UPSTREAM_LOCAL_PORT: (source) => portOf(source.upstreamLocalAddress),
  UPSTREAM_REQUEST_ATTEMPT_COUNT: (source) => String(source.upstreamAttempts ?? 0),
  UPSTREAM_TRANSPORT_FAILURE_REASON: (source) => source.upstreamTransportFailureReason ?? '',
  UPSTREAM_PEER_URI_SAN: (source) => source.upstreamPeerUriSan ?? '',
  UPSTREAM_LOCAL_URI_SAN: (source) => source.upstreamLocalUriSan ?? '',
  DOWNSTREAM_LOCAL_ADDRESS: (source) => source.downstreamLocalAddress,
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: (source) => withoutPort(source.downstreamLocalAddress),
  DOWNSTREAM_LOCAL_PORT: (source) => portOf(source.downstreamLocalAddress),
  DOWNSTREAM_REMOTE_ADDRESS: (source) => source.downstreamRemoteAddress,
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: (source) => withoutPort(source.downstreamRemoteAddress),
  DOWNSTREAM_REMOTE_PORT: (source) => portOf(source.downstreamRemoteAddress),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: directRemoteAddress,
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: (source) => withoutPort(directRemoteAddress(source)),
  DOWNSTREAM_DIRECT_REMOTE_PORT: (source) => portOf(directRemoteAddress(source)),
  DOWNSTREAM_PEER_SUBJECT: (source) => source.downstreamPeer?.subject ?? '',
  DOWNSTREAM_PEER_DNS_SAN: (source) => source.downstreamPeer?.dnsSans.join(',') ?? '',
  DOWNSTREAM_PEER_FINGERPRINT_256: (source) => source.downstreamPeer?.sha256 ?? '',
  DOWNSTREAM_PEER_URI_SAN: (source) => source.downstreamPeerUriSan,
  DOWNSTREAM_LOCAL_URI_SAN: (source) => source.downstreamLocalUriSan,
  REQUESTED_SERVER_NAME: (source) => source.requestedServerName,
  STREAM_ID: (source) => source.requestId ?? '',
  TRACE_ID: (source) => source.traceId ?? '',
};

const PSEUDO_HEADERS: Readonly<Record<string, string>> = { ':authority': 'host' };

/**
 * Compiles a header value with `%OPERATOR%`s; `%%` is a percent sign. A header that is absent gives ''.
 * Source: Envoy, "Access log command operators" (1.40), those that make sense in headers.
 */
export function compileFormat(text: string, field: Field): ValueFormat {
  if (!text.includes('%')) return () => text;
  let parts: readonly (string | ValueFormat)[];
  try {
    parts = parseCommandOperators(text).map((part) => (typeof part === 'string' ? part : compileOperator(part)));
  } catch (thrown) {
    field.reject(errorMessage(thrown));
    return () => '';
  }
  return (source) => {
    let value = '';
    for (const part of parts) value += typeof part === 'string' ? part : part(source);
    return value;
  };
}

/** Throws CommandOperatorError. */
function compileOperator({ name, argument = '', limit, position }: ParsedOperator): ValueFormat {
  const format = PARAMETERIZED[name]?.(argument) ?? (argument === '' ? SIMPLE[name] : undefined);
  if (format === undefined) throw new CommandOperatorError(`%${name}${argument && `(${argument})`}% is not supported here`, position);
  return limit === undefined ? format : (source) => format(source).slice(0, limit);
}

const PARAMETERIZED: Readonly<Record<string, (parameter: string) => ValueFormat | undefined>> = {
  REQ: (parameter) => compileHeader(parameter, requestHeader),
  REQ_WITHOUT_QUERY: (parameter) => compileHeader(parameter, (source, name) => requestHeader(source, name)?.split('?', 1)[0]),
  RESP: (parameter) => compileHeader(parameter, (source, name) => source.responseHeader(name)),
  QUERY_PARAM: (parameter) => (source) => queryParameter(originalPath(source), parameter) ?? '',
  PATH: compilePath,
  DYNAMIC_METADATA: compileDynamicMetadata,
  START_TIME: (parameter) => {
    const format = compileTimeFormat(parameter);
    return (source) => format(source.startTimeMs);
  },
};

/** `A?B`: the first of the two that is there. */
function compileHeader(parameter: string, read: (source: FormatSource, name: string) => string | undefined): ValueFormat | undefined {
  const [first = '', second] = parameter.toLowerCase().split('?', 2);
  if (first === '') return undefined;
  return (source) => read(source, first) ?? (second === undefined ? '' : (read(source, second) ?? ''));
}

function requestHeader(source: FormatSource, name: string): string | undefined {
  return source.requestHeader(PSEUDO_HEADERS[name] ?? name);
}

function originalPath(source: FormatSource): string {
  return source.originalPath !== undefined && source.originalPath !== '' ? source.originalPath : (source.requestHeader(':path') ?? '');
}

/** `PATH(NQ:ORIG)`: with (WQ) or without (NQ) the query; as it is now (PATH), or before a rewrite. Source: envoy PathFormatter (1.40). */
function compilePath(parameter: string): ValueFormat | undefined {
  const [query = '', which = ''] = parameter.split(':', 2);
  if (!['', 'WQ', 'NQ'].includes(query) || !['', 'PATH', 'ORIG', 'ORIG_OR_PATH'].includes(which)) return undefined;
  return (source) => {
    const path =
      which === 'PATH' ? (source.requestHeader(':path') ?? '') : which === 'ORIG' ? (source.originalPath ?? '') : originalPath(source);
    return query === 'NQ' ? (path.split('?', 1)[0] as string) : path;
  };
}

/** `DYNAMIC_METADATA(namespace:key:key)`; what is no text is printed as JSON. */
function compileDynamicMetadata(parameter: string): ValueFormat | undefined {
  const [namespace = '', ...keys] = parameter.split(':');
  if (namespace === '') return undefined;
  return (source) => {
    const value = valueAt(source.dynamicMetadata?.get(namespace), keys);
    return value === undefined || value === null ? '' : typeof value === 'string' ? value : JSON.stringify(value);
  };
}

function directRemoteAddress(source: FormatSource): string {
  return source.downstreamDirectRemoteAddress ?? source.downstreamRemoteAddress;
}

function withoutPort(address: string): string {
  const colon = address.lastIndexOf(':');
  return colon < 0 ? address : address.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
}

function portOf(address: string): string {
  const colon = address.lastIndexOf(':');
  return colon < 0 ? '' : address.slice(colon + 1);
}
