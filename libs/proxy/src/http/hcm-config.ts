import { BlockList } from 'node:net';
import { durationMs, type Field, refuseFields } from '@mizzen/matching';
import { HttpProtocolOptions_HeadersWithUnderscoresAction as Underscores } from '@mizzen/xds-api/envoy/config/core/v3/protocol';
import {
  HttpConnectionManager_CodecType as CodecType,
  HttpConnectionManager_PathWithEscapedSlashesAction as EscapedSlashes,
  HttpConnectionManager_ForwardClientCertDetails as ForwardCert,
  type HttpConnectionManager,
  HttpConnectionManager_ServerHeaderTransformation as ServerHeader,
} from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import type { ServerCodecOptions } from '../http1/server-connection.ts';
import type { AuthorityNormalization } from './authority.ts';
import type { ClientCertForwarding, ForwardingOptions } from './forwarded-headers.ts';
import { cleanValue } from './headers.ts';
import type { PathNormalization } from './path-normalization.ts';
import type { PeerMetadataConfig } from './peer-metadata-filter.ts';

/** The HttpConnectionManager message, checked and with its defaults filled in. Durations of 0 mean no limit. */
export interface HcmConfig {
  readonly codec: ServerCodecOptions;
  readonly forwarding: ForwardingOptions;
  /** undefined: paths are left as they come. */
  readonly path: PathNormalization | undefined;
  readonly authority: AuthorityNormalization | undefined;
  readonly underscores: 'allow' | 'reject' | 'drop';
  readonly server: { readonly name: string; readonly transformation: 'overwrite' | 'append-if-absent' | 'pass-through' };
  readonly alwaysSetsRequestIdInResponse: boolean;
  readonly proxies100Continue: boolean;
  readonly streamIdleTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly maxStreamDurationMs: number;
  /** By lower-cased type. */
  readonly upgrades: ReadonlyMap<string, boolean>;
  readonly suppressesEnvoyHeaders: boolean;
  readonly peerMetadata: PeerMetadataConfig | undefined;
}

const DEFAULT_STREAM_IDLE_TIMEOUT_MS = 300_000;
const DEFAULT_CONNECTION_IDLE_TIMEOUT_MS = 3_600_000;
const DEFAULT_MAX_HEAD_KIB = 60;
const DEFAULT_MAX_HEADERS = 100;
const DEFAULT_SERVER_NAME = 'envoy';

export function compileHcmConfig(message: HttpConnectionManager, field: Field): Omit<HcmConfig, 'suppressesEnvoyHeaders' | 'peerMetadata'> {
  refuseFields(field, message, [
    'addUserAgent',
    'schemeHeaderTransformation',
    'originalIpDetectionExtensions',
    'earlyHeaderMutationExtensions',
    'representIpv4RemoteAddressAsIpv4MappedIpv6',
    'localReplyConfig',
    'pathNormalizationOptions',
    'proxyStatusConfig',
    'typedHeaderValidationConfig',
    'http3ProtocolOptions',
    'appendLocalOverload',
    'addProxyProtocolConnectionState',
  ]);
  if (message.codecType !== CodecType.AUTO && message.codecType !== CodecType.HTTP1)
    field.child('codec_type').reject('only AUTO and HTTP1 are supported');
  if (
    message.requestIdExtension?.typedConfig !== undefined &&
    !message.requestIdExtension.typedConfig.typeUrl.endsWith('.UuidRequestIdConfig')
  ) {
    field.child('request_id_extension').reject('only the UUID extension is supported');
  }
  const common = message.commonHttpProtocolOptions;
  if (common !== undefined) refuseFields(field.child('common_http_protocol_options'), common, ['maxConnectionDuration']);
  return {
    codec: compileCodec(message, field),
    forwarding: compileForwarding(message, field),
    path: compilePath(message),
    authority: compileAuthority(message),
    underscores: compileUnderscores(common?.headersWithUnderscoresAction),
    server: {
      name: cleanValue(message.serverName === '' ? DEFAULT_SERVER_NAME : message.serverName),
      transformation: compileServerHeader(message.serverHeaderTransformation),
    },
    alwaysSetsRequestIdInResponse: message.alwaysSetRequestIdInResponse,
    proxies100Continue: message.proxy100Continue,
    streamIdleTimeoutMs: durationMs(message.streamIdleTimeout) ?? DEFAULT_STREAM_IDLE_TIMEOUT_MS,
    requestTimeoutMs: durationMs(message.requestTimeout) ?? 0,
    maxStreamDurationMs: durationMs(common?.maxStreamDuration) ?? 0,
    upgrades: compileUpgrades(message, field),
  };
}

function compileCodec(message: HttpConnectionManager, field: Field): ServerCodecOptions {
  const http1 = message.httpProtocolOptions;
  const common = message.commonHttpProtocolOptions;
  if (http1 !== undefined)
    refuseFields(field.child('http_protocol_options'), http1, [
      'headerKeyFormat',
      'allowChunkedLength',
      'sendFullyQualifiedUrl',
      'allowCustomMethods',
    ]);
  return {
    limits: {
      maxHeadBytes: (message.maxRequestHeadersKb ?? DEFAULT_MAX_HEAD_KIB) * 1024,
      maxHeaders: common?.maxHeadersCount ?? DEFAULT_MAX_HEADERS,
    },
    acceptsHttp10: http1?.acceptHttp10 ?? false,
    defaultHostForHttp10: http1?.defaultHostForHttp10 ?? '',
    sendsTrailers: http1?.enableTrailers ?? false,
    idleTimeoutMs: durationMs(common?.idleTimeout) ?? DEFAULT_CONNECTION_IDLE_TIMEOUT_MS,
    headersTimeoutMs: durationMs(message.requestHeadersTimeout) ?? 0,
    maxRequestsPerConnection: common?.maxRequestsPerConnection ?? 0,
  };
}

function compileForwarding(message: HttpConnectionManager, field: Field): ForwardingOptions {
  const details = message.setCurrentClientCertDetails;
  if (details !== undefined) refuseFields(field.child('set_current_client_cert_details'), details, ['cert', 'chain']);
  return {
    usesRemoteAddress: message.useRemoteAddress ?? false,
    trustedHops: message.xffNumTrustedHops,
    skipsXffAppend: message.skipXffAppend,
    appendsForwardedPort: message.appendXForwardedPort,
    internalAddresses: compileInternalAddresses(message, field.child('internal_address_config')),
    via: cleanValue(message.via),
    clientCert: CLIENT_CERT[message.forwardClientCertDetails] ?? 'sanitize',
    certDetails: { subject: details?.subject ?? false, dns: details?.dns ?? false, uri: details?.uri ?? false },
    generatesRequestId: message.generateRequestId ?? true,
    preservesExternalRequestId: message.preserveExternalRequestId,
  };
}

const CLIENT_CERT: Readonly<Record<number, ClientCertForwarding>> = {
  [ForwardCert.SANITIZE]: 'sanitize',
  [ForwardCert.FORWARD_ONLY]: 'forward-only',
  [ForwardCert.APPEND_FORWARD]: 'append-forward',
  [ForwardCert.SANITIZE_SET]: 'sanitize-set',
  [ForwardCert.ALWAYS_FORWARD_ONLY]: 'always-forward-only',
};

// Without a list no address is inside: private addresses prove nothing. Source: Envoy 1.33, explicit_internal_address_config; ISTIO-SECURITY-2024-006.
function compileInternalAddresses(message: HttpConnectionManager, field: Field): BlockList | undefined {
  const ranges = message.internalAddressConfig?.cidrRanges ?? [];
  if (ranges.length === 0) return undefined;
  const list = new BlockList();
  ranges.forEach((range, index) => {
    try {
      list.addSubnet(range.addressPrefix, range.prefixLen ?? 0, range.addressPrefix.includes(':') ? 'ipv6' : 'ipv4');
    } catch {
      field.child('cidr_ranges', index).reject(`"${range.addressPrefix}/${range.prefixLen ?? 0}" is not an address range`);
    }
  });
  return list;
}

const ESCAPED_SLASHES: Readonly<Record<number, PathNormalization['escapedSlashes']>> = {
  [EscapedSlashes.REJECT_REQUEST]: 'reject',
  [EscapedSlashes.UNESCAPE_AND_REDIRECT]: 'unescape-and-redirect',
  [EscapedSlashes.UNESCAPE_AND_FORWARD]: 'unescape-and-forward',
};

function compilePath(message: HttpConnectionManager): PathNormalization | undefined {
  const normalizes = message.normalizePath ?? false;
  const escapedSlashes = ESCAPED_SLASHES[message.pathWithEscapedSlashesAction] ?? 'keep';
  if (!normalizes && !message.mergeSlashes && escapedSlashes === 'keep') return undefined;
  return { normalizes, mergesSlashes: message.mergeSlashes, escapedSlashes };
}

function compileAuthority(message: HttpConnectionManager): AuthorityNormalization | undefined {
  const stripsAny = message.stripPortMode.case === 'stripAnyHostPort' && message.stripPortMode.value;
  if (!stripsAny && !message.stripMatchingHostPort && !message.stripTrailingHostDot) return undefined;
  return {
    stripsPort: stripsAny ? 'any' : message.stripMatchingHostPort ? 'matching' : 'no',
    stripsTrailingDot: message.stripTrailingHostDot,
  };
}

function compileUnderscores(action: number | undefined): HcmConfig['underscores'] {
  return action === Underscores.REJECT_REQUEST ? 'reject' : action === Underscores.DROP_HEADER ? 'drop' : 'allow';
}

function compileServerHeader(transformation: number): HcmConfig['server']['transformation'] {
  return transformation === ServerHeader.APPEND_IF_ABSENT
    ? 'append-if-absent'
    : transformation === ServerHeader.PASS_THROUGH
      ? 'pass-through'
      : 'overwrite';
}

function compileUpgrades(message: HttpConnectionManager, field: Field): ReadonlyMap<string, boolean> {
  const upgrades = new Map<string, boolean>();
  message.upgradeConfigs.forEach((upgrade, index) => {
    refuseFields(field.child('upgrade_configs', index), upgrade, ['filters']);
    upgrades.set(upgrade.upgradeType.toLowerCase(), upgrade.enabled ?? true);
  });
  return upgrades;
}
