import type { NameSet } from './name-set.ts';
import { NameSet as Names } from './name-set.ts';
import type { ResourceSet } from './resource-set.ts';
import type { ResponseBody } from './response.ts';

/** What was answered last and what the client said to it. Times are milliseconds since the epoch. */
export interface AckRecord {
  version: string;
  nonce: string;
  sentAt: number;
  ackedAt?: number;
  ackedVersion?: string;
  /** Present while the last response stands rejected. */
  rejection?: { readonly reason: string; readonly version: string; readonly at: number };
}

/** A response that is ready to be sent. `commit` says that it is on its way: from then on the client is taken to hold it. */
export interface PreparedResponse {
  readonly body: ResponseBody;
  readonly version: string;
  /** Names of resources that it adds or changes. */
  readonly changed: Iterable<string>;
  /** Names in `changed` that the client did not hold before. */
  readonly added: readonly string[];
  /** Removals were held back; `prepare` has to be called again without `keepRemoved`. */
  readonly hasPendingRemovals: boolean;
  commit(): void;
}

/** One type on one stream: what is subscribed to, what the client holds, and how the last response was taken. */
export abstract class Subscription {
  readonly typeUrl: string;
  /** Something may have changed for this type; cleared when it was looked at. */
  isDirty = false;
  /** Removals wait until the types that refer to them were updated. */
  hasPendingRemovals = false;
  /** The nonce that is neither acknowledged nor rejected yet. */
  outstanding: string | undefined;
  /** The last response, or undefined before the first. */
  last: AckRecord | undefined;
  protected isWildcard = false;
  protected readonly names = new Set<string>();
  protected readonly forced = new Set<string>();
  protected isFirst = true;
  #nameSet: NameSet | undefined;

  constructor(typeUrl: string) {
    this.typeUrl = typeUrl;
  }

  /** What to ask the generator for. */
  get wanted(): NameSet | '*' {
    if (this.isWildcard) return '*';
    this.#nameSet ??= Names.of(this.names);
    return this.#nameSet;
  }

  get nameCount(): number {
    return this.names.size;
  }

  isSubscribedTo(name: string): boolean {
    return this.isWildcard || this.names.has(name);
  }

  abstract holds(name: string): boolean;

  /** Nothing of it was ever answered. */
  get isUnanswered(): boolean {
    return this.last === undefined;
  }

  /** These are sent with the next response even where the client holds them: what depends on them is warming. */
  resend(names: Iterable<string>): void {
    for (const name of names) {
      if (this.isSubscribedTo(name)) this.forced.add(name);
    }
    if (this.forced.size > 0) this.isDirty = true;
  }

  /** The response that makes the client hold `target`, or undefined where it needs none. */
  abstract prepare(target: ResourceSet, options: { keepRemoved: boolean }): PreparedResponse | undefined;

  protected namesChanged(): void {
    this.#nameSet = undefined;
  }

  sent(record: { nonce: string; version: string; at: number }): void {
    this.outstanding = record.nonce;
    this.last = { ...this.last, version: record.version, nonce: record.nonce, sentAt: record.at };
  }

  /** Takes the answer to a nonce. Returns what it was; a nonce that is not the last one's is stale. */
  protected answered(nonce: string, rejection: string | undefined, at: number): 'ack' | 'nack' | 'stale' {
    if (!this.last || nonce !== this.last.nonce) return 'stale';
    // A state-of-the-world client repeats the last nonce when it changes its names: that is no new acknowledgement.
    const isRepeated = this.outstanding === undefined;
    this.outstanding = undefined;
    if (rejection !== undefined) {
      this.last.rejection = { reason: rejection, version: this.last.version, at };
      return 'nack';
    }
    if (isRepeated) return 'ack';
    this.last.ackedAt = at;
    this.last.ackedVersion = this.last.version;
    delete this.last.rejection;
    return 'ack';
  }
}
