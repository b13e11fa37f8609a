import { joinHostPort } from '@mizzen/core';
import type { DownstreamConnection, SocketAddress } from '../contract.ts';

/** What is the same for every request of a downstream connection, as text. */
export interface ConnectionFacts {
  readonly connection: DownstreamConnection;
  readonly localAddress: string;
  readonly remoteAddress: string;
  /** Without port; '' for a pipe. */
  readonly remoteHost: string;
  readonly scheme: 'http' | 'https';
  readonly peerUriSan: string;
  readonly localUriSan: string;
  readonly requestedServerName: string;
  readonly isMtls: boolean;
}

export function connectionFacts(connection: DownstreamConnection): ConnectionFacts {
  const { tls, remoteAddress } = connection;
  return {
    connection,
    localAddress: addressOf(connection.localAddress),
    remoteAddress: addressOf(remoteAddress),
    remoteHost: remoteAddress.kind === 'ip' ? unmapped(remoteAddress.host) : '',
    scheme: tls === undefined ? 'http' : 'https',
    peerUriSan: tls?.peer?.uriSans[0] ?? '',
    localUriSan: tls?.localUriSan ?? '',
    requestedServerName: tls?.requestedServerName ?? '',
    isMtls: tls?.peer !== undefined,
  };
}

function addressOf(address: SocketAddress): string {
  return address.kind === 'pipe' ? address.path : joinHostPort(unmapped(address.host), address.port);
}

// A dual-stack socket shows IPv4 peers as ::ffff:127.0.0.1.
function unmapped(host: string): string {
  return host.startsWith('::ffff:') && host.includes('.') ? host.slice(7) : host;
}
