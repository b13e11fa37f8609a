import { isIPv4, isIPv6 } from 'node:net';
import { ipv6Bytes, ipv6Text } from '@mizzen/core';
import type { ProxyHeader, ProxyTlv, SocketAddress } from '../contract.ts';

export type ProxyProtocolVersion = 'v1' | 'v2';

export interface ProxyHeaderRules {
  readonly allowsV1: boolean;
  readonly allowsV2: boolean;
  /** A connection may begin without a header: it is taken as it is. */
  readonly allowsNone: boolean;
}

export type ParsedProxyHeader =
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'absent' }
  | { readonly kind: 'disallowed'; readonly version: ProxyProtocolVersion }
  | { readonly kind: 'invalid'; readonly version: ProxyProtocolVersion | undefined; readonly reason: string }
  | { readonly kind: 'found'; readonly version: ProxyProtocolVersion; readonly header: ProxyHeader; readonly bytes: number };

const INCOMPLETE = { kind: 'incomplete' } as const;

const SIGNATURE_V1 = Buffer.from('PROXY ', 'latin1');
const SIGNATURE_V2 = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
const FIXED_BYTES_V2 = 16;
/** With CR LF. Source: the PROXY protocol §2.1. */
const MAX_BYTES_V1 = 107;
const MAX_BODY_BYTES_V2 = 0xffff;

const VERSION_2 = 0x20;
const COMMAND_LOCAL = 0;
const COMMAND_PROXY = 1;
const TCP_OVER_IPV4 = 0x11;
const UDP_OVER_IPV4 = 0x12;
const TCP_OVER_IPV6 = 0x21;
const UDP_OVER_IPV6 = 0x22;
const ADDRESS_BYTES_IPV4 = 12;
const ADDRESS_BYTES_IPV6 = 36;

/**
 * Reads the header that `bytes` begins with. Asked again with more bytes after 'incomplete'. Never throws. A length inside that does not fit
 * makes the whole header invalid: what would be read after it is not what the sender meant.
 * Source: the PROXY protocol, haproxy doc/proxy-protocol.txt §2; envoy docs, Proxy Protocol listener filter (1.40).
 */
export function parseProxyHeader(bytes: Buffer, rules: ProxyHeaderRules): ParsedProxyHeader {
  const maybeV1 = beginsWith(bytes, SIGNATURE_V1);
  const maybeV2 = beginsWith(bytes, SIGNATURE_V2);
  if (rules.allowsNone && !(maybeV1 && rules.allowsV1) && !(maybeV2 && rules.allowsV2)) return { kind: 'absent' };
  if (maybeV2) {
    if (bytes.length < SIGNATURE_V2.length) return INCOMPLETE;
    return rules.allowsV2 ? parseV2(bytes) : { kind: 'disallowed', version: 'v2' };
  }
  if (!maybeV1) return { kind: 'invalid', version: undefined, reason: 'the connection does not begin with a PROXY header' };
  const end = bytes.subarray(0, MAX_BYTES_V1).indexOf('\r\n');
  if (end < 0) return bytes.length < MAX_BYTES_V1 ? INCOMPLETE : invalidV1('the line is longer than 107 bytes');
  if (!rules.allowsV1) return { kind: 'disallowed', version: 'v1' };
  return parseV1(bytes.toString('latin1', 0, end));
}

/** Whether `bytes` and `signature` are equal as far as both go. */
function beginsWith(bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length);
  return bytes.compare(signature, 0, length, 0, length) === 0;
}

function invalidV1(reason: string): ParsedProxyHeader {
  return { kind: 'invalid', version: 'v1', reason };
}

function parseV1(line: string): ParsedProxyHeader {
  const bytes = line.length + 2;
  if (/^PROXY UNKNOWN( .*)?$/.test(line)) return { kind: 'found', version: 'v1', header: { addresses: undefined, tlvs: [] }, bytes };
  const match = /^PROXY TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})$/.exec(line);
  if (match === null) return invalidV1('the line is not PROXY TCP4|TCP6|UNKNOWN with two addresses and two ports');
  const [, family, sourceHost = '', destinationHost = '', sourcePort, destinationPort] = match;
  const isFamily = family === '4' ? isIPv4 : isIPv6;
  if (!isFamily(sourceHost) || !isFamily(destinationHost)) return invalidV1(`an address is not one of IPv${family}`);
  const source = ip(canonical(sourceHost), Number(sourcePort));
  const destination = ip(canonical(destinationHost), Number(destinationPort));
  if (source.port > 65_535 || destination.port > 65_535) return invalidV1('a port is above 65535');
  if (!isUnicast(source.host) || !isUnicast(destination.host)) return invalidV1('an address is not one of a single host');
  return { kind: 'found', version: 'v1', header: { addresses: { source, destination }, tlvs: [] }, bytes };
}

function invalidV2(reason: string): ParsedProxyHeader {
  return { kind: 'invalid', version: 'v2', reason };
}

function parseV2(bytes: Buffer): ParsedProxyHeader {
  if (bytes.length < FIXED_BYTES_V2) return INCOMPLETE;
  const command = bytes.readUInt8(12);
  const family = bytes.readUInt8(13);
  const end = FIXED_BYTES_V2 + bytes.readUInt16BE(14);
  if ((command & 0xf0) !== VERSION_2) return invalidV2('the version is not 2');
  const isLocal = (command & 0xf) === COMMAND_LOCAL;
  if (!isLocal && (command & 0xf) !== COMMAND_PROXY) return invalidV2('the command is neither LOCAL nor PROXY');
  const addressBytes = isLocal ? 0 : addressBytesOf(family);
  if (addressBytes === undefined) return invalidV2('the addresses are of a family other than IPv4 and IPv6');
  if (end < FIXED_BYTES_V2 + addressBytes) return invalidV2('the header is shorter than its addresses');
  if (bytes.length < end) return INCOMPLETE;
  // The sender speaks for itself, and what else it says is skipped.
  if (isLocal) return { kind: 'found', version: 'v2', header: { addresses: undefined, tlvs: [] }, bytes: end };
  const tlvs = parseTlvs(bytes.subarray(FIXED_BYTES_V2 + addressBytes, end));
  if (tlvs === undefined) return invalidV2('the length of a TLV does not fit into the header');
  const addresses = readAddresses(bytes, addressBytes);
  if (!isUnicast(addresses.source.host) || !isUnicast(addresses.destination.host))
    return invalidV2('an address is not one of a single host');
  return { kind: 'found', version: 'v2', header: { addresses, tlvs }, bytes: end };
}

function addressBytesOf(family: number): number | undefined {
  if (family === TCP_OVER_IPV4 || family === UDP_OVER_IPV4) return ADDRESS_BYTES_IPV4;
  return family === TCP_OVER_IPV6 || family === UDP_OVER_IPV6 ? ADDRESS_BYTES_IPV6 : undefined;
}

type IpAddress = Extract<SocketAddress, { kind: 'ip' }>;

function readAddresses(bytes: Buffer, addressBytes: number): { readonly source: IpAddress; readonly destination: IpAddress } {
  const length = addressBytes === ADDRESS_BYTES_IPV4 ? 4 : 16;
  const host = (at: number): string => (length === 4 ? bytes.subarray(at, at + 4).join('.') : ipv6Text(bytes, at));
  const ports = FIXED_BYTES_V2 + 2 * length;
  return {
    source: ip(host(FIXED_BYTES_V2), bytes.readUInt16BE(ports)),
    destination: ip(host(FIXED_BYTES_V2 + length), bytes.readUInt16BE(ports + 2)),
  };
}

/** undefined where a length does not fit. */
function parseTlvs(bytes: Buffer): readonly ProxyTlv[] | undefined {
  const tlvs: ProxyTlv[] = [];
  let position = 0;
  while (position < bytes.length) {
    if (position + 3 > bytes.length) return undefined;
    const end = position + 3 + bytes.readUInt16BE(position + 1);
    if (end > bytes.length) return undefined;
    tlvs.push({ type: bytes.readUInt8(position), value: Buffer.from(bytes.subarray(position + 3, end)) });
    position = end;
  }
  return tlvs;
}

function ip(host: string, port: number): IpAddress {
  return { kind: 'ip', host, port };
}

function canonical(host: string): string {
  return isIPv6(host) ? ipv6Text(Buffer.from(ipv6Bytes(host)), 0) : host;
}

// TCP is between two hosts: no wildcard, broadcast or multicast address is an end of it.
function isUnicast(host: string): boolean {
  if (!host.includes(':')) {
    const first = Number.parseInt(host, 10);
    return host !== '0.0.0.0' && host !== '255.255.255.255' && (first < 224 || first > 239);
  }
  return host !== '::' && !/^ff/i.test(host);
}

/**
 * The header as bytes. Addresses of two families are written as IPv6; without addresses, or with a pipe's, the header says UNKNOWN (v1) or
 * LOCAL (v2). TLVs are for v2 only; those that do not fit into a header any more are left out.
 */
export function encodeProxyHeader(header: ProxyHeader, version: ProxyProtocolVersion): Buffer {
  const { source, destination } = header.addresses ?? {};
  const isKnown = source?.kind === 'ip' && destination?.kind === 'ip';
  if (version === 'v1') return Buffer.from(isKnown ? lineV1(source, destination) : 'PROXY UNKNOWN\r\n', 'latin1');
  if (!isKnown) return Buffer.concat([SIGNATURE_V2, Buffer.from([VERSION_2 | COMMAND_LOCAL, 0, 0, 0])]);
  const isIpv4 = isIPv4(source.host) && isIPv4(destination.host);
  const parts = [addressBytes(source.host, isIpv4), addressBytes(destination.host, isIpv4), portBytes(source.port, destination.port)];
  let bodyBytes = isIpv4 ? ADDRESS_BYTES_IPV4 : ADDRESS_BYTES_IPV6;
  for (const { type, value } of header.tlvs) {
    if (bodyBytes + 3 + value.length > MAX_BODY_BYTES_V2) continue;
    bodyBytes += 3 + value.length;
    parts.push(Buffer.from([type, value.length >>> 8, value.length & 0xff]), value);
  }
  const fixed = Buffer.from([VERSION_2 | COMMAND_PROXY, isIpv4 ? TCP_OVER_IPV4 : TCP_OVER_IPV6, bodyBytes >>> 8, bodyBytes & 0xff]);
  return Buffer.concat([SIGNATURE_V2, fixed, ...parts]);
}

function lineV1(source: IpAddress, destination: IpAddress): string {
  const isIpv4 = isIPv4(source.host) && isIPv4(destination.host);
  const text = ({ host }: IpAddress): string => (isIpv4 || !isIPv4(host) ? host : `::ffff:${host}`);
  return `PROXY TCP${isIpv4 ? 4 : 6} ${text(source)} ${text(destination)} ${source.port} ${destination.port}\r\n`;
}

function addressBytes(host: string, asIpv4: boolean): Buffer {
  if (asIpv4) return Buffer.from(host.split('.').map(Number));
  return Buffer.from(ipv6Bytes(isIPv4(host) ? `::ffff:${host}` : host));
}

function portBytes(source: number, destination: number): Buffer {
  return Buffer.from([source >>> 8, source & 0xff, destination >>> 8, destination & 0xff]);
}
