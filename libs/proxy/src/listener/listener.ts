import { Server, type Socket } from 'node:net';
import type { Clock, Logger } from '@mizzen/core';
import type { FilterChainTable } from '@mizzen/matching';
import type { DownstreamConnection, SocketAddress, TlsInfo } from '../contract.ts';
import type { TlsStats } from '../tls/downstream-tls.ts';
import { listenNow } from './bind.ts';
import type { LiveFilterChain } from './filter-chain.ts';
import type { ListenerConfig } from './listener-config.ts';
import { type Inspected, inspectConnection, NOTHING_INSPECTED } from './listener-filters.ts';

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
  /** Sockets that were accepted before the first version was warm. */
  #waiting: Socket[] = [];
  #version: ListenerVersion | undefined;
  #server: Server | undefined;
  #address: SocketAddress | undefined;

  constructor(options: ListenerOptions) {
    this.#options = options;
  }

  /** In force; undefined while the first version is warming. */
  get version(): ListenerVersion | undefined {
    return this.#version;
  }

  /** Where it really listens (a port 0 is resolved); undefined for internal listeners. */
  get address(): SocketAddress | undefined {
    return this.#address;
  }

  get openSockets(): number {
    return this.#sockets.size;
  }

  /** Binds the address. Connections wait until the first version is in force. Throws ConfigError. */
  bind(address: SocketAddress, backlog: number | undefined): void {
    const server = new Server({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true }, (socket) => this.#onSocket(socket));
    listenNow(server, address, backlog === undefined ? {} : { backlog });
    server.on('error', (error) => this.#options.logger.error({ err: error }, 'listener failed'));
    this.#server = server;
    const bound = server.address();
    this.#address = bound !== null && typeof bound === 'object' ? { kind: 'ip', host: bound.address, port: bound.port } : address;
  }

  /** Puts a version in force for connections from now on. */
  use(version: ListenerVersion): void {
    this.#version = version;
    for (const socket of this.#waiting.splice(0)) if (!socket.destroyed) this.#serve(socket, version);
  }

  /** Stops accepting; connections live on. */
  stopAccepting(): void {
    this.#server?.close();
    this.#server = undefined;
    for (const socket of this.#waiting.splice(0)) socket.destroy();
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

  #onSocket(socket: Socket): void {
    this.stats.downstreamCxTotal++;
    this.stats.downstreamCxActive++;
    this.#sockets.add(socket);
    socket.on('error', ignore);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.stats.downstreamCxActive--;
      this.stats.downstreamCxDestroy++;
    });
    if (this.#version === undefined) this.#waiting.push(socket);
    else this.#serve(socket, this.#version);
  }

  #serve(socket: Socket, version: ListenerVersion): void {
    const { config } = version;
    const inspectsTls =
      config.inspectsTls || version.chains.some((chain) => chain.tls !== undefined && chain.tls.context.alpnProtocols.length > 0);
    if (!inspectsTls && !config.inspectsHttp) {
      this.#dispatch(socket, version, NOTHING_INSPECTED);
      return;
    }
    inspectConnection(socket, {
      inspectsTls,
      inspectsHttp: config.inspectsHttp,
      timeoutMs: config.listenerFiltersTimeoutMs,
      continuesOnTimeout: config.continuesOnTimeout,
      clock: this.#options.clock,
      onInspected: (inspected) => this.#dispatch(socket, version, inspected),
      onTimeout: () => {
        this.stats.downstreamPreCxTimeout++;
      },
    });
  }

  #dispatch(socket: Socket, version: ListenerVersion, inspected: Inspected): void {
    const localAddress = this.#localAddressOf(socket);
    const remoteAddress = remoteAddressOf(socket);
    const base = {
      id: this.#options.nextConnectionId(),
      localAddress,
      remoteAddress,
      originalDestination: localAddress,
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
    connection: Pick<DownstreamConnection, 'localAddress' | 'remoteAddress' | 'originalDestination'>,
    inspected: Inspected,
  ): LiveFilterChain | undefined {
    const destination = connection.originalDestination;
    const source = connection.remoteAddress;
    const found = version.table.find({
      destinationAddress: destination.kind === 'ip' ? destination.host : '',
      destinationPort: destination.kind === 'ip' ? destination.port : 0,
      sourceAddress: source.kind === 'ip' ? source.host : '',
      sourcePort: source.kind === 'ip' ? source.port : 0,
      serverName: inspected.serverName,
      transportProtocol: inspected.transportProtocol,
      applicationProtocols: inspected.applicationProtocols,
    });
    return found ?? version.defaultChain;
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
