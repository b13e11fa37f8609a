import { chmodSync } from 'node:fs';
import { Server, type Socket } from 'node:net';
import type { Clock, Logger } from '@mizzen/core';
import { within } from '../config/config-error.ts';
import { addressText } from '../config/values.ts';
import type { DownstreamConnection, SocketAddress } from '../contract.ts';
import type { InheritedListeners, ListeningDescriptor } from '../hot-restart/inherited-listeners.ts';
import { Roster } from '../http/roster.ts';
import { LISTENER_STATS } from '../observe/listener-stats.ts';
import { type Counts, zeroCounts } from '../observe/stat-registry.ts';
import { createTlsStats, HANDSHAKE_TIMEOUT, type TlsStats } from '../tls/downstream-tls.ts';
import type { SharedNumbers } from '../workers/shared-memory.ts';
import { type AcceptedConnection, describeConnection, localAddressOf, withAddressesOf } from './accepted-connection.ts';
import { listenNow } from './bind.ts';
import type { ConnectionLimits } from './connection-limits.ts';
import type { ListenerConfig } from './listener-config.ts';
import { type Inspected, inspectConnection, NOTHING_INSPECTED } from './listener-filters.ts';
import { findChain, type ListenerVersion } from './listener-version.ts';
import { enterGates } from './network-gate.ts';
import type { IpAddress } from './original-destination.ts';

/** Counters of `listener.<address>`, those of its TLS below `ssl`. */
export type ListenerStats = Counts<typeof LISTENER_STATS> & { readonly ssl: TlsStats };

export interface ListenerOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly nextConnectionId: () => number;
  /** What the process before this one listened on. */
  readonly inherited?: InheritedListeners | undefined;
  /** Other event loops of this process listen on the same ports. */
  readonly sharesPorts?: 'first' | 'further' | undefined;
  /** The listener in force for an original destination: that of the very address, else that of its port on the wildcard address. */
  readonly listenerAt: (destination: IpAddress) => LiveListener | undefined;
  /** Which limit one more connection would be above. */
  readonly limits: ConnectionLimits;
}

interface Waiting {
  readonly socket: Socket;
  readonly resume: () => void;
}

type BindConfig = Pick<ListenerConfig, 'addresses' | 'backlog' | 'isDualStack'> & Partial<Pick<ListenerConfig, 'pipeMode'>>;

/** One bound address (or internal listener). The accepting socket stays while versions of the definition come and go. */
export class LiveListener {
  readonly stats: ListenerStats = { ...zeroCounts(LISTENER_STATS), ssl: createTlsStats() };
  readonly #options: ListenerOptions;
  readonly #sockets = new Roster<Socket>();
  /** Connections that came before the first version was warm. */
  #waiting: Waiting[] = [];
  #version: ListenerVersion | undefined;
  #servers: Server[] = [];
  #address: SocketAddress | undefined;
  #isStopped = false;
  /** How many connections it has, in all event loops; undefined before the first. */
  #count: SharedNumbers | undefined;

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

  /** The sockets that it listens on. */
  get descriptors(): readonly ListeningDescriptor[] {
    return this.#servers.flatMap((server): readonly ListeningDescriptor[] => {
      const bound = server.address();
      const descriptor = (server as unknown as { readonly _handle: { readonly fd: number } | null })._handle?.fd;
      if (bound === null || descriptor === undefined || descriptor < 0) return [];
      const address: SocketAddress =
        typeof bound === 'string' ? { kind: 'pipe', path: bound } : { kind: 'ip', host: bound.address, port: bound.port };
      return [{ address: addressText(address), descriptor }];
    });
  }

  get openSockets(): number {
    return this.#sockets.size;
  }

  /** Binds the addresses. Connections wait until the first version is in force. Throws ConfigError; then nothing is bound. */
  bind({ addresses, backlog, isDualStack, pipeMode }: BindConfig): void {
    try {
      for (const address of addresses) {
        const server = new Server({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
        listenNow(server, address, {
          isDualStack,
          sharesPort: this.#options.sharesPorts,
          inherited: this.#options.inherited?.take(address),
          ...(backlog === undefined ? {} : { backlog }),
        });
        if (address.kind === 'pipe' && pipeMode !== undefined) within('address.pipe.mode', () => chmodSync(address.path, pipeMode));
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
    this.#forgetCount();
  }

  /** Ends every connection that is left. */
  destroyConnections(): void {
    for (const socket of this.#sockets.list()) socket.destroy();
  }

  /** A connection from inside the process: it was accepted elsewhere and starts again here. */
  takeOver(connection: DownstreamConnection): boolean {
    const version = this.#version;
    if (version === undefined) return false;
    this.stats.downstreamCxTotal++;
    // What was found out about the outer connection is nothing that was found out about this one, but for what is shared with it.
    const inner = version.config.filters.restoresDestination ? withAddressesOf(connection) : connection;
    const chain = findChain(version, inner, NOTHING_INSPECTED);
    if (chain === undefined || chain.tls !== undefined) {
      this.stats.noFilterChainMatch++;
      version.onUnmatched?.({ ...inner, listener: version.config.info });
      return false;
    }
    enterGates({ ...inner, id: this.#options.nextConnectionId(), listener: version.config.info }, chain);
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
    const { limits } = this.#options;
    this.#count ??= limits.countOf(version.config.info.name);
    const count = this.#count;
    if (!this.#admits(version, count)) {
      socket.destroy();
      this.#forgetCount();
      return;
    }
    this.stats.downstreamCxTotal++;
    this.stats.downstreamCxActive++;
    const seat = this.#sockets.join(socket);
    socket.on('error', ignore);
    socket.once('close', () => {
      this.#sockets.leave(seat);
      limits.close(count);
      this.stats.downstreamCxActive--;
      this.stats.downstreamCxDestroy++;
      this.#forgetCount();
    });
    this.#inspect({ socket, local: localAddressOf(socket, this.#address), original, version });
  }

  /** True: the connection is counted. */
  #admits({ config }: ListenerVersion, count: SharedNumbers): boolean {
    const { limits } = this.#options;
    const { ignoresGlobalLimit, info, filters } = config;
    const opened = limits.open(count, { name: info.name, ignoresGlobalLimit });
    if (opened === 'listener-full') this.stats.downstreamCxOverflow++;
    if (opened === 'full') this.stats.downstreamGlobalCxOverflow++;
    if (opened !== 'opened') return false;
    if (filters.rateLimits.every((take) => take())) return true;
    limits.close(count);
    return false;
  }

  #forgetCount(): void {
    if (!this.#isStopped || this.#sockets.size > 0) return;
    this.#count?.release();
    this.#count = undefined;
  }

  #inspect(accepted: AcceptedConnection): void {
    const { socket, version } = accepted;
    const { config } = version;
    const { filters } = config;
    const local = accepted.original ?? accepted.local;
    const port = local.kind === 'ip' ? local.port : 0;
    // Without the filter the bytes are looked at all the same where a chain's TLS depends on what the client offers.
    const inspectsTls = filters.inspectsTls?.(port) ?? version.chains.some((chain) => chain.tls?.needsInspection);
    const inspectsHttp = filters.inspectsHttp?.(port) ?? false;
    const proxyProtocol = filters.proxyProtocol?.isAskedAt(port) ? filters.proxyProtocol.filter : undefined;
    if (!inspectsTls && !inspectsHttp && proxyProtocol === undefined) {
      this.#dispatch(accepted, NOTHING_INSPECTED);
      return;
    }
    this.stats.downstreamPreCxActive++;
    inspectConnection(socket, {
      proxyProtocol,
      inspectsTls,
      inspectsHttp,
      timeoutMs: config.listenerFiltersTimeoutMs,
      continuesOnTimeout: config.continuesOnTimeout,
      clock: this.#options.clock,
      onInspected: (inspected) => {
        this.stats.downstreamPreCxActive--;
        this.#dispatch(accepted, inspected);
      },
      onTimeout: (goesOn) => {
        if (!goesOn) this.stats.downstreamPreCxActive--;
        this.stats.downstreamPreCxTimeout++;
      },
      onGivenUp: (why) => {
        this.stats.downstreamPreCxActive--;
        if (why === 'remote-close') this.stats.downstreamListenerFilterRemoteClose++;
        else {
          this.stats.downstreamCxProxyProtoError++;
          this.stats.downstreamListenerFilterError++;
        }
      },
    });
  }

  #dispatch(accepted: AcceptedConnection, inspected: Inspected): void {
    const { socket, version } = accepted;
    const base = describeConnection(this.#options.nextConnectionId(), accepted, inspected);
    const chain = findChain(version, base, inspected);
    if (chain === undefined) {
      this.stats.noFilterChainMatch++;
      version.onUnmatched?.({ ...base, socket, initialData: undefined, tls: undefined });
      socket.destroy();
      return;
    }
    if (chain.tls === undefined) {
      enterGates({ ...base, filterChainName: chain.name, socket, initialData: undefined, tls: undefined }, chain);
      return;
    }
    chain.tls.accept(socket, {
      serverName: inspected.serverName,
      clientAlpn: inspected.applicationProtocols,
      timeoutMs: chain.handshakeTimeoutMs,
      clock: this.#options.clock,
      stats: this.stats.ssl,
      onSecure: (tlsSocket, tls) =>
        enterGates({ ...base, filterChainName: chain.name, socket: tlsSocket, initialData: undefined, tls }, chain),
      onFailed: (reason) => {
        if (reason === HANDSHAKE_TIMEOUT) this.stats.downstreamCxTransportSocketConnectTimeout++;
        this.#options.logger.debug({ listener: version.config.info.name, reason }, 'TLS handshake failed');
      },
    });
  }
}

function ignore(): void {}
