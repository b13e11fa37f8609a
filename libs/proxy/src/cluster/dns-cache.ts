import { Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { backoffMs, type Clock, joinHostPort, type Random, splitHostPort, type Timer } from '@mizzen/core';
import type { DnsHosts, DnsLoad } from '../contract.ts';
import { type Counts, defineStats, type StatRegistry } from '../observe/stat-registry.ts';
import { FAMILIES, type Resolve } from './dns.ts';
import type { DnsCacheConfig } from './dns-cache-config.ts';

const STATS = defineStats({
  counters: {
    queryAttempt: 'dns_query_attempt',
    querySuccess: 'dns_query_success',
    queryFailure: 'dns_query_failure',
    queryTimeout: 'dns_query_timeout',
    hostAdded: 'host_added',
    hostRemoved: 'host_removed',
    hostAddressChanged: 'host_address_changed',
    hostOverflow: 'host_overflow',
    pendingOverflow: 'dns_rq_pending_overflow',
  },
  gauges: { hosts: 'num_hosts' },
});

export interface DnsCacheOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly resolve: Resolve;
  readonly stats: StatRegistry;
}

interface Host {
  readonly name: string;
  readonly port: number;
  addresses: readonly string[];
  /** Has been asked for once, whatever the answer was. */
  isAnswered: boolean;
  usedMs: number;
  failures: number;
  timer: Timer | undefined;
  readonly waiting: Set<() => void>;
}

/** Names that requests bring, resolved and kept so while they are asked for. Source: envoy DnsCacheImpl (1.40). */
export class DnsCache implements DnsHosts {
  readonly config: DnsCacheConfig;
  readonly #options: DnsCacheOptions;
  readonly #hosts = new Map<string, Host>();
  readonly #resolve: Resolve;
  readonly #stats: Counts<typeof STATS>;
  #pending = 0;
  #isClosed = false;

  constructor(config: DnsCacheConfig, options: DnsCacheOptions) {
    this.config = config;
    this.#options = options;
    this.#resolve = config.nameServers.length === 0 ? options.resolve : resolverAt(config);
    this.#stats = options.stats.counts(STATS, { prefix: `dns_cache.${config.name}` });
  }

  get name(): string {
    return this.config.name;
  }

  start(): void {
    for (const host of this.config.preresolved) this.load(host, 0, () => undefined);
  }

  close(): void {
    this.#isClosed = true;
    for (const host of this.#hosts.values()) this.#forget(host);
  }

  load(authority: string, defaultPort: number, onAnswered: () => void): DnsLoad {
    const { name, port } = placeOf(authority, defaultPort);
    const key = joinHostPort(name, port);
    let host = this.#hosts.get(key);
    if (host === undefined) {
      if (this.#hosts.size >= this.config.maxHosts) {
        this.#stats.hostOverflow++;
        return { kind: 'overflow' };
      }
      host = this.#add(key, name, port);
    }
    host.usedMs = this.#options.clock.monotonic();
    if (host.isAnswered) return { kind: host.addresses.length > 0 ? 'known' : 'failed' };
    if (this.#pending >= this.config.maxPendingRequests) {
      this.#stats.pendingOverflow++;
      return { kind: 'pending-overflow' };
    }
    return this.#wait(host, onAnswered);
  }

  #wait({ waiting }: Host, onAnswered: () => void): DnsLoad {
    const told = (): void => {
      // One that was told before it may have ended this one, as streams of one connection do.
      if (!waiting.delete(told)) return;
      this.#pending--;
      onAnswered();
    };
    waiting.add(told);
    this.#pending++;
    const cancel = (): void => {
      if (waiting.delete(told)) this.#pending--;
    };
    return { kind: 'pending', cancel };
  }

  addressesOf(
    authority: string,
    defaultPort: number,
  ): { readonly name: string; readonly port: number; readonly addresses: readonly string[] } {
    const { name, port } = placeOf(authority, defaultPort);
    const host = this.#hosts.get(joinHostPort(name, port));
    if (host !== undefined) host.usedMs = this.#options.clock.monotonic();
    return { name, port, addresses: host?.addresses ?? [] };
  }

  knows(name: string, port: number): boolean {
    return this.#hosts.has(joinHostPort(name, port));
  }

  #add(key: string, name: string, port: number): Host {
    const host: Host = { name, port, addresses: [], isAnswered: false, usedMs: 0, failures: 0, timer: undefined, waiting: new Set() };
    this.#hosts.set(key, host);
    this.#stats.hostAdded++;
    this.#stats.hosts++;
    void this.#refresh(host);
    return host;
  }

  async #refresh(host: Host): Promise<void> {
    this.#stats.queryAttempt++;
    const answer = isIP(host.name) === 0 ? await this.#ask(host.name) : [host.name];
    if (this.#isClosed || this.#hosts.get(joinHostPort(host.name, host.port)) !== host) return;
    if (answer === undefined) {
      // What was known stays: an unreachable resolver must take nothing away.
      this.#stats.queryFailure++;
      this.#schedule(host, backoffMs(host.failures++, { ...this.config.failureRefresh, random: this.#options.random }));
    } else {
      this.#stats.querySuccess++;
      host.failures = 0;
      if (answer.join() !== host.addresses.join()) this.#stats.hostAddressChanged++;
      host.addresses = answer;
      this.#schedule(host, this.config.refreshMs);
    }
    host.isAnswered = true;
    for (const told of [...host.waiting]) told();
  }

  #schedule(host: Host, delayMs: number): void {
    const { clock } = this.#options;
    host.timer = clock.after(Math.min(delayMs, this.config.hostTtlMs), () => {
      const isUnused = clock.monotonic() - host.usedMs >= this.config.hostTtlMs;
      if (isUnused) this.#forget(host);
      else void this.#refresh(host);
    });
  }

  #forget(host: Host): void {
    host.timer?.cancel();
    if (!this.#hosts.delete(joinHostPort(host.name, host.port))) return;
    this.#stats.hostRemoved++;
    this.#stats.hosts--;
    for (const told of [...host.waiting]) told();
  }

  /** undefined: there is no answer. */
  async #ask(name: string): Promise<readonly string[] | undefined> {
    for (const family of FAMILIES[this.config.lookup]) {
      const addresses = await this.#inTime(this.#resolve(name, family)).catch(() => []);
      if (addresses.length > 0) return addresses;
    }
    return undefined;
  }

  #inTime(answer: Promise<readonly string[]>): Promise<readonly string[]> {
    const { queryTimeoutMs } = this.config;
    if (queryTimeoutMs === 0) return answer;
    return new Promise((resolve, reject) => {
      const timer = this.#options.clock.after(queryTimeoutMs, () => {
        this.#stats.queryTimeout++;
        resolve([]);
      });
      answer.then(resolve, reject).finally(() => timer.cancel());
    });
  }
}

/** Name and port of an authority; names are the same in whatever case. */
function placeOf(authority: string, defaultPort: number): { readonly name: string; readonly port: number } {
  const split = splitHostPort(authority);
  const name = split?.host ?? authority.replace(/^\[(.*)\]$/, '$1');
  return { name: name.toLowerCase(), port: split?.port ?? defaultPort };
}

function resolverAt({ nameServers }: DnsCacheConfig): Resolve {
  const resolver = new Resolver();
  resolver.setServers(nameServers);
  return async (name, family) => {
    const families = family === 0 ? ([4, 6] as const) : [family];
    const answers = await Promise.allSettled(families.map((each) => (each === 4 ? resolver.resolve4(name) : resolver.resolve6(name))));
    return answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
  };
}

/** The caches of a process, each shared by those clusters that describe it alike. */
export class DnsCaches {
  readonly #options: DnsCacheOptions;
  readonly #used = new Map<string, { readonly cache: DnsCache; users: number }>();

  constructor(options: DnsCacheOptions) {
    this.#options = options;
  }

  acquire(config: DnsCacheConfig): DnsCache {
    const key = JSON.stringify(config);
    let used = this.#used.get(key);
    if (used === undefined) {
      used = { cache: new DnsCache(config, this.#options), users: 0 };
      this.#used.set(key, used);
      used.cache.start();
    }
    used.users++;
    return used.cache;
  }

  named(name: string): DnsCache | undefined {
    for (const { cache } of this.#used.values()) if (cache.name === name) return cache;
    return undefined;
  }

  release({ config }: DnsCache): void {
    const key = JSON.stringify(config);
    const used = this.#used.get(key);
    if (used === undefined || --used.users > 0) return;
    this.#used.delete(key);
    used.cache.close();
  }
}
