import { BlockList } from 'node:net';
import { compileHeaderMutations, durationMs, type Field, type HeaderMutations, refuseFields } from '@mizzen/matching';
import { unpackAny } from '@mizzen/xds-api';
import type { TypedExtensionConfig } from '@mizzen/xds-api/envoy/config/core/v3/extension';
import {
  type SchemeHeaderTransformation,
  HttpProtocolOptions_HeadersWithUnderscoresAction as Underscores,
} from '@mizzen/xds-api/envoy/config/core/v3/protocol';
import {
  HttpConnectionManager_PathWithEscapedSlashesAction as EscapedSlashes,
  HttpConnectionManager_ForwardClientCertDetails as ForwardCert,
  type HttpConnectionManager,
  HttpConnectionManager_ServerHeaderTransformation as ServerHeader,
} from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { HeaderMutationSchema as EarlyHeaderMutationSchema } from '@mizzen/xds-api/envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation';
import type { ServerCodecOptions } from '../http1/server-options.ts';
import type { Http2ServerOptions } from '../http2/options.ts';
import type { FilterContext } from '../observe/access-log-filter.ts';
import type { AuthorityNormalization } from './authority.ts';
import type { ClientCertForwarding, ForwardingOptions } from './forwarded-headers.ts';
import { cleanValue } from './headers.ts';
import { compileCodecType, compileHttp2Server, type DownstreamCodec } from './http2-config.ts';
import { compileLocalReplyConfig, type LocalReplyMapper } from './local-reply-mapper.ts';
import { compileAddressDetectors } from './original-address.ts';
import type { PathNormalization } from './path-normalization.ts';
import type { PeerMetadataConfig } from './peer-metadata-filter.ts';
import { compileProxyStatus, type ProxyStatusReader } from './proxy-status.ts';
import type { RouterConfig } from './router-config.ts';

/** The HttpConnectionManager message, checked and with its defaults filled in. Durations of 0 mean no limit. */
export interface HcmConfig extends RouterConfig {
  readonly codecType: DownstreamCodec;
  readonly codec: ServerCodecOptions;
  readonly http2: Http2ServerOptions;
  readonly forwarding: ForwardingOptions;
  /** undefined: paths are left as they come. */
  readonly path: PathNormalization | undefined;
  readonly authority: AuthorityNormalization | undefined;
  readonly underscores: 'allow' | 'reject' | 'drop';
  readonly server: { readonly name: string; readonly transformation: 'overwrite' | 'append-if-absent' | 'pass-through' };
  readonly alwaysSetsRequestIdInResponse: boolean;
  /** What becomes of local replies; undefined: they stay as they are. */
  readonly localReplies: LocalReplyMapper | undefined;
  /** Says in responses what went wrong; undefined: nothing is said. */
  readonly proxyStatus: ProxyStatusReader | undefined;
  readonly proxies100Continue: boolean;
  /** Upstreams that are sent a PROXY header are told the client's addresses. */
  readonly tellsProxyHeader: boolean;
  readonly streamIdleTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly maxStreamDurationMs: number;
  /** After it a connection takes no more requests and closes. */
  readonly maxConnectionDurationMs: number;
  /** By lower-cased type. */
  readonly upgrades: ReadonlyMap<string, boolean>;
  readonly peerMetadata: PeerMetadataConfig | undefined;
}

const DEFAULT_STREAM_IDLE_TIMEOUT_MS = 300_000;
const DEFAULT_CONNECTION_IDLE_TIMEOUT_MS = 3_600_000;
const DEFAULT_DELAYED_CLOSE_MS = 1000;
const DEFAULT_MAX_HEAD_KIB = 60;
const DEFAULT_MAX_HEADERS = 100;
const DEFAULT_SERVER_NAME = 'envoy';

/** Checks the message and fills in its defaults; what cannot be honoured is rejected by its place. `process`: what is the same for all of them. */
export function compileHcmConfig(
  message: HttpConnectionManager,
  process: FilterContext & { readonly nodeId: string; readonly nodeCluster: string },
  field: Field,
): Omit<HcmConfig, keyof RouterConfig | 'peerMetadata'> {
  refuseFields(field, message, [
    'representIpv4RemoteAddressAsIpv4MappedIpv6',
    'pathNormalizationOptions',
    'typedHeaderValidationConfig',
    'http3ProtocolOptions',
    'appendLocalOverload',
    'streamErrorOnInvalidHttpMessage',
  ]);
  if (
    message.requestIdExtension?.typedConfig !== undefined &&
    !message.requestIdExtension.typedConfig.typeUrl.endsWith('.UuidRequestIdConfig')
  ) {
    field.child('request_id_extension').reject('only the UUID extension is supported');
  }
  const common = message.commonHttpProtocolOptions;
  const codec = compileCodec(message, field);
  const serverName = cleanValue(message.serverName === '' ? DEFAULT_SERVER_NAME : message.serverName);
  return {
    codecType: compileCodecType(message, field),
    codec,
    http2: compileHttp2Server(message, field, codec),
    forwarding: compileForwarding(message, process, field),
    path: compilePath(message),
    authority: compileAuthority(message),
    underscores: compileUnderscores(common?.headersWithUnderscoresAction),
    server: {
      name: serverName,
      transformation: compileServerHeader(message.serverHeaderTransformation),
    },
    alwaysSetsRequestIdInResponse: message.alwaysSetRequestIdInResponse,
    localReplies: compileLocalReplyConfig(message.localReplyConfig, process, field.child('local_reply_config')),
    proxyStatus: compileProxyStatus(message.proxyStatusConfig, { nodeId: process.nodeId, serverName }, field.child('proxy_status_config')),
    proxies100Continue: message.proxy100Continue,
    tellsProxyHeader: message.addProxyProtocolConnectionState ?? true,
    streamIdleTimeoutMs: durationMs(message.streamIdleTimeout) ?? DEFAULT_STREAM_IDLE_TIMEOUT_MS,
    requestTimeoutMs: durationMs(message.requestTimeout) ?? 0,
    maxStreamDurationMs: durationMs(common?.maxStreamDuration) ?? 0,
    maxConnectionDurationMs: durationMs(common?.maxConnectionDuration) ?? 0,
    upgrades: compileUpgrades(message, field),
  };
}

function compileCodec(message: HttpConnectionManager, field: Field): ServerCodecOptions {
  const http1 = message.httpProtocolOptions;
  const common = message.commonHttpProtocolOptions;
  if (http1?.allowAbsoluteUrl === false)
    field
      .child('http_protocol_options')
      .child('allow_absolute_url')
      .reject('false is not supported by this proxy: it takes absolute targets');
  if (http1 !== undefined)
    refuseFields(field.child('http_protocol_options'), http1, [
      'overrideStreamErrorOnInvalidHttpMessage',
      'allowChunkedLength',
      'sendFullyQualifiedUrl',
      'allowCustomMethods',
    ]);
  const keyFormat = http1?.headerKeyFormat?.headerFormat;
  if (keyFormat?.case === 'statefulFormatter')
    refuseFields(field.child('http_protocol_options').child('header_key_format'), { statefulFormatter: keyFormat.value }, [
      'statefulFormatter',
    ]);
  return {
    lingerMs: durationMs(message.delayedCloseTimeout) ?? DEFAULT_DELAYED_CLOSE_MS,
    sendsProperCase: keyFormat?.case === 'properCaseWords',
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

function compileForwarding(
  message: HttpConnectionManager,
  local: { readonly nodeId: string; readonly nodeCluster: string },
  field: Field,
): ForwardingOptions {
  const details = message.setCurrentClientCertDetails;
  const usesRemoteAddress = message.useRemoteAddress ?? false;
  return {
    usesRemoteAddress,
    trustedHops: message.xffNumTrustedHops,
    skipsXffAppend: message.skipXffAppend,
    appendsForwardedPort: message.appendXForwardedPort,
    internalAddresses: compileInternalAddresses(message, field.child('internal_address_config')),
    via: cleanValue(message.via),
    clientCert: CLIENT_CERT[message.forwardClientCertDetails] ?? 'sanitize',
    certDetails: {
      cert: details?.cert ?? false,
      chain: details?.chain ?? false,
      subject: details?.subject ?? false,
      dns: details?.dns ?? false,
      uri: details?.uri ?? false,
    },
    addressDetectors: compileAddressDetectors(
      message.originalIpDetectionExtensions,
      usesRemoteAddress,
      field.child('original_ip_detection_extensions'),
    ),
    earlyMutations: message.earlyHeaderMutationExtensions.flatMap((extension, index) =>
      compileEarlyMutation(extension, field.child('early_header_mutation_extensions', index)),
    ),
    downstreamService: message.addUserAgent === true ? { cluster: local.nodeCluster, nodeId: local.nodeId } : undefined,
    scheme: compileScheme(message.schemeHeaderTransformation, field.child('scheme_header_transformation')),
    generatesRequestId: message.generateRequestId ?? true,
    preservesExternalRequestId: message.preserveExternalRequestId,
  };
}

function compileEarlyMutation({ name, typedConfig }: TypedExtensionConfig, field: Field): HeaderMutations[] {
  const message = typedConfig === undefined ? undefined : unpackAny(typedConfig, EarlyHeaderMutationSchema);
  if (message === undefined) {
    field.reject(`"${name}" is not supported; only early_header_mutation.header_mutation is`);
    return [];
  }
  const at = field.child('typed_config');
  return message.mutations.flatMap(({ action }, index) => {
    const fields = { add: at.child('mutations', index).child('append'), remove: at.child('mutations', index).child('remove') };
    if (action.case === undefined) at.child('mutations', index).reject('needs one of append, remove');
    const compiled = compileHeaderMutations(
      action.case === 'append' ? [action.value] : [],
      action.case === 'remove' ? [action.value] : [],
      fields,
    );
    return compiled === undefined ? [] : [compiled];
  });
}

function compileScheme(message: SchemeHeaderTransformation | undefined, field: Field): 'http' | 'https' | undefined {
  if (message === undefined) return undefined;
  refuseFields(field, message, ['matchUpstream']);
  const scheme = message.transformation.case === 'schemeToOverwrite' ? message.transformation.value : undefined;
  if (scheme === undefined || scheme === 'http' || scheme === 'https') return scheme;
  field.child('scheme_to_overwrite').reject('must be http or https');
  return undefined;
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
