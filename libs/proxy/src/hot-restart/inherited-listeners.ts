import { closeSync } from 'node:fs';
import { MizzenError } from '@mizzen/core';
import { addressText } from '../config/values.ts';
import type { SocketAddress } from '../contract.ts';

/** One listening socket of the process before this one. */
export interface ListeningDescriptor {
  /** As `addressText` prints it, port resolved. */
  readonly address: string;
  readonly descriptor: number;
}

/**
 * Listening sockets that the process before this one handed over. Who binds takes the one of its address instead of a new one: connections
 * that wait in its queue are then nobody's loss. Several of one address are those of several event loops.
 */
export class InheritedListeners {
  readonly #byAddress = new Map<string, number[]>();

  constructor(listeners: readonly ListeningDescriptor[]) {
    for (const { address, descriptor } of listeners) {
      const known = this.#byAddress.get(address);
      if (known === undefined) this.#byAddress.set(address, [descriptor]);
      else known.push(descriptor);
    }
  }

  /** Each descriptor is given once. */
  take(address: SocketAddress): number | undefined {
    const text = addressText(address);
    const found = this.#byAddress.get(text);
    const descriptor = found?.shift();
    if (found?.length === 0) this.#byAddress.delete(text);
    return descriptor;
  }

  /** Closes those that nobody has taken: a client would wait in a queue that nobody empties. */
  closeRest(): void {
    for (const descriptor of [...this.#byAddress.values()].flat()) closeSync(descriptor);
    this.#byAddress.clear();
  }

  /** Deals them to so many event loops: the second of each address is the second's. */
  static deal(listeners: readonly ListeningDescriptor[], count: number): readonly (readonly ListeningDescriptor[])[] {
    const seen = new Map<string, number>();
    const dealt: ListeningDescriptor[][] = Array.from({ length: count }, () => []);
    for (const listener of listeners) {
      const turn = seen.get(listener.address) ?? 0;
      seen.set(listener.address, turn + 1);
      dealt[turn % count]?.push(listener);
    }
    return dealt;
  }
}

/** Reads what `announceListeners` wrote. Throws MIZZEN_ADDRESS where it is something else. */
export function readListeners(text: string, descriptors: readonly number[]): readonly ListeningDescriptor[] {
  const { addresses } = JSON.parse(text) as { readonly addresses?: readonly string[] };
  if (addresses === undefined || addresses.length !== descriptors.length)
    throw new MizzenError('MIZZEN_ADDRESS', 'the process before this one handed over listeners in a way that this one does not know');
  return addresses.map((address, index) => ({ address, descriptor: descriptors[index] as number }));
}

export function announceListeners(listeners: readonly ListeningDescriptor[]): string {
  return JSON.stringify({ addresses: listeners.map(({ address }) => address) });
}
