import { Watchable } from '@mizzen/core';
import type { XdsRejection, XdsUpdate } from '@mizzen/xds-api';
import { listenerNameOf } from './local-consumer.ts';
import type { PortReservation } from './port-reservation.ts';

/** Which listeners the proxy has in force, and why others are not. */
export class ListenerState {
  readonly #refused = new Map<string, string>();
  readonly inForce = new Watchable<ReadonlySet<string>>(new Set());

  record(update: XdsUpdate, rejections: readonly XdsRejection[]): void {
    for (const { name } of update.upserts) this.#refused.delete(name);
    for (const { name, reason } of rejections) this.#refused.set(name, reason);
    // A listener that is refused may be in force in its version before.
    const added = update.upserts.map(({ name }) => name).filter((name) => !this.#refused.has(name));
    const names = new Set([...this.inForce.value, ...added]);
    for (const name of update.removed) {
      names.delete(name);
      this.#refused.delete(name);
    }
    this.inForce.set(names);
  }

  /** Starts over: what counts from now on is what comes. */
  reset(): void {
    this.#refused.clear();
    this.inForce.set(new Set());
  }

  /** Why one of the announced ports, or of the other listeners that are needed, has no listener yet; undefined where each has one. */
  missing(announced: readonly PortReservation[], others: readonly string[] = []): string | undefined {
    const name = [...announced.map(listenerNameOf), ...others].find((candidate) => !this.inForce.value.has(candidate));
    if (name === undefined) return undefined;
    const reason = this.#refused.get(name);
    return reason === undefined ? `the control plane has sent no listener ${name} yet` : `the listener ${name} was refused: ${reason}`;
  }
}
