import { isUtf8 } from 'node:buffer';
import {
  ProxyProtocolPassThroughTLVs_PassTLVsMatchType as PassMatchType,
  type ProxyProtocolPassThroughTLVs,
  ProxyProtocolConfig_Version as Version,
} from '@mizzen/xds-api/envoy/config/core/v3/proxy_protocol';
import type { ProxyProtocol } from '@mizzen/xds-api/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol';
import { ConfigError } from '../config/config-error.ts';
import type { ConnectionFilterState, ProxyHeader, ProxyTlv } from '../contract.ts';
import { type Counts, defineStats, type StatRegistry } from '../observe/stat-registry.ts';
import { type ParsedProxyHeader, type ProxyHeaderRules, type ProxyProtocolVersion, parseProxyHeader } from './proxy-protocol.ts';

const OWN_NAMESPACE = 'envoy.filters.listener.proxy_protocol';

const STATS = defineStats({
  counters: {
    notFoundAllowed: 'not_found_allowed',
    notFoundDisallowed: 'not_found_disallowed',
    v1Found: 'versions.v1.found',
    v1Disallowed: 'versions.v1.disallowed',
    v1Error: 'versions.v1.error',
    v2Found: 'versions.v2.found',
    v2Disallowed: 'versions.v2.disallowed',
    v2Error: 'versions.v2.error',
  },
});

/** Takes the PROXY header off the start of connections and says what it says. Source: envoy docs, Proxy Protocol (1.40). */
export class ProxyProtocolFilter {
  readonly #stats: Counts<typeof STATS>;
  readonly #rules: ProxyHeaderRules;
  readonly #metadataKeys: ReadonlyMap<number, { readonly namespace: string; readonly key: string }>;
  readonly #passes: (tlv: ProxyTlv) => boolean;

  /** Throws ConfigError. */
  constructor(message: ProxyProtocol, stats: StatRegistry) {
    const { disallowedVersions: disallowed } = message;
    this.#rules = {
      allowsV1: !disallowed.includes(Version.V1),
      allowsV2: !disallowed.includes(Version.V2),
      allowsNone: message.allowRequestsWithoutProxyProtocol,
    };
    this.#metadataKeys = compileRules(message);
    this.#passes = passThroughTlvs(message.passThroughTlvs);
    const { statPrefix } = message;
    this.#stats = stats.counts(STATS, {
      prefix: statPrefix === '' ? 'proxy_proto' : `proxy_proto.${statPrefix}`,
      tags: statPrefix === '' ? [] : [['envoy.proxy_protocol_prefix', statPrefix]],
    });
  }

  /** Whether a connection whose first bytes do not come in time may go on without a header. */
  get isOptional(): boolean {
    return this.#rules.allowsNone;
  }

  /** Asked again with more bytes after 'incomplete'; every other answer is counted. */
  read(bytes: Buffer): ParsedProxyHeader {
    const parsed = parseProxyHeader(bytes, this.#rules);
    const stats = this.#stats;
    if (parsed.kind === 'absent') stats.notFoundAllowed++;
    else if (parsed.kind === 'found') stats[`${parsed.version}Found`]++;
    else if (parsed.kind === 'disallowed') stats[`${parsed.version}Disallowed`]++;
    else if (parsed.kind === 'invalid' && parsed.version === undefined) stats.notFoundDisallowed++;
    else if (parsed.kind === 'invalid') stats[`${parsed.version as ProxyProtocolVersion}Error`]++;
    return parsed;
  }

  /** What filters after this one are told of a header. */
  describe(header: ProxyHeader): ConnectionFilterState {
    const state: ConnectionFilterState = { proxyHeader: { addresses: header.addresses, tlvs: header.tlvs.filter(this.#passes) } };
    for (const { type, value } of header.tlvs) {
      const target = this.#metadataKeys.get(type);
      if (target === undefined) continue;
      state.dynamicMetadata ??= {};
      state.dynamicMetadata[target.namespace] ??= {};
      const values = state.dynamicMetadata[target.namespace] as Record<string, string>;
      // The first of several of one type counts, as in Envoy.
      values[target.key] ??= asText(value);
    }
    return state;
  }
}

function compileRules({ rules }: ProxyProtocol): ReadonlyMap<number, { readonly namespace: string; readonly key: string }> {
  const keys = new Map<number, { readonly namespace: string; readonly key: string }>();
  rules.forEach(({ tlvType, onTlvPresent }, index) => {
    if (tlvType > 255) throw new ConfigError(`rules[${index}].tlv_type`, `must be at most 255, not ${tlvType}`);
    if (onTlvPresent === undefined) return;
    if (onTlvPresent.key === '') throw new ConfigError(`rules[${index}].on_tlv_present.key`, 'is required');
    keys.set(tlvType, { namespace: onTlvPresent.metadataNamespace || OWN_NAMESPACE, key: onTlvPresent.key });
  });
  return keys;
}

/** Which TLVs `pass_through_tlvs` lets through; none without the field. */
export function passThroughTlvs(message: ProxyProtocolPassThroughTLVs | undefined): (tlv: ProxyTlv) => boolean {
  if (message === undefined) return () => false;
  if (message.matchType === PassMatchType.INCLUDE_ALL) return () => true;
  const types = new Set(message.tlvType);
  return ({ type }) => types.has(type);
}

// Metadata is text: what is not UTF-8 is marked. Source: envoy MessageUtil::sanitizeUtf8String (1.40).
function asText(value: Buffer): string {
  return isUtf8(value) ? value.toString('utf8') : value.toString('utf8').replaceAll('\uFFFD', '!');
}
