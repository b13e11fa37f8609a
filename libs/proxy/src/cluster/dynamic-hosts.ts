import type { LoadBalancerContext, SocketAddress } from '../contract.ts';
import { NO_DETAILS } from './assignment.ts';
import type { LiveCluster } from './cluster.ts';
import type { DnsCache } from './dns-cache.ts';
import { Endpoint } from './endpoint.ts';

const HTTP_PORT = 80;
const HTTPS_PORT = 443;
/** Endpoints of names that the cache has forgotten go when there are this many, and then at each doubling. */
const FIRST_SWEEP = 64;

/** The endpoints of a dynamic forward proxy: made for the hosts that requests name, once their names are resolved. */
export class DynamicHosts {
  readonly #cluster: LiveCluster;
  readonly #cache: DnsCache;
  readonly #endpoints = new Map<string, { readonly endpoint: Endpoint; readonly addresses: readonly string[] }>();
  #sweepAt = FIRST_SWEEP;

  constructor(cluster: LiveCluster, cache: DnsCache) {
    this.#cluster = cluster;
    this.#cache = cache;
  }

  get cache(): DnsCache {
    return this.#cache;
  }

  /** Where the request does not say it. */
  get defaultPort(): number {
    return this.#cluster.config.defaultTransport.tls === undefined ? HTTP_PORT : HTTPS_PORT;
  }

  /** undefined where the host was not resolved. */
  choose(context: LoadBalancerContext): Endpoint | undefined {
    const authority = context.forwardedHost ?? context.header?.(':authority');
    if (authority === undefined || authority === '') return undefined;
    const { name, port, addresses } = this.#cache.addressesOf(authority, this.defaultPort);
    const key = `${name}|${port}`;
    const known = this.#endpoints.get(key);
    if (known?.addresses === addresses) return known.endpoint;
    const [first, ...more] = addresses.map((host): SocketAddress => ({ kind: 'ip', host, port }));
    if (first === undefined) {
      this.#forget(key);
      return undefined;
    }
    if (known !== undefined && known.addresses.join() === addresses.join()) {
      this.#endpoints.set(key, { endpoint: known.endpoint, addresses });
      return known.endpoint;
    }
    this.#forget(key);
    if (this.#endpoints.size >= this.#sweepAt) this.#sweep();
    const endpoint = new Endpoint(this.#cluster, {
      address: first,
      hostname: name,
      weight: 1,
      health: 'healthy',
      details: more.length === 0 ? NO_DETAILS : { ...NO_DETAILS, moreAddresses: more },
      workload: '',
      transport: this.#cluster.config.defaultTransport,
    });
    this.#endpoints.set(key, { endpoint, addresses });
    return endpoint;
  }

  #sweep(): void {
    for (const [key, { endpoint }] of this.#endpoints) {
      const [name = '', port] = key.split('|');
      if (endpoint.activeRequests === 0 && !this.#cache.knows(name, Number(port))) this.#forget(key);
    }
    this.#sweepAt = Math.max(FIRST_SWEEP, 2 * this.#endpoints.size);
  }

  #forget(key: string): void {
    this.#endpoints.get(key)?.endpoint.pool?.drain();
    this.#endpoints.delete(key);
  }

  close(): void {
    for (const key of [...this.#endpoints.keys()]) this.#forget(key);
  }
}
