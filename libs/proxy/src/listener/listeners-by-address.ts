import { isIPv6 } from 'node:net';
import { ipv6Bytes, ipv6Text } from '@mizzen/core';
import { ConfigError } from '../config/config-error.ts';
import { addressText } from '../config/values.ts';
import type { LiveListener } from './listener.ts';
import type { ListenerConfig } from './listener-config.ts';
import type { IpAddress } from './original-destination.ts';

/** Which listener stands for which address, whether it is bound or only handed to. */
export class ListenersByAddress {
  readonly #listeners = new Map<string, LiveListener>();

  /**
   * The very address first, then its port on the wildcard address of its family, then (for IPv4) on a dual-stack one. Listeners that
   * accept no more are not found; one that is warming makes the connection wait. Source: envoy,
   * ConnectionHandlerImpl::getBalancedHandlerByAddress.
   */
  find({ host, port }: IpAddress): LiveListener | undefined {
    const exact = this.#accepting(`${host}|${port}`);
    if (exact !== undefined) return exact;
    if (host.includes(':')) return this.#accepting(`::|${port}`);
    return this.#accepting(`0.0.0.0|${port}`) ?? this.#dualStack(port);
  }

  /** Throws ConfigError where another listener has one of the addresses: which of them were meant could not be told. */
  refuseTaken(config: ListenerConfig, self: LiveListener | undefined): void {
    for (const address of config.addresses) {
      if (address.kind !== 'ip' || address.port === 0) continue;
      const holder = this.#listeners.get(keyOf(address));
      if (holder === undefined || holder === self) continue;
      // The bind itself says so better: the address may be free again by now, or be taken by another process.
      if (config.isBound) continue;
      throw new ConfigError('address', `${addressText(address)} is the address of another listener as well; only one can be handed to`);
    }
  }

  add({ addresses }: ListenerConfig, listener: LiveListener): void {
    for (const address of addresses) if (address.kind === 'ip') this.#listeners.set(keyOf(address), listener);
  }

  remove(listener: LiveListener): void {
    for (const [key, holder] of this.#listeners) if (holder === listener) this.#listeners.delete(key);
  }

  #accepting(key: string): LiveListener | undefined {
    const listener = this.#listeners.get(key);
    return listener?.isAccepting ? listener : undefined;
  }

  #dualStack(port: number): LiveListener | undefined {
    const listener = this.#accepting(`::|${port}`);
    return listener?.version?.config.isDualStack === true ? listener : undefined;
  }
}

function keyOf({ host, port }: IpAddress): string {
  return `${isIPv6(host) ? ipv6Text(Buffer.from(ipv6Bytes(host)), 0) : host}|${port}`;
}
