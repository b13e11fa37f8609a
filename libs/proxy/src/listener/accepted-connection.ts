import type { Socket } from 'node:net';
import { addressOf, FILTER_STATE_KEYS } from '../config/filter-state.ts';
import { addressText } from '../config/values.ts';
import type { DownstreamConnection, SocketAddress } from '../contract.ts';
import type { Inspected } from './listener-filters.ts';
import type { ListenerVersion } from './listener-version.ts';
import type { IpAddress } from './original-destination.ts';

/** What is known of a connection apart from its socket. */
export type ConnectionFacts = Omit<DownstreamConnection, 'socket' | 'initialData' | 'tls'>;

/** A connection that is a listener's, and the version of the listener that it will be served by. */
export interface AcceptedConnection {
  readonly socket: Socket;
  /** The socket's own. */
  readonly local: SocketAddress;
  /** Where it went before it was captured; undefined where it was not. */
  readonly original: IpAddress | undefined;
  readonly version: ListenerVersion;
}

const ANY_PORT: SocketAddress = { kind: 'pipe', path: '' };

/** Whose it is and where it went: by the PROXY protocol, else by the kernel, else by the socket. */
export function describeConnection(
  id: number,
  { socket, local, original, version }: AcceptedConnection,
  { proxyHeader, serverName }: Inspected,
): ConnectionFacts {
  const remote = remoteAddressOf(socket);
  const addresses = proxyHeader?.addresses;
  const localAddress = addresses?.destination ?? original ?? local;
  const filter = version.config.filters.proxyProtocol?.filter;
  return {
    id,
    localAddress,
    remoteAddress: addresses?.source ?? remote,
    originalDestination: addresses !== undefined && addressText(localAddress) !== addressText(local) ? localAddress : original,
    listener: version.config.info,
    ...(serverName === '' ? undefined : { requestedServerName: serverName }),
    ...(localAddress === local ? undefined : { directLocalAddress: local }),
    ...(addresses === undefined ? undefined : { directRemoteAddress: remote }),
    ...(proxyHeader === undefined || filter === undefined ? undefined : { filterState: filter.describe(proxyHeader) }),
  };
}

/** Where the socket itself was accepted; a socket without an address (a pipe's) was accepted where the listener is bound. */
export function localAddressOf(socket: Socket, bound: SocketAddress | undefined): SocketAddress {
  if (socket.localAddress !== undefined && socket.localPort !== undefined)
    return { kind: 'ip', host: unmapped(socket.localAddress), port: socket.localPort };
  return bound ?? ANY_PORT;
}

function remoteAddressOf(socket: Socket): SocketAddress {
  if (socket.remoteAddress === undefined || socket.remotePort === undefined) return ANY_PORT;
  return { kind: 'ip', host: unmapped(socket.remoteAddress), port: socket.remotePort };
}

/** A listener on `::` sees IPv4 peers as `::ffff:a.b.c.d`. */
function unmapped(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}

/** With the original_dst filter, what a filter of the outer connection said of its addresses counts. Source: envoy OriginalDstFilter::onAccept (1.40). */
export function withAddressesOf(connection: DownstreamConnection): DownstreamConnection {
  const objects = connection.filterState?.objects;
  const local = addressOf(objects?.get(FILTER_STATE_KEYS.localAddress)?.value);
  const remote = addressOf(objects?.get(FILTER_STATE_KEYS.remoteAddress)?.value);
  return {
    ...connection,
    ...(local && { localAddress: local, originalDestination: local }),
    ...(remote && { remoteAddress: remote }),
  };
}
