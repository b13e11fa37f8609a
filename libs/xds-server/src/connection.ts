import type { Clock, Logger, Timer } from '@mizzen/core';
import { PUSH_ORDER, TYPE_URL } from '@mizzen/xds-api';
import type { ConnectedNode, ConnectionStatus, DiscoveryStatus, XdsServerEvents } from './events.ts';
import type { XdsGenerator } from './generator.ts';
import { NameSet } from './name-set.ts';
import type { PushSlots } from './push-slots.ts';
import { OutgoingResponse } from './response.ts';
import type { PreparedResponse, Subscription } from './subscription.ts';

/** What every connection of a server shares. */
export interface ConnectionContext {
  readonly generator: XdsGenerator;
  readonly events: XdsServerEvents;
  readonly slots: PushSlots;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Types that are not answered for now. */
  readonly held: ReadonlySet<string>;
  /** The revision of the last push, which a new connection starts from. */
  readonly revision: () => number;
  readonly touched: () => void;
  /** Listeners and routes wait for the answer to clusters and endpoints for so long. */
  readonly orderWaitMs: number;
  /** A response that a client does not read gives its slot back after so long; the client gets nothing more until it has read it. */
  readonly slotLeaseMs: number;
}

/** What listeners and routes refer to. */
const REFERRED: readonly string[] = [TYPE_URL.cluster, TYPE_URL.endpoint];
/** What refers to them: sent once the client has taken them. */
const REFERRING: ReadonlySet<string> = new Set([TYPE_URL.listener, TYPE_URL.route]);
/** What is removed of these goes only after the types that may still refer to it were updated. */
const REMOVED_LAST: ReadonlySet<string> = new Set([TYPE_URL.cluster, TYPE_URL.endpoint]);

/**
 * The sending side of one ADS stream. At most one response is being written, at most one of a type is unanswered; whatever changes
 * meanwhile merges into the next, because a response is made from the newest state when its turn comes.
 *
 * Order (xDS protocol, "Eventual consistency considerations"): clusters, endpoints, then, once both were answered, listeners and
 * routes; removals of clusters and endpoints at the end. An update thus never refers to what the client does not have.
 */
export class Connection {
  readonly connected: ConnectedNode;
  readonly #protocol: 'delta' | 'sotw';
  readonly #context: ConnectionContext;
  readonly #write: (response: OutgoingResponse, done: () => void) => void;
  readonly #subscriptions = new Map<string, Subscription>();
  /** New clusters whose endpoints were not asked for yet. */
  readonly #warming = new Set<string>();
  #warmingUntil = 0;
  #isBusy = false;
  #isClosed = false;
  #leaveQueue: () => void = () => {};
  #release: () => void = () => {};
  #lease: Timer | undefined;
  #orderTimer: Timer | undefined;
  #nonce = 0;
  #revision: number;
  #appliedRevision: number | undefined;
  #answeredRevision: number | undefined;

  constructor(
    connected: ConnectedNode,
    protocol: 'delta' | 'sotw',
    context: ConnectionContext,
    write: (response: OutgoingResponse, done: () => void) => void,
  ) {
    this.connected = connected;
    this.#protocol = protocol;
    this.#context = context;
    this.#write = write;
    this.#revision = context.revision();
  }

  subscription(typeUrl: string): Subscription | undefined {
    return this.#subscriptions.get(typeUrl);
  }

  get subscriptionCount(): number {
    return this.#subscriptions.size;
  }

  addSubscription(subscription: Subscription): void {
    if (this.#subscriptions.has(subscription.typeUrl)) return;
    this.#subscriptions.set(subscription.typeUrl, subscription);
    // What was applied so far was less than all that the node wants.
    this.#appliedRevision = undefined;
  }

  /** Something was asked for or answered. */
  received(subscription: Subscription, kind: 'ack' | 'nack' | 'stale' | 'request'): void {
    const { events, clock } = this.#context;
    const { typeUrl, last } = subscription;
    if (kind === 'ack' && last) events.onAck?.(this.connected, { typeUrl, latencyMs: clock.now() - last.sentAt });
    if (kind === 'nack') events.onNack?.(this.connected, { typeUrl, reason: last?.rejection?.reason ?? '' });
    if (typeUrl === TYPE_URL.endpoint) for (const name of this.#warming) if (subscription.isSubscribedTo(name)) this.#warming.delete(name);
    this.#context.touched();
    this.pump();
  }

  /** The state changed, for these types or for all. */
  push(change: { revision: number; typeUrls: ReadonlySet<string> | 'all' }): void {
    this.#revision = change.revision;
    for (const subscription of this.#subscriptions.values()) {
      if (change.typeUrls === 'all' || change.typeUrls.has(subscription.typeUrl)) subscription.isDirty = true;
    }
    this.pump();
  }

  /** Sends what may be sent. Called on every change of anything that decides about it. */
  pump(): void {
    if (this.#isBusy || this.#isClosed) return;
    if (!this.#nextSubscription()) {
      this.#checkApplied();
      return;
    }
    this.#isBusy = true;
    this.#leaveQueue = this.#context.slots.acquire((release) => this.#sendNext(release));
  }

  close(): void {
    this.#isClosed = true;
    this.#leaveQueue();
    this.#endWrite();
    this.#orderTimer?.cancel();
  }

  /** A response that was not answered for `staleAfterMs` makes its type stale. */
  status(staleAfterMs: number): ConnectionStatus {
    const staleBefore = this.#context.clock.now() - staleAfterMs;
    return {
      ...this.connected,
      protocol: this.#protocol,
      types: new Map(
        Array.from(this.#subscriptions.values(), (subscription) => [subscription.typeUrl, statusOf(subscription, staleBefore)]),
      ),
      appliedRevision: this.#appliedRevision,
      answeredRevision: this.#answeredRevision,
    };
  }

  #nextSubscription(): Subscription | undefined {
    const typeUrls = [
      ...PUSH_ORDER,
      ...[...this.#subscriptions.keys()].filter((typeUrl) => !(PUSH_ORDER as readonly string[]).includes(typeUrl)),
    ];
    const isBlocked = this.#isReferringBlocked();
    for (const typeUrl of typeUrls) {
      const subscription = this.#subscriptions.get(typeUrl);
      if (!subscription?.isDirty || subscription.outstanding !== undefined || this.#context.held.has(typeUrl)) continue;
      if (isBlocked && REFERRING.has(typeUrl)) continue;
      return subscription;
    }
    return this.#nextRemoval();
  }

  /**
   * Clusters or endpoints are on their way that listeners and routes may refer to. Endpoints do not wait for the answer to clusters:
   * Envoy gives that only once the new clusters have their endpoints (ClusterManagerImpl pauses CDS while clusters warm, 1.40).
   */
  #isReferringBlocked(): boolean {
    const now = this.#context.clock.now();
    const sentAts = REFERRED.flatMap((typeUrl) => {
      const subscription = this.#subscriptions.get(typeUrl);
      return subscription?.outstanding !== undefined && subscription.last ? [subscription.last.sentAt] : [];
    });
    const untilMs = Math.max(
      ...sentAts.map((sentAt) => sentAt + this.#context.orderWaitMs),
      this.#warming.size > 0 ? this.#warmingUntil : 0,
    );
    if (untilMs <= now) return false;
    this.#orderTimer?.cancel();
    this.#orderTimer = this.#context.clock.after(untilMs - now, () => this.pump());
    return true;
  }

  /** Removals, once nothing that could refer to what goes is on its way. */
  #nextRemoval(): Subscription | undefined {
    const isQuiet = [...REFERRED, ...REFERRING].every((typeUrl) => {
      const subscription = this.#subscriptions.get(typeUrl);
      return !subscription || (!subscription.isDirty && subscription.outstanding === undefined);
    });
    if (!isQuiet) return undefined;
    return [...this.#subscriptions.values()].find(
      (subscription) => subscription.hasPendingRemovals && !this.#context.held.has(subscription.typeUrl),
    );
  }

  #sendNext(release: () => void): void {
    const subscription = this.#isClosed ? undefined : this.#nextSubscription();
    const startedAt = this.#context.clock.monotonic();
    const prepared = subscription && this.#prepare(subscription);
    if (!subscription || !prepared) {
      release();
      this.#isBusy = false;
      this.pump();
      return;
    }
    this.#send(subscription, prepared, release);
    this.#context.events.onPush?.(this.connected, {
      typeUrl: subscription.typeUrl,
      resources: prepared.body.count,
      sizeBytes: prepared.body.sizeBytes,
      buildMs: this.#context.clock.monotonic() - startedAt,
    });
    this.#context.touched();
  }

  #prepare(subscription: Subscription): PreparedResponse | undefined {
    const keepRemoved = subscription.isDirty && !subscription.isUnanswered && REMOVED_LAST.has(subscription.typeUrl);
    subscription.isDirty = false;
    const target = this.#generate(subscription.typeUrl, subscription.wanted);
    if (!target) {
      subscription.hasPendingRemovals = false;
      return undefined;
    }
    return subscription.prepare(target, { keepRemoved });
  }

  #generate(typeUrl: string, names: NameSet | '*'): ReturnType<XdsGenerator['generate']> {
    const { generator, events, logger } = this.#context;
    try {
      const set = generator.generate({ node: this.connected.node, typeUrl, names });
      if (!set) events.onUnserved?.(this.connected, { typeUrl });
      return set;
    } catch (thrown) {
      // A mistake of ours: this node keeps what it has of this type, everything else goes on.
      logger.error({ err: thrown, node: this.connected.node.id, typeUrl }, 'configuration could not be generated');
      events.onGenerateError?.(this.connected, { typeUrl });
      return undefined;
    }
  }

  #send(subscription: Subscription, prepared: PreparedResponse, release: () => void): void {
    const nonce = `${++this.#nonce}`;
    const isFirst = subscription.isUnanswered;
    prepared.commit();
    subscription.sent({ nonce, version: prepared.version, at: this.#context.clock.now() });
    if (subscription.typeUrl === TYPE_URL.cluster) this.#warm(prepared, isFirst);
    this.#release = release;
    this.#lease = this.#context.clock.after(this.#context.slotLeaseMs, release);
    this.#write(new OutgoingResponse(prepared.body, nonce), () => {
      this.#endWrite();
      this.#isBusy = false;
      this.pump();
    });
  }

  #endWrite(): void {
    this.#lease?.cancel();
    this.#release();
  }

  /**
   * A cluster that changed warms again and waits for its endpoints, which the client holds already and may not ask for: they are
   * sent again. A new one has endpoints that the client will ask for: what refers to it waits for that.
   * Source: istio pilot/pkg/xds/delta.go, "WarmingDependencies" (1.32); envoy docs, "Cluster warming".
   */
  #warm(prepared: PreparedResponse, isFirst: boolean): void {
    const endpoints = this.#subscriptions.get(TYPE_URL.endpoint);
    if (endpoints) endpoints.resend([...prepared.changed].filter((name) => endpoints.holds(name)));
    if (this.#warmingUntil <= this.#context.clock.now()) this.#warming.clear();
    if (isFirst || !endpoints || prepared.added.length === 0) return;
    const withEndpoints = this.#generate(TYPE_URL.endpoint, NameSet.of(prepared.added));
    for (const name of prepared.added) if (withEndpoints?.resources.has(name) && !endpoints.isSubscribedTo(name)) this.#warming.add(name);
    this.#warmingUntil = this.#context.clock.now() + this.#context.orderWaitMs;
  }

  #checkApplied(): void {
    const subscriptions = [...this.#subscriptions.values()];
    const isAnswered = subscriptions.every(
      ({ isDirty, outstanding, hasPendingRemovals }) => !isDirty && outstanding === undefined && !hasPendingRemovals,
    );
    if (!isAnswered || subscriptions.length === 0) return;
    if (this.#answeredRevision !== this.#revision) {
      this.#answeredRevision = this.#revision;
      this.#context.touched();
    }
    if (subscriptions.some(({ last }) => last?.rejection) || this.#appliedRevision === this.#revision) return;
    this.#appliedRevision = this.#revision;
    this.#context.events.onApplied?.(this.connected, { revision: this.#revision });
    this.#context.touched();
  }
}

function statusOf(subscription: Subscription, staleBefore: number): DiscoveryStatus {
  const { last, wanted: names } = subscription;
  if (!last) return { state: 'NOT SENT', names };
  const common = {
    names,
    version: last.version,
    sentAt: last.sentAt,
    ...(last.ackedAt !== undefined && { ackedAt: last.ackedAt }),
    ...(last.ackedVersion !== undefined && { ackedVersion: last.ackedVersion }),
  };
  if (subscription.outstanding !== undefined && last.sentAt < staleBefore) return { state: 'STALE', ...common };
  if (last.rejection) return { state: 'ERROR', ...common, reason: last.rejection.reason };
  return { state: last.ackedAt === undefined ? 'NOT SENT' : 'SYNCED', ...common };
}
