import { lookup } from 'node:dns';
import { isIP } from 'node:net';
import type { Clock, Timer } from '@mizzen/core';
import type { AssignmentConfig, EndpointConfig } from './assignment.ts';

/** Resolves a name to addresses; injected by tests. */
export type Resolve = (name: string, family: 0 | 4 | 6) => Promise<readonly string[]>;

export const systemResolve: Resolve = (name, family) =>
  new Promise((resolve, reject) => {
    lookup(name, { all: true, family }, (error, addresses) =>
      error ? reject(error) : resolve(addresses.map((address) => address.address)),
    );
  });

export interface DnsDiscoveryOptions {
  readonly assignment: AssignmentConfig;
  /** LOGICAL_DNS: only the first address is used. */
  readonly isLogical: boolean;
  readonly refreshMs: number;
  readonly family: 0 | 4 | 6;
  readonly clock: Clock;
  readonly resolve: Resolve;
  /** Called with the first answer (even an empty one) and with each that differs. */
  readonly onAssignment: (assignment: AssignmentConfig) => void;
}

/** Keeps the endpoints of a DNS cluster resolved. A failed resolution keeps the last good answer. */
export class DnsDiscovery {
  readonly #options: DnsDiscoveryOptions;
  readonly #answers = new Map<string, readonly string[]>();
  #timer: Timer | undefined;
  #isClosed = false;
  #published = '';

  constructor(options: DnsDiscoveryOptions) {
    this.#options = options;
  }

  start(): void {
    void this.#refresh();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  async #refresh(): Promise<void> {
    const names = new Set(
      this.#options.assignment.localities.flatMap((locality) => locality.endpoints.flatMap((endpoint) => hostOf(endpoint) ?? [])),
    );
    await Promise.all([...names].map((name) => this.#resolveOne(name)));
    if (this.#isClosed) return;
    this.#publish();
    if (names.size > 0) this.#timer = this.#options.clock.after(this.#options.refreshMs, () => void this.#refresh());
  }

  async #resolveOne(name: string): Promise<void> {
    try {
      const addresses = await this.#options.resolve(name, this.#options.family);
      if (addresses.length > 0) this.#answers.set(name, this.#options.isLogical ? addresses.slice(0, 1) : [...addresses].sort());
    } catch {
      // The answer before stays in force: an unreachable resolver must not take endpoints away.
    }
  }

  #publish(): void {
    const localities = this.#options.assignment.localities.map((locality) => ({
      ...locality,
      endpoints: locality.endpoints.flatMap((endpoint) => this.#resolved(endpoint)),
    }));
    const fingerprint = JSON.stringify(localities.map((locality) => locality.endpoints.map((endpoint) => endpoint.address)));
    if (fingerprint === this.#published) return;
    this.#published = fingerprint;
    this.#options.onAssignment({ localities });
  }

  #resolved(endpoint: EndpointConfig): readonly EndpointConfig[] {
    const { address } = endpoint;
    const name = hostOf(endpoint);
    if (name === undefined || address.kind !== 'ip') return [endpoint];
    return (this.#answers.get(name) ?? []).map((host) => ({
      ...endpoint,
      address: { kind: 'ip', host, port: address.port },
      hostname: endpoint.hostname || name,
    }));
  }
}

function hostOf(endpoint: EndpointConfig): string | undefined {
  return endpoint.address.kind === 'ip' && isIP(endpoint.address.host) === 0 ? endpoint.address.host : undefined;
}
