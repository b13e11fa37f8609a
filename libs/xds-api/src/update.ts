import type { Any } from '@bufbuild/protobuf/wkt';

/** One resource as it came over the wire. */
export interface XdsResource {
  readonly name: string;
  readonly version: string;
  readonly body: Any;
}

/** What one response of a management server changes. */
export interface XdsUpdate {
  readonly typeUrl: string;
  readonly version: string;
  readonly upserts: readonly XdsResource[];
  readonly removed: readonly string[];
  /** State of the world: whatever of this type is not in `upserts` is gone (clusters and listeners only). */
  readonly isWholeState: boolean;
}

/** Why a resource is refused. The others of the same update are in force. */
export interface XdsRejection {
  readonly name: string;
  /** Says which field and what is wrong with it. */
  readonly reason: string;
}

/** What a consumer of xDS wants to know about; a set replaces the one before it. */
export interface XdsSubscription {
  readonly typeUrl: string;
  /** `'*'` is the wildcard: everything that the server has for this node. */
  readonly names: ReadonlySet<string> | '*';
}

/** The consumer's side of xDS: the proxy implements it, the xDS client drives it. */
export interface XdsConsumer {
  /** Takes an update at once and completely; never throws. An empty answer is an ACK. */
  apply(update: XdsUpdate): readonly XdsRejection[];
  /** The present subscriptions, and a call on each change of one. Returns what ends the calls. */
  subscriptions(onChange: (subscription: XdsSubscription) => void): { readonly current: readonly XdsSubscription[]; stop(): void };
}
