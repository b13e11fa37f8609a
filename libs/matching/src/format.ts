import type { Field } from './field.ts';

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
  UPSTREAM_LOCAL_ADDRESS: (source) => source.upstreamLocalAddress,
  DOWNSTREAM_LOCAL_ADDRESS: (source) => source.downstreamLocalAddress,
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: (source) => withoutPort(source.downstreamLocalAddress),
  DOWNSTREAM_LOCAL_PORT: (source) => portOf(source.downstreamLocalAddress),
  DOWNSTREAM_REMOTE_ADDRESS: (source) => source.downstreamRemoteAddress,
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: (source) => withoutPort(source.downstreamRemoteAddress),
  DOWNSTREAM_REMOTE_PORT: (source) => portOf(source.downstreamRemoteAddress),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: (source) => source.downstreamRemoteAddress,
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: (source) => withoutPort(source.downstreamRemoteAddress),
  DOWNSTREAM_PEER_URI_SAN: (source) => source.downstreamPeerUriSan,
  DOWNSTREAM_LOCAL_URI_SAN: (source) => source.downstreamLocalUriSan,
  REQUESTED_SERVER_NAME: (source) => source.requestedServerName,
};

const PSEUDO_HEADERS: Readonly<Record<string, string>> = { ':authority': 'host' };

/**
 * Compiles a header value with `%OPERATOR%`s; `%%` is a percent sign. A header that is absent gives ''.
 * Source: Envoy, "Access log command operators" (1.40), those that make sense in headers.
 */
export function compileFormat(text: string, field: Field): ValueFormat {
  if (!text.includes('%')) return () => text;
  const parts: (string | ValueFormat)[] = [];
  for (const match of text.matchAll(/%%|%([A-Z_]+)(?:\(([^)]*)\))?(?::(\d+))?%|([^%]+)|%/g)) {
    const [whole, operator, parameter, limit, literal] = match;
    if (literal !== undefined) parts.push(literal);
    else if (whole === '%%') parts.push('%');
    else {
      const format = operator === undefined ? undefined : compileOperator(operator, parameter);
      if (format === undefined)
        field.reject(`has an operator at character ${match.index + 1} that is not supported; write %% for a percent sign`);
      else parts.push(limit === undefined ? format : (source) => format(source).slice(0, Number(limit)));
    }
  }
  return (source) => {
    let value = '';
    for (const part of parts) value += typeof part === 'string' ? part : part(source);
    return value;
  };
}

function compileOperator(operator: string, parameter: string | undefined): ValueFormat | undefined {
  if (operator === 'REQ' || operator === 'RESP') {
    const names = (parameter ?? '').toLowerCase().split('?', 2);
    if (names[0] === '') return undefined;
    return (source) => {
      for (const name of names) {
        const value = operator === 'REQ' ? source.requestHeader(PSEUDO_HEADERS[name] ?? name) : source.responseHeader(name);
        if (value !== undefined) return value;
      }
      return '';
    };
  }
  if (operator === 'START_TIME') return compileStartTime(parameter);
  return parameter === undefined || parameter === '' ? SIMPLE[operator] : undefined;
}

function compileStartTime(format: string | undefined): ValueFormat | undefined {
  switch (format) {
    case undefined:
    case '':
      return (source) => new Date(source.startTimeMs).toISOString();
    case '%s':
    case 's':
      return (source) => String(Math.floor(source.startTimeMs / 1000));
    default:
      return undefined;
  }
}

function withoutPort(address: string): string {
  const colon = address.lastIndexOf(':');
  return colon < 0 ? address : address.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
}

function portOf(address: string): string {
  const colon = address.lastIndexOf(':');
  return colon < 0 ? '' : address.slice(colon + 1);
}
