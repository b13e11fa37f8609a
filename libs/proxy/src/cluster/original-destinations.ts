import { splitHostPort } from '@mizzen/core';
import type { LoadBalancerContext, SocketAddress } from '../contract.ts';
import { NO_DETAILS } from './assignment.ts';
import type { LiveCluster } from './cluster.ts';
import { Endpoint } from './endpoint.ts';

// Envoy forgets an address after two cleanup intervals; here connections are kept a little longer, since a name costs a resolution.
const UNUSED_SWEEPS = 6;
const MAX_ENDPOINTS = 4096;
const HTTP_PORT = 80;

/**
 * The endpoints of an ORIGINAL_DST cluster: made when a request asks for an address, forgotten when nobody does any more. The address is
 * where the connection wanted to go, or what a header says (`use_http_header`; with `:authority` that is an explicit proxy's passthrough).
 */
export class OriginalDestinations {
  readonly #cluster: LiveCluster;
  readonly #endpoints = new Map<string, { readonly endpoint: Endpoint; usedMs: number }>();
  #sweep: { cancel(): void } | undefined;

  constructor(cluster: LiveCluster) {
    this.#cluster = cluster;
  }

  choose(context: LoadBalancerContext): Endpoint | undefined {
    const address = this.#addressOf(context);
    if (address === undefined) return undefined;
    const key = address.kind === 'pipe' ? address.path : `${address.host}|${address.port}`;
    const now = this.#cluster.clock.monotonic();
    const known = this.#endpoints.get(key);
    if (known !== undefined) {
      known.usedMs = now;
      return known.endpoint;
    }
    if (this.#endpoints.size >= MAX_ENDPOINTS) this.#forgetUnused(now);
    const endpoint = new Endpoint(this.#cluster, {
      address,
      hostname: '',
      weight: 1,
      health: 'healthy',
      details: NO_DETAILS,
      workload: '',
      transport: this.#cluster.config.defaultTransport,
    });
    this.#endpoints.set(key, { endpoint, usedMs: now });
    this.#scheduleSweep();
    return endpoint;
  }

  close(): void {
    this.#sweep?.cancel();
    this.#sweep = undefined;
    for (const { endpoint } of this.#endpoints.values()) endpoint.pool?.drain();
    this.#endpoints.clear();
  }

  #addressOf(context: LoadBalancerContext): SocketAddress | undefined {
    const { discovery } = this.#cluster.config;
    if (discovery.kind !== 'originalDestination') return context.originalDestination;
    const { headerName, metadataPath } = discovery;
    const named = headerName === undefined ? undefined : namedBy(context.header?.(headerName));
    const told = named ?? (metadataPath === undefined ? undefined : namedBy(textAt(context, metadataPath)));
    // A cluster that is told by name goes nowhere else.
    const address = told ?? (headerName === undefined ? context.originalDestination : undefined);
    return discovery.port !== undefined && address?.kind === 'ip' ? { ...address, port: discovery.port } : address;
  }

  #scheduleSweep(): void {
    this.#sweep ??= this.#cluster.clock.after(2 * this.#cluster.config.cleanupMs, () => {
      this.#sweep = undefined;
      this.#forgetUnused(this.#cluster.clock.monotonic() - UNUSED_SWEEPS * 2 * this.#cluster.config.cleanupMs);
      if (this.#endpoints.size > 0) this.#scheduleSweep();
    });
  }

  #forgetUnused(usedBeforeMs: number): void {
    for (const [key, { endpoint, usedMs }] of this.#endpoints) {
      if (usedMs > usedBeforeMs || endpoint.activeRequests > 0) continue;
      endpoint.pool?.drain();
      this.#endpoints.delete(key);
    }
  }
}

function textAt({ dynamicMetadata }: LoadBalancerContext, [namespace = '', ...keys]: readonly string[]): string | undefined {
  let value: unknown = dynamicMetadata?.(namespace);
  for (const key of keys)
    value = typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>)[key] : undefined;
  return typeof value === 'string' ? value : undefined;
}

function namedBy(value: string | undefined): SocketAddress | undefined {
  return value === undefined || value === '' ? undefined : authorityAddress(value);
}

function authorityAddress(authority: string): SocketAddress | undefined {
  const split = splitHostPort(authority);
  const host = split?.host ?? authority.replace(/^\[(.*)\]$/, '$1');
  const port = split?.port ?? HTTP_PORT;
  if (host === '' || port === 0 || /[\s/@]/.test(host)) return undefined;
  return { kind: 'ip', host, port };
}
