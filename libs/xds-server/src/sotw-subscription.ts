import { TYPE_URL } from '@mizzen/xds-api';
import type { DiscoveryRequest } from '@mizzen/xds-api/envoy/service/discovery/v3/discovery';
import { isWildcardByDefault } from './delta-subscription.ts';
import { differenceOf, ResourceSet, retainRemoved } from './resource-set.ts';
import { partialBody, type ResponseBody, wholeBody } from './response.ts';
import { type PreparedResponse, Subscription } from './subscription.ts';

/** Types whose responses carry everything: what is missing is gone. Source: xDS protocol, "Grouping Resources into Responses". */
const ALWAYS_WHOLE: ReadonlySet<string> = new Set([TYPE_URL.cluster, TYPE_URL.listener]);

/** State of the world. Source: xDS protocol, "The xDS transport protocol, Basic Protocol Overview". */
export class SotwSubscription extends Subscription {
  #held: ResourceSet = ResourceSet.empty;
  #owesAnswer = false;

  holds(name: string): boolean {
    return this.#held.resources.has(name);
  }

  receive(request: DiscoveryRequest, at: number): 'ack' | 'nack' | 'stale' | 'request' {
    if (this.isFirst || request.responseNonce === '') {
      this.isFirst = false;
      this.#take(request.resourceNames);
      // Always answered: the version alone does not say which of the named resources the client still holds.
      this.#owesAnswer = true;
      this.isDirty = true;
      return 'request';
    }
    const answer = this.answered(request.responseNonce, request.errorDetail?.message, at);
    // The answer to a newer response is on its way and brings the names again.
    if (answer !== 'stale') this.#take(request.resourceNames);
    return answer;
  }

  #take(names: readonly string[]): void {
    if (this.isWildcard && names.length === 0) return;
    this.isWildcard = names.includes('*') || (names.length === 0 && isWildcardByDefault(this.typeUrl) && this.names.size === 0);
    const wanted = new Set(names.filter((name) => name !== '*'));
    const added = [...wanted].filter((name) => !this.names.has(name));
    if (added.length === 0 && wanted.size === this.names.size) return;
    this.names.clear();
    for (const name of wanted) this.names.add(name);
    this.namesChanged();
    for (const name of this.forced) if (!this.names.has(name)) this.forced.delete(name);
    if (added.length === 0) return;
    for (const name of added) this.forced.add(name);
    this.#owesAnswer = true;
    this.isDirty = true;
  }

  override prepare(target: ResourceSet, options: { keepRemoved: boolean }): PreparedResponse | undefined {
    const difference = differenceOf(this.#held, target);
    // Equal content: take the newer object, so that the older one can go.
    if (difference.changed.length + difference.removed.length === 0) this.#held = target;
    const held = this.#held;
    const removed = difference.removed.filter((name) => this.isSubscribedTo(name));
    const isKeeping = options.keepRemoved && removed.length > 0 && ALWAYS_WHOLE.has(this.typeUrl);
    this.hasPendingRemovals = isKeeping;
    const goal = isKeeping ? retainRemoved(held, target) : target;
    const isWhole = ALWAYS_WHOLE.has(this.typeUrl);
    const again = target.select(this.forced).filter((resource) => held.resources.get(resource.name)?.version === resource.version);
    const changed = [...difference.changed, ...again];
    const isDue = this.#owesAnswer || changed.length > 0 || (isWhole && !isKeeping && removed.length > 0);
    if (!isDue) return undefined;
    return {
      body: this.#bodyOf(goal, isWhole || changed.length === goal.resources.size ? 'whole' : changed),
      version: goal.version,
      changed: changed.map(({ name }) => name),
      added: changed.filter(({ name }) => !held.resources.has(name)).map(({ name }) => name),
      hasPendingRemovals: isKeeping,
      commit: () => {
        this.#held = goal;
        this.#owesAnswer = false;
        this.forced.clear();
      },
    };
  }

  #bodyOf(goal: ResourceSet, carried: 'whole' | Parameters<typeof partialBody>[2]): ResponseBody {
    return carried === 'whole' ? wholeBody(this.typeUrl, goal) : partialBody(this.typeUrl, goal.version, carried);
  }
}
