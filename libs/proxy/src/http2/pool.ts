import type { Clock } from '@mizzen/core';
import { mayConnect } from '../cluster/circuit-breakers.ts';
import type { TlsInfo, UpstreamCluster, UpstreamConnecting, UpstreamEndpoint } from '../contract.ts';
import { Bag } from '../http/bag.ts';
import type { ResponseReceiver } from '../http/stream.ts';
import { Deadline, type TimerWheel } from '../http/timer-wheel.ts';
import { transportFailure } from '../http/transport-failure.ts';
import type { HttpPool, PendingRequest } from '../http/upstream-pool.ts';
import { WaitingRequests } from '../http/waiting-requests.ts';

/** A connection that carries requests, one at a time (HTTP/1) or many (HTTP/2). */
export interface PooledConnection {
  /** Another request can be attached now. */
  readonly hasCapacity: boolean;
  /** The peer has said how many requests it takes at once. */
  readonly hasPeerSettings: boolean;
  readonly activeStreams: number;
  /** Requests begun. */
  readonly requests: number;
  /** In monotonic milliseconds; kept by the pool. */
  openedAtMs: number;
  /** When the last request ended, in monotonic milliseconds; kept by the pool. */
  idleSinceMs: number;
  attach(receiver: ResponseReceiver): void;
  /** Only when idle. */
  close(): void;
  /** Takes no further requests; closes when the last one has ended, at once where there is none. */
  drain(): void;
}

/** What a connection tells its pool. */
export interface PooledConnectionOwner {
  onCapacity(connection: PooledConnection): void;
  onDraining(connection: PooledConnection): void;
  onIdle(connection: PooledConnection): void;
  onClosed(connection: PooledConnection, how: 'local' | 'remote' | 'idle'): void;
}

export interface MultiplexPoolOptions {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  /** Offered by ALPN where the cluster's TLS context offers nothing of its own. */
  readonly alpn: readonly string[];
  /** How many requests a connection is expected to carry at once, until one has shown that it carries fewer. */
  readonly expectedStreams: number;
  /** Speaks HTTP over a fresh connection, in the version that was agreed. */
  readonly open: (socket: Parameters<OnConnected>[0], tls: TlsInfo | undefined, owner: PooledConnectionOwner) => PooledConnection;
}

type OnConnected = Parameters<UpstreamEndpoint['connect']>[0]['onConnected'];

/**
 * The connections to one endpoint that carry many requests each, and those of an endpoint that chooses the version of HTTP by itself.
 * One connection is filled before the next is made. Limits are the cluster's (circuit breaker). Source: envoy ConnPoolImplBase,
 * HttpConnPoolImplMixed (1.40).
 */
export class MultiplexPool implements HttpPool, PooledConnectionOwner {
  readonly #endpoint: UpstreamEndpoint;
  readonly #options: MultiplexPoolOptions;
  /** Those that can take another request; the first one is used until it is full. */
  readonly #ready: PooledConnection[] = [];
  readonly #connections = new Bag<PooledConnection>();
  readonly #waiting: WaitingRequests;
  readonly #connecting = new Bag<UpstreamConnecting>();
  readonly #sweep: Deadline;
  #expectedStreams: number;
  #isDraining = false;

  constructor(endpoint: UpstreamEndpoint, options: MultiplexPoolOptions) {
    this.#endpoint = endpoint;
    this.#waiting = new WaitingRequests(endpoint);
    this.#options = options;
    this.#expectedStreams = options.expectedStreams;
    this.#sweep = new Deadline(options.wheel, () => this.#closeOld());
  }

  request(receiver: ResponseReceiver): PendingRequest | undefined {
    const connection = this.#readyConnection();
    if (connection !== undefined) {
      this.#attach(connection, receiver);
      return undefined;
    }
    const waiting = this.#waiting.add(receiver);
    if (waiting !== undefined) this.#connectForWaiting();
    return waiting;
  }

  drain(): void {
    this.#isDraining = true;
    // An armed deadline would keep the pool, and its cluster, for as long as connections may be idle.
    this.#sweep.cancel();
    // Requests that wait still get a connection; it goes with the last of them.
    if (this.#waiting.size > 0) return;
    this.#ready.length = 0;
    for (const connection of this.#connections.list()) connection.drain();
  }

  #readyConnection(): PooledConnection | undefined {
    for (let connection = this.#ready[0]; connection !== undefined; connection = this.#ready[0]) {
      const isTooOld = this.#isTooOld(connection);
      if (this.#hasRoom(connection) && !isTooOld) return connection;
      this.#ready.shift();
      if (isTooOld) connection.drain();
    }
    return undefined;
  }

  #attach(connection: PooledConnection, receiver: ResponseReceiver): void {
    connection.attach(receiver);
    const { maxRequestsPerConnection } = this.#endpoint.cluster;
    if (maxRequestsPerConnection > 0 && connection.requests >= maxRequestsPerConnection) {
      this.#notReady(connection);
      connection.drain();
    } else if (!this.#hasRoom(connection)) {
      this.#notReady(connection);
      if (connection.hasPeerSettings && connection.activeStreams > 0) this.#expectedStreams = connection.activeStreams;
    }
  }

  /** A server that has not said yet how many requests it takes is trusted to take as many as it did before. */
  #hasRoom(connection: PooledConnection): boolean {
    return connection.hasCapacity && (connection.hasPeerSettings || connection.activeStreams < this.#expectedStreams);
  }

  #notReady(connection: PooledConnection): void {
    const index = this.#ready.indexOf(connection);
    if (index >= 0) this.#ready.splice(index, 1);
  }

  #connectForWaiting(): void {
    while (this.#waiting.size > this.#connecting.size * this.#expectedStreams) {
      if (!this.#connect(this.#endpoint.cluster)) return;
    }
  }

  /** False: there are as many connections as there may be. */
  #connect(cluster: UpstreamCluster): boolean {
    // A pool without any connection may always make one: its requests would have nothing to wait for.
    if (!mayConnect(this.#endpoint) && this.#connections.size + this.#connecting.size > 0) {
      cluster.stats.upstreamCxOverflow++;
      return false;
    }
    let isOver = false;
    let attempt: UpstreamConnecting | undefined;
    const over = (): void => {
      isOver = true;
      if (attempt !== undefined) this.#connecting.delete(attempt);
    };
    // The endpoint counts its connections itself.
    attempt = this.#endpoint.connect({
      alpn: this.#options.alpn,
      onConnected: (socket, tls) => {
        over();
        const connection = this.#options.open(socket, tls, this);
        connection.openedAtMs = this.#options.clock.monotonic();
        this.#connections.add(connection);
        this.#becomeReady(connection);
        if (connection.activeStreams === 0) this.onIdle(connection);
      },
      onFailed: (failure) => {
        over();
        const reason = failure.isTimeout ? 'connection-timeout' : 'connection-failure';
        // All that wait: one connection would have served them all.
        for (const receiver of this.#waiting.takeAll()) receiver.onUpstreamReset(reason, transportFailure(failure));
      },
    });
    if (!isOver) this.#connecting.add(attempt);
    return !isOver;
  }

  /** Gives the connection what waits, as far as it has room. */
  #becomeReady(connection: PooledConnection): void {
    if (!this.#hasRoom(connection)) return;
    if (this.#isTooOld(connection)) {
      this.#notReady(connection);
      connection.drain();
    } else if (!this.#ready.includes(connection)) this.#ready.push(connection);
    while (this.#waiting.size > 0 && this.#ready.includes(connection)) this.#attach(connection, this.#waiting.take() as ResponseReceiver);
    this.#connectForWaiting();
  }

  onCapacity(connection: PooledConnection): void {
    this.#becomeReady(connection);
  }

  onDraining(connection: PooledConnection): void {
    this.#notReady(connection);
    this.#connectForWaiting();
  }

  onIdle(connection: PooledConnection): void {
    this.#becomeReady(connection);
    if (connection.activeStreams > 0) return;
    if (this.#isDraining) {
      this.#notReady(connection);
      connection.close();
      return;
    }
    const { idleTimeoutMs, maxConnectionDurationMs } = this.#endpoint.cluster;
    connection.idleSinceMs = this.#options.clock.monotonic();
    if (!this.#sweep.isArmed) this.#armSweep(idleTimeoutMs, maxConnectionDurationMs);
  }

  onClosed(connection: PooledConnection, how: 'local' | 'remote' | 'idle'): void {
    const { stats } = this.#endpoint.cluster;
    if (how === 'local') stats.upstreamCxDestroyLocalWithActiveRq++;
    if (how === 'remote') stats.upstreamCxDestroyRemoteWithActiveRq++;
    this.#notReady(connection);
    this.#connections.delete(connection);
    this.#connectForWaiting();
  }

  #isTooOld(connection: PooledConnection): boolean {
    const { maxConnectionDurationMs } = this.#endpoint.cluster;
    return maxConnectionDurationMs > 0 && this.#options.clock.monotonic() - connection.openedAtMs >= maxConnectionDurationMs;
  }

  #armSweep(idleMs: number, ageMs: number): void {
    const delayMs = Math.min(idleMs > 0 ? idleMs : Number.POSITIVE_INFINITY, ageMs > 0 ? ageMs : Number.POSITIVE_INFINITY);
    if (delayMs < Number.POSITIVE_INFINITY) this.#sweep.arm(Math.max(1, delayMs));
  }

  #closeOld(): void {
    const { idleTimeoutMs, maxConnectionDurationMs } = this.#endpoint.cluster;
    const now = this.#options.clock.monotonic();
    let soonestMs = Number.POSITIVE_INFINITY;
    for (const connection of this.#connections.list()) {
      if (connection.activeStreams > 0) continue;
      const leftMs = idleTimeoutMs > 0 ? connection.idleSinceMs + idleTimeoutMs - now : Number.POSITIVE_INFINITY;
      if (leftMs <= 0 || this.#isTooOld(connection)) {
        this.#notReady(connection);
        connection.close();
      } else soonestMs = Math.min(soonestMs, leftMs);
    }
    if (soonestMs < Number.POSITIVE_INFINITY) this.#armSweep(soonestMs, maxConnectionDurationMs);
  }
}
