import { hash } from 'node:crypto';
import { fieldSizeBytes, stringField, writeFieldHeader } from './wire.ts';

// envoy.service.discovery.v3: DeltaDiscoveryResponse.resources = 2 (Resource), DiscoveryResponse.resources = 2 (Any),
// Resource.version = 1, Resource.resource = 2 (Any), Resource.name = 3; google.protobuf.Any.type_url = 1, .value = 2.
const RESPONSE_RESOURCES = 2;
const RESOURCE_VERSION = 1;
const RESOURCE_BODY = 2;
const RESOURCE_NAME = 3;
const ANY_TYPE_URL = 1;
const ANY_VALUE = 2;

/**
 * One resource, encoded once and shared by every stream that carries it, of either protocol: the `Any` is field 2 of a
 * `Resource` and, in state of the world, field 2 of the response itself. So the bytes of the second are the end of those of the first.
 */
export class EncodedResource {
  readonly name: string;
  /** Equal for equal content. */
  readonly version: string;
  /** Field `resources` of a DeltaDiscoveryResponse, key and length included. */
  readonly deltaField: Uint8Array;
  readonly #sotwStart: number;
  readonly #valueStart: number;

  constructor(input: { name: string; version: string; typeUrl: string; value: Uint8Array }) {
    this.name = input.name;
    this.version = input.version;
    const typeUrl = stringField(ANY_TYPE_URL, input.typeUrl);
    const head = [stringField(RESOURCE_NAME, input.name), stringField(RESOURCE_VERSION, input.version)];
    const headSizeBytes = head.reduce((sum, part) => sum + part.length, 0);
    const anySizeBytes = typeUrl.length + fieldSizeBytes(input.value.length);
    const resourceSizeBytes = headSizeBytes + fieldSizeBytes(anySizeBytes);
    // Not from Node's pool: a small slice would keep its whole 8 kB alive.
    const bytes = new Uint8Array(fieldSizeBytes(resourceSizeBytes));
    let at = writeFieldHeader(bytes, { number: RESPONSE_RESOURCES, sizeBytes: resourceSizeBytes }, 0);
    for (const part of head) {
      bytes.set(part, at);
      at += part.length;
    }
    this.#sotwStart = at;
    at = writeFieldHeader(bytes, { number: RESOURCE_BODY, sizeBytes: anySizeBytes }, at);
    bytes.set(typeUrl, at);
    at = writeFieldHeader(bytes, { number: ANY_VALUE, sizeBytes: input.value.length }, at + typeUrl.length);
    this.#valueStart = at;
    bytes.set(input.value, at);
    this.deltaField = bytes;
  }

  /** Field `resources` of a DiscoveryResponse, key and length included. */
  get sotwField(): Uint8Array {
    return this.deltaField.subarray(this.#sotwStart);
  }

  /** The encoded message without its `Any`. */
  get value(): Uint8Array {
    return this.deltaField.subarray(this.#valueStart);
  }
}

/** Encodes a message for all streams. `version` defaults to a hash of the content. */
export function encodeResource(input: { name: string; version?: string; typeUrl: string; value: Uint8Array }): EncodedResource {
  return new EncodedResource({ ...input, version: input.version ?? contentVersion(input.value) });
}

/** 96 bits of SHA-1: short enough for every resource to carry, long enough that two contents never meet by chance. */
export function contentVersion(content: Uint8Array | string): string {
  return hash('sha1', content, 'base64url').slice(0, 16);
}
