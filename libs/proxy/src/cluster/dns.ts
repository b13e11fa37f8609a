import { promises as dnsPromises, lookup } from 'node:dns';
import { isIP } from 'node:net';
import { backoffMs, type Clock, type Random, type Timer } from '@mizzen/core';
import type { SocketAddress } from '../contract.ts';
import type { AssignmentConfig, EndpointConfig } from './assignment.ts';
import type { DnsDiscoveryConfig, DnsLookup } from './discovery-config.ts';

/** Resolves a name to addresses of a family (0: of both); injected by tests. Rejects, or resolves with none, where there are none. */
export type Resolve = (name: string, family: 0 | 4 | 6) => Promise<readonly string[]>;

/** As Resolve, with how long the answer holds. */
export type ResolveWithTtl = (name: string, family: 4 | 6) => Promise<{ readonly addresses: readonly string[]; readonly ttlMs: number }>;

export const systemResolve: Resolve = (name, family) =>
  new Promise((resolve, reject) => {
    lookup(name, { all: true, family }, (error, addresses) =>
      error ? reject(error) : resolve(addresses.map((address) => address.address)),
    );
  });

/** Asks the name servers: what is only in the hosts file has no time to live. */
export const systemResolveWithTtl: ResolveWithTtl = async (name, family) => {
  const records = await (family === 4 ? dnsPromises.resolve4(name, { ttl: true }) : dnsPromises.resolve6(name, { ttl: true }));
  return { addresses: records.map(({ address }) => address), ttlMs: Math.min(...records.map(({ ttl }) => ttl)) * 1000 };
};

export interface DnsDiscoveryOptions extends DnsDiscoveryConfig {
  readonly clock: Clock;
  readonly random: Random;
  readonly resolve: Resolve;
  readonly resolveWithTtl?: ResolveWithTtl;
  /** Called with the first answer (even an empty one) and with each that differs. */
  readonly onAssignment: (assignment: AssignmentConfig) => void;
}

/** Families in the order in which they are asked for; the first that has addresses is taken. */
export const FAMILIES: Readonly<Record<DnsLookup, readonly (0 | 4 | 6)[]>> = {
  v4: [4],
  v6: [6],
  v6ThenV4: [6, 4],
  v4ThenV6: [4, 6],
  all: [0],
};

const NO_TTL_MS = Number.POSITIVE_INFINITY;

/** Keeps the endpoints of a DNS cluster resolved. A failed resolution keeps the last good answer. */
export class DnsDiscovery {
  readonly #options: DnsDiscoveryOptions;
  readonly #answers = new Map<string, readonly string[]>();
  #timer: Timer | undefined;
  #failures = 0;
  #isClosed = false;
  #published: string | undefined;

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
    const { assignment, clock } = this.#options;
    const names = new Set(assignment.localities.flatMap((locality) => locality.endpoints.flatMap((endpoint) => hostOf(endpoint) ?? [])));
    const ttls = await Promise.all([...names].map((name) => this.#resolveOne(name)));
    if (this.#isClosed) return;
    this.#publish();
    if (names.size > 0) this.#timer = clock.after(this.#nextDelayMs(ttls), () => void this.#refresh());
  }

  #nextDelayMs(ttls: readonly (number | undefined)[]): number {
    const { failureRefresh, refreshMs, random } = this.#options;
    if (failureRefresh !== undefined && ttls.includes(undefined)) return backoffMs(this.#failures++, { ...failureRefresh, random });
    this.#failures = 0;
    const ttlMs = Math.min(...ttls.map((ttl) => ttl ?? NO_TTL_MS));
    // A record without any time to live must not make us ask without end.
    return ttlMs === NO_TTL_MS || ttlMs <= 0 ? refreshMs : ttlMs;
  }

  /** Resolves with the answer's time to live; undefined: there was no answer. */
  async #resolveOne(name: string): Promise<number | undefined> {
    const { lookup: order, isLogical } = this.#options;
    for (const family of FAMILIES[order]) {
      try {
        const { addresses, ttlMs } = await this.#ask(name, family);
        if (addresses.length === 0) continue;
        this.#answers.set(name, isLogical ? addresses : [...addresses].sort());
        return ttlMs;
      } catch {
        // The answer before stays in force: an unreachable resolver must not take endpoints away.
      }
    }
    return undefined;
  }

  async #ask(name: string, family: 0 | 4 | 6): Promise<{ readonly addresses: readonly string[]; readonly ttlMs: number }> {
    const { respectsTtl, resolve, resolveWithTtl } = this.#options;
    if (respectsTtl && resolveWithTtl !== undefined && family !== 0) {
      try {
        return await resolveWithTtl(name, family);
      } catch {
        // Names of the hosts file are no name server's.
      }
    }
    return { addresses: await resolve(name, family), ttlMs: NO_TTL_MS };
  }

  #publish(): void {
    const { assignment, onAssignment } = this.#options;
    const localities = assignment.localities.map((locality) => ({
      ...locality,
      endpoints: locality.endpoints.flatMap((endpoint) => this.#resolved(endpoint)),
    }));
    const fingerprint = JSON.stringify(
      localities.map((locality) => locality.endpoints.map(({ address, details }) => [address, details.moreAddresses])),
    );
    if (fingerprint === this.#published) return;
    this.#published = fingerprint;
    onAssignment({ ...assignment, localities });
  }

  #resolved(endpoint: EndpointConfig): readonly EndpointConfig[] {
    const { address } = endpoint;
    const name = hostOf(endpoint);
    if (name === undefined || address.kind !== 'ip') return [endpoint];
    const addresses = (this.#answers.get(name) ?? []).map((host): SocketAddress => ({ kind: 'ip', host, port: address.port }));
    const hostname = endpoint.hostname || name;
    if (!this.#options.isLogical) return addresses.map((resolved) => ({ ...endpoint, address: resolved, hostname }));
    const [first, ...moreAddresses] = addresses;
    return first === undefined ? [] : [{ ...endpoint, address: first, hostname, details: { ...endpoint.details, moreAddresses } }];
  }
}

function hostOf(endpoint: EndpointConfig): string | undefined {
  return endpoint.address.kind === 'ip' && isIP(endpoint.address.host) === 0 ? endpoint.address.host : undefined;
}
