import { create } from '@bufbuild/protobuf';
import type { XdsConsumer, XdsRejection, XdsResource, XdsSubscription, XdsUpdate } from '@mizzen/xds-api';
import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
} from '@mizzen/xds-api/envoy/service/discovery/v3/discovery';

const WILDCARD = '*';
// google.rpc.Code.INVALID_ARGUMENT: what Envoy sends with a NACK.
const INVALID_ARGUMENT = 3;

type RequestFields = Partial<
  Pick<DeltaDiscoveryRequest, 'resourceNamesSubscribe' | 'resourceNamesUnsubscribe' | 'initialResourceVersions'>
>;

interface TypeState {
  /** What the consumer wants, the wildcard as the name `*`. */
  wanted: ReadonlySet<string>;
  /** What the server of the present stream was told. */
  asked: Set<string>;
  /** Versions of the resources in force; they outlive the stream. */
  readonly versions: Map<string, string>;
  isAnnounced: boolean;
}

/**
 * The protocol side of an incremental xDS client, without any connection: what is in force, what is subscribed to, and which
 * requests follow. Source: xDS protocol, "Incremental xDS".
 */
export class DeltaState {
  readonly #node: Node;
  readonly #types = new Map<string, TypeState>();
  #isNodeSent = false;

  constructor(node: Node) {
    this.#node = node;
  }

  /** Requests with which a new stream begins: every subscription, with the versions in force, so that only differences come. */
  open(): DeltaDiscoveryRequest[] {
    this.#isNodeSent = false;
    for (const state of this.#types.values()) {
      state.isAnnounced = false;
      state.asked = new Set();
    }
    return [...this.#types.keys()].flatMap((typeUrl) => this.#requestsFor(typeUrl));
  }

  /** Takes a changed subscription and returns the request that tells the server. */
  subscribe({ typeUrl, names }: XdsSubscription): DeltaDiscoveryRequest[] {
    const state = this.#stateOf(typeUrl);
    state.wanted = names === '*' ? new Set([WILDCARD]) : names;
    if (!state.wanted.has(WILDCARD)) {
      for (const name of state.versions.keys()) if (!state.wanted.has(name)) state.versions.delete(name);
    }
    return this.#requestsFor(typeUrl);
  }

  /** Gives a response to the consumer and returns the acknowledgement or the rejection, with what was rejected. */
  receive(response: DeltaDiscoveryResponse, consumer: XdsConsumer): { answer: DeltaDiscoveryRequest; rejections: readonly XdsRejection[] } {
    const state = this.#stateOf(response.typeUrl);
    const { update, rejections: unreadable } = readUpdate(response);
    const rejections = [...unreadable, ...consumer.apply(update)];
    const rejected = new Set(rejections.map(({ name }) => name));
    for (const name of update.removed) state.versions.delete(name);
    for (const { name, version } of update.upserts) {
      // Of a rejected resource the version before it stays in force, if there is one. A name that the consumer gave up meanwhile is no longer held.
      if (!rejected.has(name) && (state.wanted.has(WILDCARD) || state.wanted.has(name))) state.versions.set(name, version);
    }
    const answer = this.#request(response.typeUrl, {});
    answer.responseNonce = response.nonce;
    if (rejections.length > 0)
      answer.errorDetail = { $typeName: 'google.rpc.Status', code: INVALID_ARGUMENT, message: describe(rejections), details: [] };
    return { answer, rejections };
  }

  #requestsFor(typeUrl: string): DeltaDiscoveryRequest[] {
    const state = this.#stateOf(typeUrl);
    const added = [...state.wanted].filter((name) => !state.asked.has(name));
    const dropped = [...state.asked].filter((name) => !state.wanted.has(name));
    if (added.length === 0 && dropped.length === 0) return [];
    const initialResourceVersions = state.isAnnounced ? {} : Object.fromEntries(state.versions);
    state.isAnnounced = true;
    state.asked = new Set(state.wanted);
    return [this.#request(typeUrl, { resourceNamesSubscribe: added, resourceNamesUnsubscribe: dropped, initialResourceVersions })];
  }

  #request(typeUrl: string, fields: RequestFields): DeltaDiscoveryRequest {
    const node = this.#isNodeSent ? {} : { node: this.#node };
    this.#isNodeSent = true;
    return create(DeltaDiscoveryRequestSchema, { typeUrl, ...fields, ...node });
  }

  #stateOf(typeUrl: string): TypeState {
    let state = this.#types.get(typeUrl);
    if (!state) {
      state = { wanted: new Set(), asked: new Set(), versions: new Map(), isAnnounced: false };
      this.#types.set(typeUrl, state);
    }
    return state;
  }
}

function readUpdate(response: DeltaDiscoveryResponse): { update: XdsUpdate; rejections: readonly XdsRejection[] } {
  const upserts: XdsResource[] = [];
  const rejections: XdsRejection[] = [];
  for (const { name, version, resource } of response.resources) {
    if (resource) upserts.push({ name, version, body: resource });
    else rejections.push({ name, reason: 'the resource has no body' });
  }
  const update = {
    typeUrl: response.typeUrl,
    version: response.systemVersionInfo,
    upserts,
    removed: response.removedResources,
    isWholeState: false,
  };
  return { update, rejections };
}

function describe(rejections: readonly XdsRejection[]): string {
  return rejections.map(({ name, reason }) => `${name}: ${reason}`).join('\n');
}
