import { create, type JsonObject, type MessageInitShape } from '@bufbuild/protobuf';
import { type Any, anyPack, type DurationSchema, StringValueSchema, timestampFromMs, UInt32ValueSchema } from '@bufbuild/protobuf/wkt';
import { splitHostPort } from '@mizzen/core';
import type { CertificateFacts, ResponseFlag, StreamInfo, TlsFacts } from '@mizzen/telemetry';
import type { AddressSchema } from '@mizzen/xds-api/envoy/config/core/v3/address';
import { RequestMethod, RequestMethodSchema } from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  type AccessLogCommonSchema,
  AccessLogType,
  type HTTPAccessLogEntry,
  HTTPAccessLogEntry_HTTPVersion,
  HTTPAccessLogEntrySchema,
  ResponseFlags_Unauthorized_Reason,
  type ResponseFlagsSchema,
  type TCPAccessLogEntry,
  TCPAccessLogEntrySchema,
  TLSProperties_TLSVersion,
  type TLSPropertiesSchema,
} from '@mizzen/xds-api/envoy/data/accesslog/v3/accesslog';
import { FILTER_STATE_KEYS } from '../config/filter-state.ts';

const WITHOUT_MESSAGE: ReadonlySet<string> = new Set(
  Object.values(FILTER_STATE_KEYS).filter((key) => key !== FILTER_STATE_KEYS.dynamicHost && key !== FILTER_STATE_KEYS.dynamicPort),
);

/** What a configuration asks for beyond the standard properties. Names lower-case. */
export interface EntryExtras {
  readonly requestHeaders: readonly string[];
  readonly responseHeaders: readonly string[];
  readonly responseTrailers: readonly string[];
  readonly customTags: (info: StreamInfo) => Record<string, string>;
  /** Keys of filter state. */
  readonly filterStateObjects: readonly string[];
}

const PROTOCOLS: Readonly<Record<string, HTTPAccessLogEntry_HTTPVersion>> = {
  'HTTP/1.0': HTTPAccessLogEntry_HTTPVersion.HTTP10,
  'HTTP/1.1': HTTPAccessLogEntry_HTTPVersion.HTTP11,
  'HTTP/2': HTTPAccessLogEntry_HTTPVersion.HTTP2,
};

/** A request as the gRPC access log service is told. Source: envoy GrpcCommon::Utility::extractCommonAccessLogProperties (1.40). */
export function httpLogEntry(info: StreamInfo, extras: EntryExtras): HTTPAccessLogEntry {
  const header = (name: string): string => info.requestHeader(name) ?? '';
  const upstream = info.upstream?.();
  return create(HTTPAccessLogEntrySchema, {
    commonProperties: commonProperties(info, extras, AccessLogType.DownstreamEnd),
    protocolVersion: PROTOCOLS[info.protocol] ?? HTTPAccessLogEntry_HTTPVersion.PROTOCOL_UNSPECIFIED,
    request: {
      requestMethod: (RequestMethodSchema.values.find(({ name }) => name === info.method)?.number ??
        RequestMethod.METHOD_UNSPECIFIED) as RequestMethod,
      scheme: info.scheme,
      authority: info.authority,
      path: info.originalPath || info.path,
      userAgent: header('user-agent'),
      referer: header('referer'),
      forwardedFor: header('x-forwarded-for'),
      requestId: info.requestId || header('x-request-id'),
      originalPath: info.originalPath,
      requestHeadersBytes: BigInt(info.requestFieldBytes ?? 0),
      requestBodyBytes: BigInt(info.bytesReceived),
      requestHeaders: picked(extras.requestHeaders, info.requestHeader.bind(info)),
      downstreamHeaderBytesReceived: BigInt(info.headerBytesReceived ?? 0),
      upstreamHeaderBytesSent: BigInt(upstream?.sentHeaderBytes ?? 0),
    },
    response: {
      ...(info.responseCode === 0 ? {} : { responseCode: info.responseCode }),
      responseBodyBytes: BigInt(info.bytesSent),
      responseHeadersBytes: BigInt(info.responseFieldBytes ?? 0),
      downstreamHeaderBytesSent: BigInt(info.headerBytesSent ?? 0),
      upstreamHeaderBytesReceived: BigInt(upstream?.receivedHeaderBytes ?? 0),
      responseHeaders: picked(extras.responseHeaders, info.responseHeader.bind(info)),
      responseTrailers: picked(extras.responseTrailers, info.responseTrailer.bind(info)),
      responseCodeDetails: info.responseCodeDetails,
    },
  });
}

export function tcpLogEntry(info: StreamInfo, extras: EntryExtras): TCPAccessLogEntry {
  return create(TCPAccessLogEntrySchema, {
    commonProperties: commonProperties(info, extras, AccessLogType.TcpConnectionEnd),
    connectionProperties: { receivedBytes: BigInt(info.bytesReceived), sentBytes: BigInt(info.bytesSent) },
  });
}

function picked(names: readonly string[], read: (name: string) => string | undefined): Record<string, string> {
  const values: Record<string, string> = {};
  for (const name of names) {
    const value = read(name);
    if (value !== undefined) values[name] = value;
  }
  return values;
}

function commonProperties(
  info: StreamInfo,
  extras: EntryExtras,
  accessLogType: AccessLogType,
): MessageInitShape<typeof AccessLogCommonSchema> {
  const since = (ms: number | undefined) => (ms === undefined || ms === 0 ? undefined : exactDuration(ms - info.startMonotonicMs));
  const tls = info.downstreamTls?.();
  const upstream = info.upstream?.();
  const requestSentMs = info.upstreamRequestSentMs === 0 ? 0 : Math.max(info.upstreamRequestSentMs, info.requestEndMs ?? 0);
  const responseSentMs = info.responseCode === 0 ? 0 : info.upstreamResponseStartMs || info.endMonotonicMs;
  return {
    accessLogType,
    ...optional('downstreamRemoteAddress', addressOf(info.downstreamRemoteAddress)),
    ...optional('downstreamLocalAddress', addressOf(info.downstreamLocalAddress)),
    ...optional('downstreamDirectRemoteAddress', addressOf(info.downstreamDirectRemoteAddress ?? '')),
    ...optional('upstreamRemoteAddress', addressOf(info.upstreamHost)),
    ...optional('upstreamLocalAddress', addressOf(info.upstreamLocalAddress)),
    ...optional('tlsProperties', tls === undefined ? undefined : tlsProperties(info, tls)),
    startTime: timestampFromMs(Math.floor(info.startTimeMs)),
    ...optional('timeToLastRxByte', since(info.requestEndMs)),
    ...optional('timeToFirstUpstreamTxByte', since(info.upstreamRequestSentMs)),
    ...optional('timeToFirstUpstreamRxByte', since(info.upstreamResponseStartMs)),
    ...optional('timeToLastUpstreamTxByte', since(requestSentMs)),
    ...optional('timeToLastUpstreamRxByte', since(upstream?.responseEndMs)),
    ...optional('timeToFirstDownstreamTxByte', since(responseSentMs)),
    ...optional('timeToLastDownstreamTxByte', since(info.endMonotonicMs)),
    ...optional('duration', since(info.endMonotonicMs)),
    upstreamCluster: info.upstreamCluster,
    ...optional('responseFlags', info.flags.length === 0 ? undefined : responseFlags(info.flags)),
    ...optional('metadata', metadataOf(info)),
    upstreamTransportFailureReason: info.upstreamTransportFailureReason,
    filterStateObjects: filterStateObjects(info, extras.filterStateObjects),
    routeName: info.routeName,
    customTags: extras.customTags(info),
    upstreamRequestAttemptCount: info.upstreamAttempts,
    connectionTerminationDetails: info.connectionTerminationDetails,
    streamId: info.requestId,
    downstreamWireBytesReceived: BigInt(info.wireBytesReceived),
    downstreamWireBytesSent: BigInt(info.wireBytesSent),
    upstreamWireBytesSent: BigInt(upstream?.sentWireBytes ?? 0),
    upstreamWireBytesReceived: BigInt(upstream?.receivedWireBytes ?? 0),
  };
}

function metadataOf({ dynamicMetadata }: StreamInfo): { filterMetadata: Record<string, JsonObject> } | undefined {
  if (dynamicMetadata === undefined || dynamicMetadata.size === 0) return undefined;
  return { filterMetadata: Object.fromEntries(dynamicMetadata) as Record<string, JsonObject> };
}

/** As Envoy's objects say themselves: those without a message are left out. Source: envoy extractFilterStateData (1.40). */
function filterStateObjects(info: StreamInfo, keys: readonly string[]): Record<string, Any> {
  const objects: Record<string, Any> = {};
  for (const key of keys) {
    const value = info.filterStateObject?.(key);
    if (value === undefined || WITHOUT_MESSAGE.has(key)) continue;
    objects[key] =
      key === FILTER_STATE_KEYS.dynamicPort
        ? anyPack(UInt32ValueSchema, create(UInt32ValueSchema, { value: Number(value) }))
        : anyPack(StringValueSchema, create(StringValueSchema, { value }));
  }
  return objects;
}

/** Monotonic times have fractions of a millisecond; `durationFromMs` takes whole ones. */
function exactDuration(ms: number): MessageInitShape<typeof DurationSchema> {
  const micros = Math.max(0, Math.round(ms * 1000));
  return { seconds: BigInt(Math.floor(micros / 1_000_000)), nanos: (micros % 1_000_000) * 1000 };
}

function optional<K extends string, V>(key: K, value: V | undefined): { [key in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [key in K]: V });
}

function addressOf(text: string): MessageInitShape<typeof AddressSchema> | undefined {
  if (text === '') return undefined;
  const at = splitHostPort(text);
  if (at === undefined) return { address: { case: 'pipe', value: { path: text } } };
  return { address: { case: 'socketAddress', value: { address: at.host, portSpecifier: { case: 'portValue', value: at.port } } } };
}

// Names that differ from the message's fields.
const FLAG_FIELDS: Partial<Record<ResponseFlag, string>> = { failedLocalHealthCheck: 'failedLocalHealthcheck' };

function responseFlags(flags: readonly ResponseFlag[]): MessageInitShape<typeof ResponseFlagsSchema> {
  const fields: Record<string, unknown> = {};
  for (const flag of flags) {
    if (flag === 'unauthorizedExternalService')
      fields['unauthorizedDetails'] = { reason: ResponseFlags_Unauthorized_Reason.EXTERNAL_SERVICE };
    else fields[FLAG_FIELDS[flag] ?? flag] = true;
  }
  return fields as MessageInitShape<typeof ResponseFlagsSchema>;
}

const TLS_VERSIONS: Readonly<Record<string, TLSProperties_TLSVersion>> = {
  TLSv1: TLSProperties_TLSVersion.TLSv1,
  'TLSv1.1': TLSProperties_TLSVersion.TLSv1_1,
  'TLSv1.2': TLSProperties_TLSVersion.TLSv1_2,
  'TLSv1.3': TLSProperties_TLSVersion.TLSv1_3,
};

function tlsProperties(info: StreamInfo, tls: TlsFacts): MessageInitShape<typeof TLSPropertiesSchema> {
  return {
    tlsVersion: TLS_VERSIONS[tls.version] ?? TLSProperties_TLSVersion.VERSION_UNSPECIFIED,
    tlsSniHostname: info.requestedServerName,
    tlsSessionId: tls.sessionId,
    ...optional('localCertificateProperties', certificateProperties(tls.local)),
    ...optional('peerCertificateProperties', certificateProperties(tls.peer)),
  };
}

function certificateProperties(facts: CertificateFacts | undefined) {
  if (facts === undefined) return undefined;
  return {
    subject: facts.subject,
    issuer: facts.issuer,
    subjectAltName: [
      ...facts.uriSans.map((value) => ({ san: { case: 'uri' as const, value } })),
      ...facts.dnsSans.map((value) => ({ san: { case: 'dns' as const, value } })),
    ],
  };
}
