import type { Any } from '@bufbuild/protobuf/wkt';

/** One resource as it was given: encoded, since only /config_dump ever looks inside again. */
export interface StoredResource {
  readonly name: string;
  readonly version: string;
  readonly body: Any;
  readonly updatedMs: number;
  /** From the bootstrap: never replaced or removed by xDS. */
  readonly isStatic: boolean;
}

export interface RefusedResource {
  readonly body: Any;
  readonly version: string;
  readonly reason: string;
  readonly atMs: number;
}

/** The resources of one type that are in force, and the last refusal of each name. */
export class ResourceStore {
  readonly #resources = new Map<string, StoredResource>();
  readonly #refused = new Map<string, RefusedResource>();
  /** Of the last update that was taken; '' before the first. */
  version = '';

  get(name: string): StoredResource | undefined {
    return this.#resources.get(name);
  }

  names(): readonly string[] {
    return [...this.#resources.keys()];
  }

  all(): readonly StoredResource[] {
    return [...this.#resources.values()];
  }

  refused(): ReadonlyMap<string, RefusedResource> {
    return this.#refused;
  }

  set(resource: StoredResource): void {
    this.#refused.delete(resource.name);
    this.#resources.set(resource.name, resource);
  }

  refuse(name: string, refusal: RefusedResource): void {
    this.#refused.set(name, refusal);
  }

  remove(name: string): void {
    this.#resources.delete(name);
    this.#refused.delete(name);
  }

  /** Whether the same bytes are in force already. */
  has(name: string, body: Any): boolean {
    const known = this.#resources.get(name);
    return known !== undefined && Buffer.compare(known.body.value, body.value) === 0;
  }
}
