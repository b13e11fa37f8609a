import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import type { NameSet } from './name-set.ts';
import type { ResourceSet } from './resource-set.ts';

/** What a stream asks the rest of the control plane for. */
export interface GenerateRequest {
  /** The node as it was in the first request of the stream; the same object for as long as the stream lives. */
  readonly node: Node;
  readonly typeUrl: string;
  /** `'*'` is the wildcard: everything that the node may see. */
  readonly names: NameSet | '*';
}

/** Where resources come from. */
export interface XdsGenerator {
  /**
   * The present resources; names that do not exist are left out. Undefined for a type that is not served.
   * Nodes that see the same must be given the same object: that is what sharing of bytes rests on.
   * Called often: the answer must be cached until something changes. Must not throw on bad configuration.
   */
  generate(request: GenerateRequest): ResourceSet | undefined;
}
