import { TYPE_URL } from '@mizzen/xds-api';
import type { DeltaDiscoveryRequest } from '@mizzen/xds-api/envoy/service/discovery/v3/discovery';
import type { EncodedResource } from './encoded-resource.ts';
import { memoized } from './memo.ts';
import { type Difference, differenceOf, type HeldResources, ResourceSet, retainRemoved, withoutNames } from './resource-set.ts';
import { deltaBody } from './response.ts';
import { type PreparedResponse, Subscription } from './subscription.ts';

/** Types whose first request may leave the names out and then means all. Source: xDS protocol, "How the client specifies what resources to return". */
const WILDCARD_BY_DEFAULT: ReadonlySet<string> = new Set([TYPE_URL.cluster, TYPE_URL.listener, TYPE_URL.nameTable]);

export function isWildcardByDefault(typeUrl: string): boolean {
  return WILDCARD_BY_DEFAULT.has(typeUrl);
}

/** Incremental xDS. Source: xDS protocol, "Incremental xDS". */
export class DeltaSubscription extends Subscription {
  #held: HeldResources = ResourceSet.empty;
  #owesAnswer = false;

  holds(name: string): boolean {
    return this.#held.resources.has(name);
  }

  /** Takes a request into the state; what it calls for is in `isDirty` afterwards. */
  receive(request: DeltaDiscoveryRequest, at: number): 'ack' | 'nack' | 'stale' | 'request' {
    if (this.isFirst) this.#start(request);
    this.#subscribe(request.resourceNamesSubscribe, request.initialResourceVersions);
    this.#unsubscribe(request.resourceNamesUnsubscribe);
    this.isFirst = false;
    if (request.responseNonce === '') return 'request';
    return this.answered(request.responseNonce, request.errorDetail?.message, at);
  }

  #start(request: DeltaDiscoveryRequest): void {
    const versions = Object.entries(request.initialResourceVersions);
    if (versions.length > 0) this.#held = { resources: new Map(versions.map(([name, version]) => [name, { version }])) };
    if (request.resourceNamesSubscribe.length === 0 && isWildcardByDefault(this.typeUrl)) this.isWildcard = true;
    // The first request is always answered, be it with nothing: a client that waits for its first answer gets on.
    this.#owesAnswer = this.isWildcard || request.resourceNamesSubscribe.length > 0;
    this.isDirty = this.#owesAnswer;
  }

  #subscribe(names: readonly string[], held: Readonly<Record<string, string>>): void {
    for (const name of names) {
      if (name === '*') {
        this.isWildcard = true;
        this.#owesAnswer = true;
      } else {
        this.names.add(name);
        // Subscribing again asks for the resource again; on a new stream only what differs from the versions given is due.
        if (held[name] === undefined) this.forced.add(name);
      }
    }
    if (names.length === 0) return;
    this.isDirty = true;
    this.namesChanged();
  }

  #unsubscribe(names: readonly string[]): void {
    if (names.length === 0) return;
    for (const name of names) {
      if (name === '*') this.isWildcard = false;
      this.names.delete(name);
      this.forced.delete(name);
    }
    if (!this.isWildcard)
      this.#held = withoutNames(
        this.#held,
        names.includes('*') ? [...this.#held.resources.keys()].filter((name) => !this.names.has(name)) : names,
      );
    this.namesChanged();
  }

  override prepare(target: ResourceSet, options: { keepRemoved: boolean }): PreparedResponse | undefined {
    const whole = differenceOf(this.#held, target);
    // Equal content: take the newer object, so that the older one can go.
    if (whole.changed.length + whole.removed.length === 0) this.#held = target;
    const isKeeping = options.keepRemoved && whole.removed.length > 0;
    const difference = this.#withForced(isKeeping ? changesOnly(whole) : whole, target);
    this.hasPendingRemovals = isKeeping;
    if (difference.changed.length + difference.removed.length === 0 && !this.#owesAnswer) return undefined;
    const held = this.#held;
    return {
      body: deltaBody(this.typeUrl, target.version, difference),
      version: target.version,
      changed: difference.changed.map(({ name }) => name),
      added: difference.changed.filter(({ name }) => !held.resources.has(name)).map(({ name }) => name),
      hasPendingRemovals: isKeeping,
      commit: () => {
        this.#held = isKeeping ? retainRemoved(held, target) : target;
        this.#owesAnswer = false;
        this.forced.clear();
      },
    };
  }

  /** Adds what was asked for by name and is not in the difference: sent once more, or said not to exist. */
  #withForced(difference: Difference, target: ResourceSet): Difference {
    const again: EncodedResource[] = [];
    const missing: string[] = [];
    for (const name of this.forced) {
      const resource = target.resources.get(name);
      if (!resource) {
        if (!this.#held.resources.has(name)) missing.push(name);
      } else if (this.#held.resources.get(name)?.version === resource.version) again.push(resource);
    }
    if (again.length + missing.length === 0) return difference;
    return { changed: [...difference.changed, ...again], removed: [...difference.removed, ...missing] };
  }
}

/** The same object for the same difference, so that its bytes are shared. */
const changesOnly = memoized(({ changed }: Difference): Difference => ({ changed, removed: [] }));
