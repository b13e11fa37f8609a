import type { ProcessShare } from '../workers/process-share.ts';
import type { SharedSlot } from '../workers/shared-memory.ts';
import type { CheckResult, Endpoint } from './endpoint.ts';
import type { Transport } from './transports.ts';

/** The numbers of an endpoint that all event loops share. */
export const SHARED_ENDPOINT = { checkResult: 0, isEjected: 1, firstOfOutliers: 2, connections: 9 } as const;

/** 0 stands for what nobody has decided yet. */
const CHECK_RESULTS: readonly CheckResult[] = ['pending', 'healthy', 'degraded', 'unhealthy'];

/** One definition of a cluster in the other event loops: the first one decides about its endpoints, the others follow. */
export class ClusterPeers {
  readonly #share: ProcessShare;
  readonly #cluster: string;
  readonly generation: number;

  constructor(share: ProcessShare, { cluster, generation }: { readonly cluster: string; readonly generation: number }) {
    this.#share = share;
    this.#cluster = cluster;
    this.generation = generation;
  }

  get decides(): boolean {
    return this.#share.isFirst;
  }

  /** Equal for an endpoint of another event loop that has the same address and transport. */
  #nameOf({ addressText, hostname, transport, cluster }: Endpoint): string {
    const matches: readonly Transport[] = cluster.config.transportMatches;
    return `${addressText}|${hostname}|${matches.indexOf(transport)}`;
  }

  acquire(endpoint: Endpoint): SharedSlot | undefined {
    const slot = this.#share.acquire(`endpoint|${this.#cluster}|${this.generation}|${this.#nameOf(endpoint)}`);
    if (this.decides) for (const index of [SHARED_ENDPOINT.checkResult, SHARED_ENDPOINT.isEjected]) slot?.set(index, 0);
    return slot;
  }

  /** Tells the others what the endpoint is now. */
  publish(endpoint: Endpoint): void {
    const { shared } = endpoint;
    if (!this.decides || shared === undefined || shared.isReleased) return;
    shared.set(SHARED_ENDPOINT.isEjected, endpoint.isEjected ? 1 : 0);
    shared.set(SHARED_ENDPOINT.checkResult, Math.max(0, CHECK_RESULTS.indexOf(endpoint.checkResult)));
    this.#share.decided({ cluster: this.#cluster, generation: this.generation, endpoint: this.#nameOf(endpoint) });
  }

  reportOutlier(endpoint: Endpoint, reason: string): void {
    this.#share.reportOutlier({ cluster: this.#cluster, generation: this.generation, endpoint: this.#nameOf(endpoint), reason });
  }

  find(endpoints: readonly Endpoint[], name: string): Endpoint | undefined {
    return endpoints.find((endpoint) => this.#nameOf(endpoint) === name);
  }
}

/** What the first event loop says of an endpoint. */
export function decidedOf(shared: SharedSlot): { readonly isEjected: boolean; readonly checkResult: CheckResult } {
  return {
    isEjected: shared.get(SHARED_ENDPOINT.isEjected) === 1,
    checkResult: CHECK_RESULTS[shared.get(SHARED_ENDPOINT.checkResult)] as CheckResult,
  };
}
