import type { BlockList } from 'node:net';
import type { ConnectionFacts } from './connection-facts.ts';
import { cleanValue, type HeaderMap, isInternalOnly, isUnwantedAtEdge, SEEN } from './headers.ts';
import type { HttpStreamInfo } from './stream-info.ts';

export type ClientCertForwarding = 'sanitize' | 'forward-only' | 'append-forward' | 'sanitize-set' | 'always-forward-only';

export interface ForwardingOptions {
  /** This proxy is the edge: the peer's address is the client's. */
  readonly usesRemoteAddress: boolean;
  readonly trustedHops: number;
  readonly skipsXffAppend: boolean;
  readonly appendsForwardedPort: boolean;
  /** Addresses that are inside; undefined: none is. */
  readonly internalAddresses: BlockList | undefined;
  readonly via: string;
  readonly clientCert: ClientCertForwarding;
  readonly certDetails: { readonly subject: boolean; readonly dns: boolean; readonly uri: boolean };
  readonly generatesRequestId: boolean;
  readonly preservesExternalRequestId: boolean;
}

/**
 * Sets and cleans what a proxy says of where a request came from. Returns nothing; scheme, remote address and request id go into `info`.
 * Source: envoy ConnectionManagerUtility::mutateRequestHeaders (1.40).
 */
export function forwardHeaders(
  info: HttpStreamInfo,
  options: ForwardingOptions,
  context: { readonly internalOnlyHeaders: readonly string[]; newRequestId(): string },
): void {
  const { headers } = info.head;
  const { facts } = info;
  const forwardedFor = (headers.seen & SEEN.forwardedFor) === 0 ? undefined : headers.get('x-forwarded-for');
  const client = clientAddress(forwardedFor, facts, options);
  const isInternal = client.isSingle && isInside(client.address, options.internalAddresses);
  const isEdge = options.usesRemoteAddress && !isInternal;
  setForwardedFor(headers, forwardedFor, facts, options);
  setForwardedProto(info, options);
  if (isInternal) headers.set('x-envoy-internal', 'true');
  else if ((headers.seen & SEEN.envoyInternal) !== 0) headers.removeWhere(isEdge ? isUnwantedAtEdge : isInternalOnly);
  if (!isInternal) for (const name of context.internalOnlyHeaders) headers.remove(name);
  if (client.address !== facts.remoteHost && client.address !== '') info.downstreamRemoteAddress = `${client.address}:0`;
  if (isEdge && client.address !== '') headers.set('x-envoy-external-address', client.address);
  setRequestId(info, { isEdge, options, newRequestId: context.newRequestId });
  if (options.via !== '') headers.append('via', options.via);
  if (options.clientCert !== 'always-forward-only') forwardClientCert(headers, facts, options);
}

function clientAddress(
  forwardedFor: string | undefined,
  facts: ConnectionFacts,
  options: ForwardingOptions,
): { address: string; isSingle: boolean } {
  const hops = forwardedFor === undefined ? [] : forwardedFor.split(',').map((hop) => hop.trim());
  if (options.usesRemoteAddress) {
    if (options.trustedHops === 0) return { address: facts.remoteHost, isSingle: hops.length === 0 };
    return { address: hops.at(-options.trustedHops) ?? facts.remoteHost, isSingle: hops.length <= 1 };
  }
  return { address: hops.at(-1 - options.trustedHops) ?? facts.remoteHost, isSingle: hops.length === 1 };
}

function isInside(address: string, internal: BlockList | undefined): boolean {
  return internal !== undefined && address !== '' && internal.check(address, address.includes(':') ? 'ipv6' : 'ipv4');
}

function setForwardedFor(headers: HeaderMap, present: string | undefined, facts: ConnectionFacts, options: ForwardingOptions): void {
  if (!options.usesRemoteAddress || options.skipsXffAppend || facts.remoteHost === '') return;
  if (present === undefined) headers.push('x-forwarded-for', facts.remoteHost);
  else headers.set('x-forwarded-for', `${present},${facts.remoteHost}`);
}

function setForwardedProto(info: HttpStreamInfo, options: ForwardingOptions): void {
  const { headers } = info.head;
  const { facts } = info;
  const present = (headers.seen & SEEN.forwardedProto) === 0 ? undefined : headers.get('x-forwarded-proto');
  const isBelieved = present !== undefined && (!options.usesRemoteAddress || options.trustedHops > 0) && /^https?$/i.test(present);
  if (isBelieved) info.scheme = present.toLowerCase();
  else if (present === undefined) headers.push('x-forwarded-proto', facts.scheme);
  else headers.set('x-forwarded-proto', facts.scheme);
  if (options.appendsForwardedPort && facts.connection.localAddress.kind === 'ip')
    headers.set('x-forwarded-port', String(facts.connection.localAddress.port));
}

function setRequestId(info: HttpStreamInfo, how: { isEdge: boolean; options: ForwardingOptions; newRequestId(): string }): void {
  const { headers } = info.head;
  const present = (headers.seen & SEEN.requestId) === 0 ? undefined : headers.get('x-request-id');
  const keeps = present !== undefined && (!how.isEdge || how.options.preservesExternalRequestId);
  if (keeps || !how.options.generatesRequestId) {
    info.requestId = present ?? '';
    return;
  }
  const made = how.newRequestId();
  info.requestId = made;
  if (present === undefined) headers.push('x-request-id', made);
  else headers.set('x-request-id', made);
}

/** x-forwarded-client-cert. Source: Envoy, "HTTP header manipulation"; envoy mutateXfccRequestHeader (1.40). */
function forwardClientCert(headers: HeaderMap, facts: ConnectionFacts, options: ForwardingOptions): void {
  const name = 'x-forwarded-client-cert';
  const isPresent = (headers.seen & SEEN.forwardedClientCert) !== 0;
  const peer = facts.connection.tls?.peer;
  if (peer === undefined || options.clientCert === 'sanitize') {
    if (isPresent) headers.remove(name);
    return;
  }
  if (options.clientCert === 'forward-only') return;
  const parts: string[] = [];
  if (facts.localUriSan !== '') parts.push(`By=${quoted(facts.localUriSan)}`);
  parts.push(`Hash=${peer.sha256}`);
  // Subject is always quoted.
  if (options.certDetails.subject) parts.push(`Subject="${escaped(peer.subject)}"`);
  if (options.certDetails.uri) for (const san of peer.uriSans) parts.push(`URI=${quoted(san)}`);
  if (options.certDetails.dns) for (const san of peer.dnsSans) parts.push(`DNS=${quoted(san)}`);
  const element = cleanValue(parts.join(';'));
  const present = isPresent && options.clientCert === 'append-forward' ? headers.get(name) : undefined;
  headers.set(name, present === undefined ? element : `${present},${element}`);
}

// A name with a separator in it must not look like two.
function quoted(text: string): string {
  return /[,;="\\]/.test(text) ? `"${escaped(text)}"` : text;
}

function escaped(text: string): string {
  return text.replace(/["\\]/g, (letter) => `\\${letter}`);
}
