import { Server, type Socket } from 'node:net';
import type { Clock, Logger } from '@mizzen/core';
import type { FilterChainTable } from '@mizzen/matching';
import type { DownstreamConnection, SocketAddress, TlsInfo } from '../contract.ts';
import type { TlsStats } from '../tls/downstream-tls.ts';
import { listenNow } from './bind.ts';
import type { LiveFilterChain } from './filter-chain.ts';
import type { ListenerConfig } from './listener-config.ts';
import { type Inspected, inspectConnection, NOTHING_INSPECTED } from './listener-filters.ts';
import type { IpAddress } from './original-destination.ts';

export interface ListenerStats {
  downstreamCxTotal: number;
  downstreamCxActive: number;
  downstreamCxDestroy: number;
  downstreamPreCxTimeout: number;
  noFilterChainMatch: number;
  readonly ssl: TlsStats;
}

/** What a listener's definition compiles to: swapped whole, make before break. */
export interface ListenerVersion {
  readonly config: ListenerConfig;
  readonly table: FilterChainTable<LiveFilterChain>;
  readonly chains: readonly LiveFilterChain[];
  readonly defaultChain: LiveFilterChain | undefined;
}

export interface ListenerOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly nextConnectionId: () => number;
  /** The listener in force for an original destination: that of the very address, else that of its port on the wildcard address. */
  readonly listenerAt: (destination: IpAddress) => LiveListener | undefined;
}

/** A connection that is this listener's, and the version of the listener that it will be served by. */
interface Taken {
  readonly socket: Socket;
  readonly original: IpAddress | undefined;
  readonly version: ListenerVersion;
}

interface Waiting {
  readonly socket: Socket;
  readonly resume: () => void;
}

const HTTP2_PROTOCOLS: ReadonlySet<string> = new Set(['h2', 'h2c', 'istio-h2']);

function isHttp2(protocol: string): boolean {
  return HTTP2_PROTOCOLS.has(protocol);
}

const ANY_PORT: SocketAddress = { kind: 'pipe', path: '' };

/** One bound address (or internal listener). The accepting socket stays while versions of the definition come and go. */
export class LiveListener {
  readonly stats: ListenerStats = {
    downstreamCxTotal: 0,
    downstreamCxActive: 0,
    downstreamCxDestroy: 0,
    downstreamPreCxTimeout: 0,
    noFilterChainMatch: 0,
    ssl: { handshake: 0, connectionError: 0, failVerifyNoCert: 0, failVerifyError: 0, failVerifySan: 0 },
  };
  readonly #options: ListenerOptions;
  readonly #sockets = new Set<Socket>();
  /** Connections that came before the first version was warm. */
  #waiting: Waiting[] = [];
  #version: ListenerVersion | undefined;
  #servers: Server[] = [];
  #address: SocketAddress | undefined;
  #isStopped = false;

  constructor(options: ListenerOptions) {
    this.#options = options;
  }

  /** In force; undefined while the first version is warming. */
  get version(): ListenerVersion | undefined {
    return this.#version;
  }

  /** False once it accepts no more. */
  get isAccepting(): boolean {
    return !this.#isStopped;
  }

  /** Where it really listens (a port 0 is resolved), the first of several; undefined for those that are not bound. */
  get address(): SocketAddress | undefined {
    return this.#address;
  }

  get openSockets(): number {
    return this.#sockets.size;
  }

  /** Binds the addresses. Connections wait until the first version is in force. Throws ConfigError; then nothing is bound. */
  bind({ addresses, backlog, isDualStack }: Pick<ListenerConfig, 'addresses' | 'backlog' | 'isDualStack'>): void {
    try {
      for (const address of addresses) {
        const server = new Server({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
        listenNow(server, address, { isDualStack, ...(backlog === undefined ? {} : { backlog }) });
        server.on('error', (error) => this.#options.logger.error({ err: error }, 'listener failed'));
        this.#servers.push(server);
      }
    } catch (thrown) {
      this.stopAccepting();
      throw thrown;
    }
    const bound = this.#servers[0]?.address();
    const isIp = typeof bound === 'object' && bound !== null;
    this.#address = isIp ? { kind: 'ip', host: bound.address, port: bound.port } : addresses[0];
  }

  /** Puts a version in force for connections from now on. */
  use(version: ListenerVersion): void {
    this.#version = version;
    for (const { socket, resume } of this.#waiting.splice(0)) if (!socket.destroyed) resume();
  }

  /** Stops accepting; connections live on. */
  stopAccepting(): void {
    this.#isStopped = true;
    for (const server of this.#servers.splice(0)) server.close();
    for (const { socket } of this.#waiting.splice(0)) socket.destroy();
  }

  /** Ends every connection that is left. */
  destroyConnections(): void {
    for (const socket of [...this.#sockets]) socket.destroy();
  }

  /** A connection from inside the process: it was accepted elsewhere and starts again here. */
  takeOver(connection: DownstreamConnection): boolean {
    const version = this.#version;
    if (version === undefined) return false;
    this.stats.downstreamCxTotal++;
    const chain = this.#findChain(version, connection, NOTHING_INSPECTED);
    if (chain === undefined || chain.tls !== undefined) {
      this.stats.noFilterChainMatch++;
      return false;
    }
    chain.filter.onConnection({ ...connection, id: this.#options.nextConnectionId(), listener: version.config.info });
    return true;
  }

  #accept(socket: Socket): void {
    if (this.#version === undefined) this.#wait(socket, () => this.#accept(socket));
    else this.#restore(socket, this.#version);
  }

  #wait(socket: Socket, resume: () => void): void {
    socket.on('error', ignore);
    this.#waiting.push({ socket, resume });
  }

  /**
   * Gives a captured connection its original destination back and, with use_original_dst, hands it to that destination's listener, which
   * never hands it on. Source: envoy, ActiveTcpSocket::newConnection and ConnectionHandlerImpl::getBalancedHandlerByAddress.
   */
  #restore(socket: Socket, { config }: ListenerVersion): void {
    const original = config.readOriginalDestination?.(socket);
    const target = original !== undefined && config.handsOff ? this.#options.listenerAt(original) : undefined;
    (target ?? this).#take(socket, original);
  }

  #take(socket: Socket, original: IpAddress | undefined): void {
    const version = this.#version;
    if (version === undefined) {
      // Envoy accepts nothing before all its first listeners are warm; passing the connection through instead would go around policies.
      this.#wait(socket, () => this.#take(socket, original));
      return;
    }
    this.stats.downstreamCxTotal++;
    this.stats.downstreamCxActive++;
    this.#sockets.add(socket);
    socket.on('error', ignore);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.stats.downstreamCxActive--;
      this.stats.downstreamCxDestroy++;
    });
    this.#inspect({ socket, original, version });
  }

  #inspect(taken: Taken): void {
    const { socket, version } = taken;
    const { config } = version;
    const local = taken.original ?? this.#localAddressOf(socket);
    const port = local.kind === 'ip' ? local.port : 0;
    // Without the filter the bytes are looked at all the same where a chain's TLS depends on what the client offers.
    const inspectsTls =
      config.inspectsTls?.(port) ?? version.chains.some((chain) => chain.tls !== undefined && chain.tls.context.alpnProtocols.length > 0);
    const inspectsHttp = config.inspectsHttp?.(port) ?? false;
    if (!inspectsTls && !inspectsHttp) {
      this.#dispatch(taken, NOTHING_INSPECTED);
      return;
    }
    inspectConnection(socket, {
      inspectsTls,
      inspectsHttp,
      timeoutMs: config.listenerFiltersTimeoutMs,
      continuesOnTimeout: config.continuesOnTimeout,
      clock: this.#options.clock,
      onInspected: (inspected) => this.#dispatch(taken, inspected),
      onTimeout: () => {
        this.stats.downstreamPreCxTimeout++;
      },
    });
  }

  #dispatch({ socket, original, version }: Taken, inspected: Inspected): void {
    const localAddress = original ?? this.#localAddressOf(socket);
    const remoteAddress = remoteAddressOf(socket);
    const base = {
      id: this.#options.nextConnectionId(),
      localAddress,
      remoteAddress,
      originalDestination: original,
      listener: version.config.info,
    };
    const chain = this.#findChain(version, base, inspected);
    if (chain === undefined) {
      this.stats.noFilterChainMatch++;
      socket.destroy();
      return;
    }
    if (chain.tls === undefined) {
      chain.filter.onConnection({ ...base, socket, initialData: undefined, tls: undefined });
      return;
    }
    chain.tls.accept(socket, {
      clientAlpn: inspected.applicationProtocols,
      timeoutMs: chain.handshakeTimeoutMs,
      clock: this.#options.clock,
      stats: this.stats.ssl,
      onSecure: (tlsSocket, tls: TlsInfo) => chain.filter.onConnection({ ...base, socket: tlsSocket, initialData: undefined, tls }),
      onFailed: (reason) => this.#options.logger.debug({ listener: version.config.info.name, reason }, 'TLS handshake failed'),
    });
  }

  #findChain(
    version: ListenerVersion,
    connection: Pick<DownstreamConnection, 'localAddress' | 'remoteAddress'>,
    inspected: Inspected,
  ): LiveFilterChain | undefined {
    const { localAddress: destination, remoteAddress: source } = connection;
    const view = {
      destinationAddress: destination.kind === 'ip' ? destination.host : '',
      destinationPort: destination.kind === 'ip' ? destination.port : 0,
      sourceAddress: source.kind === 'ip' ? source.host : '',
      sourcePort: source.kind === 'ip' ? source.port : 0,
      serverName: inspected.serverName,
      transportProtocol: inspected.transportProtocol,
      applicationProtocols: inspected.applicationProtocols,
    };
    const chain = version.table.find(view) ?? version.defaultChain;
    if (chain?.httpStats === undefined || !inspected.applicationProtocols.some(isHttp2)) return chain;
    // The connection manager has no HTTP/2: where the port may carry anything, such a connection passes as the bytes that it is.
    const applicationProtocols = inspected.applicationProtocols.filter((protocol) => !isHttp2(protocol));
    const other = version.table.find({ ...view, applicationProtocols }) ?? version.defaultChain;
    return other?.httpStats === undefined ? (other ?? chain) : chain;
  }

  #localAddressOf(socket: Socket): SocketAddress {
    if (socket.localAddress !== undefined && socket.localPort !== undefined)
      return { kind: 'ip', host: unmapped(socket.localAddress), port: socket.localPort };
    return this.#address ?? ANY_PORT;
  }
}

function remoteAddressOf(socket: Socket): SocketAddress {
  if (socket.remoteAddress === undefined || socket.remotePort === undefined) return ANY_PORT;
  return { kind: 'ip', host: unmapped(socket.remoteAddress), port: socket.remotePort };
}

/** A listener on `::` sees IPv4 peers as `::ffff:a.b.c.d`. */
function unmapped(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}

function ignore(): void {}
