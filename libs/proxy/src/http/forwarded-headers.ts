import type { BlockList } from 'node:net';
import { joinHostPort } from '@mizzen/core';
import type { HeaderMutations } from '@mizzen/matching';
import type { ConnectionFacts } from './connection-facts.ts';
import { cleanValue, type HeaderMap, isInternalOnly, isUnwantedAtEdge, SEEN } from './headers.ts';
import type { LocalReply } from './local-reply.ts';
import { type AddressDetector, type ClientAddress, forwardedAddress, type RejectedAddress } from './original-address.ts';
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
  readonly certDetails: {
    readonly cert: boolean;
    readonly chain: boolean;
    readonly subject: boolean;
    readonly dns: boolean;
    readonly uri: boolean;
  };
  /** Asked in order for the client's address, in the place of x-forwarded-for; empty: that header alone. */
  readonly addressDetectors: readonly AddressDetector[];
  /** Changes of the headers before anything is made of them. */
  readonly earlyMutations: readonly HeaderMutations[];
  /** Tells the upstream who this proxy is; undefined: it is not told. */
  readonly downstreamService: { readonly cluster: string; readonly nodeId: string } | undefined;
  /** In the place of the scheme that the request came with; undefined: as it came. */
  readonly scheme: 'http' | 'https' | undefined;
  readonly generatesRequestId: boolean;
  readonly preservesExternalRequestId: boolean;
}

/**
 * Sets and cleans what a proxy says of where a request came from; scheme, remote address and request id go into `info`. An answer where the
 * client's address is wanted and not told. Source: envoy ConnectionManagerUtility::mutateRequestHeaders (1.40).
 */
export function forwardHeaders(
  info: HttpStreamInfo,
  options: ForwardingOptions,
  context: { readonly internalOnlyHeaders: readonly string[]; newRequestId(): string },
): LocalReply | undefined {
  const { headers } = info.head;
  const { facts } = info;
  for (const mutation of options.earlyMutations) mutation.apply(headers, info);
  const forwardedFor = (headers.seen & SEEN.forwardedFor) === 0 ? undefined : headers.get('x-forwarded-for');
  const client = clientAddress(forwardedFor, info, options);
  if ('rejectStatus' in client)
    return { status: client.rejectStatus, details: 'rejecting_because_detection_failed', flag: undefined, body: '' };
  const isInternal = client.mayBeInside && isInside(client.address, options.internalAddresses);
  const isEdge = options.usesRemoteAddress && !isInternal;
  if (client.appendsPeer) appendPeer(headers, forwardedFor, facts);
  setForwardedProto(info, options);
  if (isInternal) {
    headers.set('x-envoy-internal', 'true');
    headers.seen |= SEEN.envoyInternal;
  } else if ((headers.seen & SEEN.envoyInternal) !== 0) headers.removeWhere(isEdge ? isUnwantedAtEdge : isInternalOnly);
  if (!isInternal) for (const name of context.internalOnlyHeaders) headers.remove(name);
  if (options.downstreamService !== undefined) tellService(headers, options.downstreamService);
  if (client.address !== facts.remoteHost && client.address !== '') info.downstreamRemoteAddress = joinHostPort(client.address, 0);
  if (isEdge && client.address !== '') headers.set('x-envoy-external-address', client.address);
  setRequestId(info, { isEdge, options, newRequestId: context.newRequestId });
  if (options.via !== '') headers.append('via', options.via);
  if (options.clientCert !== 'always-forward-only') forwardClientCert(headers, facts, options);
  return undefined;
}

/** Source: Envoy, HttpConnectionManager.add_user_agent (1.40). */
function tellService(headers: HeaderMap, { cluster, nodeId }: { readonly cluster: string; readonly nodeId: string }): void {
  headers.set('x-envoy-downstream-service-cluster', cluster);
  if ((headers.get('user-agent') ?? '') === '') headers.set('user-agent', cluster);
  if (nodeId !== '') headers.set('x-envoy-downstream-service-node', nodeId);
}

function clientAddress(
  forwardedFor: string | undefined,
  { facts, head }: HttpStreamInfo,
  options: ForwardingOptions,
): ClientAddress | RejectedAddress {
  const { remoteHost } = facts;
  if (options.usesRemoteAddress) {
    const appendsPeer = !options.skipsXffAppend && remoteHost !== '';
    const told = options.trustedHops === 0 ? undefined : forwardedAddress(forwardedFor, options.trustedHops - 1);
    return { address: told?.address ?? remoteHost, mayBeInside: forwardedFor === undefined, appendsPeer };
  }
  if (options.addressDetectors.length === 0) return forwardedAddress(forwardedFor, options.trustedHops) ?? outsider(remoteHost);
  for (const detect of options.addressDetectors) {
    const detected = detect(head.headers);
    if (detected !== undefined) return detected;
  }
  return outsider(remoteHost);
}

/** Without a word of where a request comes from it comes from outside, be the peer where it may. */
function outsider(remoteHost: string): ClientAddress {
  return { address: remoteHost, mayBeInside: false, appendsPeer: false };
}

function isInside(address: string, internal: BlockList | undefined): boolean {
  return internal !== undefined && address !== '' && internal.check(address, address.includes(':') ? 'ipv6' : 'ipv4');
}

function appendPeer(headers: HeaderMap, present: string | undefined, facts: ConnectionFacts): void {
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
  // What HTTP/1 does not say, HTTP/2 must. Source: envoy ConnectionManagerUtility::mutateRequestHeaders (1.40).
  if (info.head.scheme === '') info.head.scheme = info.scheme;
  if (options.scheme !== undefined) {
    info.scheme = options.scheme;
    info.head.scheme = options.scheme;
  }
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
  if (options.certDetails.cert && peer.pem !== undefined) parts.push(`Cert="${urlEncoded(peer.pem())}"`);
  if (options.certDetails.chain && peer.chainPem !== undefined) parts.push(`Chain="${urlEncoded(peer.chainPem())}"`);
  // Subject is always quoted.
  if (options.certDetails.subject) parts.push(`Subject="${escaped(peer.subject)}"`);
  if (options.certDetails.uri) for (const san of peer.uriSans) parts.push(`URI=${quoted(san)}`);
  if (options.certDetails.dns) for (const san of peer.dnsSans) parts.push(`DNS=${quoted(san)}`);
  const element = cleanValue(parts.join(';'));
  const present = isPresent && options.clientCert === 'append-forward' ? headers.get(name) : undefined;
  headers.set(name, present === undefined ? element : `${present},${element}`);
}

const URL_ESCAPES: Readonly<Record<string, string>> = { '\n': '%0A', ' ': '%20', '+': '%2B', '/': '%2F', '=': '%3D' };

function urlEncoded(pem: string): string {
  return pem.replace(/[\n +/=]/g, (letter) => URL_ESCAPES[letter] as string);
}

// A name with a separator in it must not look like two.
function quoted(text: string): string {
  return /[,;="\\]/.test(text) ? `"${escaped(text)}"` : text;
}

function escaped(text: string): string {
  return text.replace(/["\\]/g, (letter) => `\\${letter}`);
}
