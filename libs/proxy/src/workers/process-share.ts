import type { Logger } from '@mizzen/core';
import { SharedMemory, type SharedSlot } from './shared-memory.ts';

/** What becomes of an endpoint is decided by the first event loop; the others follow, and tell it what they see. */
export interface EndpointNotice {
  readonly cluster: string;
  /** Which definition of the cluster: counted in each event loop, and the same in all. */
  readonly generation: number;
  /** `Endpoint.sharedName`. */
  readonly endpoint: string;
}

/** An event loop saw so many failures in a row that the endpoint may have to go. */
export interface OutlierNotice extends EndpointNotice {
  readonly reason: string;
}

export interface ProcessShareOptions {
  readonly logger: Logger;
  /** That of the first event loop; without it this is the first, and makes it. */
  readonly memory?: SharedArrayBuffer | undefined;
  /** In the first event loop: what was decided about an endpoint stands in its slot, and the others shall look. */
  readonly onDecided: (notice: EndpointNotice) => void;
  /** In a further one: tells the first. */
  readonly onOutlier: (notice: OutlierNotice) => void;
}

/**
 * What limits and health are measured by where a process has several event loops. With one there is none of it, and numbers are plain.
 * Source: in Envoy these count per process (circuit breakers, outlier detection, health checks, local rate limit, connection limits).
 */
export class ProcessShare {
  readonly isFirst: boolean;
  readonly memory: SharedMemory;
  readonly decided: (notice: EndpointNotice) => void;
  readonly reportOutlier: (notice: OutlierNotice) => void;
  readonly #logger: Logger;
  readonly #held = new FinalizationRegistry<SharedSlot>((slot) => slot.release());
  /** What is compiled just now, and how many slots it has asked for. */
  #resource: string | undefined;
  #asked = 0;
  #hasWarned = false;

  constructor({ logger, memory, onDecided, onOutlier }: ProcessShareOptions) {
    this.#logger = logger;
    this.isFirst = memory === undefined;
    this.memory = new SharedMemory(memory);
    this.decided = onDecided;
    this.reportOutlier = onOutlier;
  }

  /** undefined where no slot is left: then each event loop counts for itself, which is told once. */
  acquire(name: string): SharedSlot | undefined {
    const slot = this.memory.acquire(name);
    if (slot === undefined && !this.#hasWarned) {
      this.#hasWarned = true;
      this.#logger.warn(
        { name },
        'too many clusters, endpoints and limits to count them over all event loops; use fewer, or --concurrency 1',
      );
    }
    return slot;
  }

  /** Compiles a resource, which all event loops do in the same way: what asks `acquireCompiled` meanwhile gets the same slot in each. */
  compiling<T>(resource: string, compile: () => T): T {
    this.#resource = resource;
    this.#asked = 0;
    try {
      return compile();
    } finally {
      this.#resource = undefined;
    }
  }

  /** The next slot of the resource that is compiled just now, released once nobody has `holder` any more; undefined outside of a compilation. */
  acquireCompiled(holder: object): SharedSlot | undefined {
    if (this.#resource === undefined) return undefined;
    const slot = this.acquire(`${this.#resource}|${this.#asked++}`);
    if (slot !== undefined) this.#held.register(holder, slot);
    return slot;
  }
}
