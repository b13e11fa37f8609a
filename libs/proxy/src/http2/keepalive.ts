import { Deadline, type TimerWheel } from '../http/timer-wheel.ts';
import type { Http2Keepalive } from './options.ts';

/** What keep-alive needs of its connection. */
export interface PingedConnection {
  sendPing(payload: Buffer): void;
  /** The peer did not answer. */
  onKeepaliveTimeout(): void;
}

const PAYLOAD = Buffer.from('mizzen-k', 'latin1');

/** Asks the peer at intervals whether it is still there. Source: envoy KeepaliveSettings, Http2::ConnectionImpl::sendKeepalive (1.40). */
export class Keepalive {
  readonly #connection: PingedConnection;
  readonly #settings: Http2Keepalive | undefined;
  readonly #next: Deadline | undefined;
  readonly #answer: Deadline | undefined;
  readonly #random: () => number;

  constructor(
    connection: PingedConnection,
    settings: Http2Keepalive | undefined,
    timing: { readonly wheel: TimerWheel; readonly random: () => number },
  ) {
    this.#connection = connection;
    this.#settings = settings;
    this.#random = timing.random;
    if (settings === undefined) return;
    this.#next = new Deadline(timing.wheel, () => this.#ping());
    this.#answer = new Deadline(timing.wheel, () => this.#connection.onKeepaliveTimeout());
  }

  start(): void {
    const { intervalMs = 0, jitterRatio = 0 } = this.#settings ?? {};
    if (intervalMs > 0) this.#next?.arm(intervalMs * (1 + jitterRatio * this.#random()));
  }

  #ping(): void {
    const settings = this.#settings as Http2Keepalive;
    this.#connection.sendPing(PAYLOAD);
    this.#answer?.arm(settings.timeoutMs);
  }

  /** Before a request on a connection that was silent: asks at once, the request does not wait. */
  onRequestAfterSilence(silentMs: number): void {
    const idleMs = this.#settings?.idleIntervalMs ?? 0;
    if (idleMs > 0 && silentMs >= idleMs && this.#answer?.isArmed === false) this.#ping();
  }

  /** Anything that comes is an answer. */
  onActivity(): void {
    if (this.#answer?.isArmed !== true) return;
    this.#answer.cancel();
    this.start();
  }

  stop(): void {
    this.#next?.cancel();
    this.#answer?.cancel();
  }
}
