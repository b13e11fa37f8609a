import { mayConnect } from '../cluster/circuit-breakers.ts';
import type { ProxyContext, UpstreamCluster, UpstreamConnecting, UpstreamEndpoint } from '../contract.ts';
import { Bag } from '../http/bag.ts';
import type { ResponseReceiver } from '../http/stream.ts';
import { Deadline, type TimerWheel } from '../http/timer-wheel.ts';
import { transportFailure } from '../http/transport-failure.ts';
import type { HttpPool, PendingRequest } from '../http/upstream-pool.ts';
import { WaitingRequests } from '../http/waiting-requests.ts';
import { ClientConnection, type ClientConnectionOwner } from './client-connection.ts';

const HTTP1_ALPN: readonly string[] = ['http/1.1'];

/**
 * The HTTP/1.1 connections to one endpoint. The connection used last is taken first, so that those not needed grow old and go.
 * Limits are the cluster's (circuit breaker). Source: envoy ConnPoolImplBase (1.40).
 */
export class Http1Pool implements HttpPool, ClientConnectionOwner {
  readonly #endpoint: UpstreamEndpoint;
  readonly #clock: ProxyContext['clock'];
  readonly #idle: ClientConnection[] = [];
  readonly #waiting: WaitingRequests;
  readonly #connecting = new Bag<UpstreamConnecting>();
  readonly #idleDeadline: Deadline;
  readonly #wheel: TimerWheel;
  #connections = 0;
  #isDraining = false;

  constructor(endpoint: UpstreamEndpoint, options: { readonly clock: ProxyContext['clock']; readonly wheel: TimerWheel }) {
    this.#endpoint = endpoint;
    this.#waiting = new WaitingRequests(endpoint);
    this.#clock = options.clock;
    this.#wheel = options.wheel;
    this.#idleDeadline = new Deadline(options.wheel, () => this.#closeOld());
  }

  /** `receiver.onReady` is called with a connection, at once where one is idle; or `onUpstreamReset`. */
  request(receiver: ResponseReceiver): PendingRequest | undefined {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (!this.#isTooOld(idle)) {
        idle.attach(receiver);
        return undefined;
      }
      idle.close();
    }
    const waiting = this.#waiting.add(receiver);
    if (waiting !== undefined) this.#connectForWaiting();
    return waiting;
  }

  drain(): void {
    this.#isDraining = true;
    // An armed deadline would keep the pool, and its cluster, for as long as connections may be idle.
    this.#idleDeadline.cancel();
    this.#closeIdle(() => true);
  }

  #connect(cluster: UpstreamCluster): void {
    // A pool without any connection may always make one: its requests would have nothing to wait for.
    if (!mayConnect(this.#endpoint) && this.#connections + this.#connecting.size > 0) {
      cluster.stats.upstreamCxOverflow++;
      return;
    }
    let isOver = false;
    let attempt: UpstreamConnecting | undefined;
    const over = (): void => {
      isOver = true;
      if (attempt !== undefined) this.#connecting.delete(attempt);
    };
    // The endpoint counts its connections itself.
    attempt = this.#endpoint.connect({
      alpn: HTTP1_ALPN,
      onConnected: (socket, tls) => {
        over();
        this.#connections++;
        this.#endpoint.cluster.stats.upstreamCxHttp1Total++;
        const connection = new ClientConnection(socket, { tls, owner: this, wheel: this.#wheel });
        connection.openedAtMs = this.#clock.monotonic();
        this.onIdle(connection);
      },
      onFailed: (failure) => {
        over();
        const reason = failure.isTimeout ? 'connection-timeout' : 'connection-failure';
        this.#waiting.take()?.onUpstreamReset(reason, transportFailure(failure));
        this.#connectForWaiting();
      },
    });
    if (!isOver) this.#connecting.add(attempt);
  }

  onIdle(connection: ClientConnection): void {
    const { maxRequestsPerConnection, idleTimeoutMs } = this.#endpoint.cluster;
    const isWornOut = (maxRequestsPerConnection > 0 && connection.requests >= maxRequestsPerConnection) || this.#isTooOld(connection);
    const waiting = isWornOut ? undefined : this.#waiting.take();
    if (waiting !== undefined) {
      connection.attach(waiting);
      return;
    }
    if (isWornOut || this.#isDraining) {
      connection.close();
      return;
    }
    connection.idleSinceMs = this.#clock.monotonic();
    this.#idle.push(connection);
    if (!this.#idleDeadline.isArmed) this.#armForOldest(idleTimeoutMs);
  }

  #isTooOld(connection: ClientConnection): boolean {
    const { maxConnectionDurationMs } = this.#endpoint.cluster;
    return maxConnectionDurationMs > 0 && this.#clock.monotonic() - connection.openedAtMs >= maxConnectionDurationMs;
  }

  /** Wakes when the next idle connection may have to go: by its idleness, or by its age. */
  #armForOldest(untilIdleMs: number): void {
    const { idleTimeoutMs, maxConnectionDurationMs } = this.#endpoint.cluster;
    const idleMs = idleTimeoutMs > 0 ? untilIdleMs : Number.POSITIVE_INFINITY;
    const ageMs = maxConnectionDurationMs > 0 ? maxConnectionDurationMs : Number.POSITIVE_INFINITY;
    const delayMs = Math.min(idleMs, ageMs);
    if (delayMs < Number.POSITIVE_INFINITY) this.#idleDeadline.arm(Math.max(1, delayMs));
  }

  onClosed(connection: ClientConnection, how: 'local' | 'remote' | 'idle'): void {
    const { stats } = this.#endpoint.cluster;
    if (how === 'local') stats.upstreamCxDestroyLocalWithActiveRq++;
    if (how === 'remote') stats.upstreamCxDestroyRemoteWithActiveRq++;
    const index = this.#idle.indexOf(connection);
    if (index >= 0) this.#idle.splice(index, 1);
    this.#connections--;
    this.#connectForWaiting();
  }

  /** A limit may have kept requests waiting until a connection, or an attempt at one, was gone. */
  #connectForWaiting(): void {
    if (this.#waiting.size > this.#connecting.size) this.#connect(this.#endpoint.cluster);
  }

  #closeOld(): void {
    const { idleTimeoutMs } = this.#endpoint.cluster;
    const now = this.#clock.monotonic();
    this.#closeIdle((connection) => (idleTimeoutMs > 0 && now - connection.idleSinceMs >= idleTimeoutMs) || this.#isTooOld(connection));
    const oldest = this.#idle[0];
    if (oldest !== undefined) this.#armForOldest(oldest.idleSinceMs + idleTimeoutMs - now);
  }

  #closeIdle(isUnwanted: (connection: ClientConnection) => boolean): void {
    const all = this.#idle.splice(0);
    for (const connection of all) {
      if (isUnwanted(connection)) connection.close();
      else this.#idle.push(connection);
    }
  }
}
