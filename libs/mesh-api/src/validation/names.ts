import { isIP, isIPv4 } from 'node:net';

const LABEL = /^[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?$/i;
const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

/** A namespace, or a subset's name. Source: RFC 1123. */
export function isDnsLabel(name: string): boolean {
  return name.length <= 63 && DNS_LABEL.test(name);
}

/** A host name, short or qualified; a final dot is allowed. Underscores too, as in Istio. */
export function isHostName(name: string): boolean {
  const trimmed = name.endsWith('.') ? name.slice(0, -1) : name;
  return trimmed.length <= 255 && trimmed.split('.').every((label) => label.length <= 63 && LABEL.test(label));
}

/** A host name, `*`, or a name that begins with a wildcard: `*.example.com`, and `*suffix.example.com` as Istio allows it. */
export function isWildcardHost(name: string): boolean {
  if (name === '*') return true;
  return isHostName(name.startsWith('*.') ? name.slice(2) : name.startsWith('*') ? name.slice(1) : name);
}

export function isAddress(text: string): boolean {
  return isIP(text) !== 0;
}

/** An address, or a subnet `10.0.0.0/8`. */
export function isSubnet(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/');
  if (rest.length > 0 || !isAddress(address)) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (isIPv4(address) ? 32 : 128));
}

/** The path of `unix:///run/app.sock` or `unix://@abstract`, or undefined for anything else. */
export function unixPath(address: string): string | undefined {
  const path = /^unix:\/\/([/@].*)$/.exec(address)?.[1];
  return path?.endsWith('/') ? undefined : path;
}

// Source: istio pkg/config/protocol, 1.32 dev.
const PROTOCOLS = [
  'TCP',
  'UDP',
  'GRPC',
  'GRPC-WEB',
  'HTTP',
  'HTTP_PROXY',
  'HTTP2',
  'HTTPS',
  'TLS',
  'HBONE',
  'DOUBLE-HBONE',
  'MONGO',
  'REDIS',
  'MYSQL',
];

export function isProtocol(name: string): boolean {
  return PROTOCOLS.includes(name.toUpperCase());
}

export const PROTOCOL_HINT = `a protocol such as HTTP, HTTPS, HTTP2, GRPC, TLS or TCP`;
