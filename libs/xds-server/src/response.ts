import type { EncodedResource } from './encoded-resource.ts';
import { memoized } from './memo.ts';
import type { Difference, ResourceSet } from './resource-set.ts';
import { stringField } from './wire.ts';

// envoy.service.discovery.v3.DeltaDiscoveryResponse: system_version_info = 1, type_url = 4, nonce = 5, removed_resources = 6.
// envoy.service.discovery.v3.DiscoveryResponse: version_info = 1, type_url = 4, nonce = 5.
const VERSION_INFO = 1;
const TYPE_URL_FIELD = 4;
const NONCE = 5;
const REMOVED_RESOURCES = 6;

/** Everything of a response but its nonce. `pieces` are shared between streams and not copied until they are written. */
export interface ResponseBody {
  readonly head: Uint8Array;
  readonly pieces: readonly Uint8Array[];
  readonly sizeBytes: number;
  /** How many resources it carries. */
  readonly count: number;
}

interface Pieces {
  readonly pieces: readonly Uint8Array[];
  readonly sizeBytes: number;
}

const piecesOfDifference = memoized(({ changed, removed }: Difference) =>
  sized([...changed.map((resource) => resource.deltaField), ...removed.map((name) => stringField(REMOVED_RESOURCES, name))]),
);

/** The body of a DeltaDiscoveryResponse that carries a difference; its pieces are the same for the same difference. */
export function deltaBody(typeUrl: string, version: string, difference: Difference): ResponseBody {
  return { ...withHead(typeUrl, version, piecesOfDifference(difference)), count: difference.changed.length };
}

const piecesOfSet = memoized((set: ResourceSet) => sotwPieces([...set.resources.values()]));

/** The body of a DiscoveryResponse that carries a whole set; its pieces are the same for the same set. */
export function wholeBody(typeUrl: string, set: ResourceSet): ResponseBody {
  return { ...withHead(typeUrl, set.version, piecesOfSet(set)), count: set.resources.size };
}

/** The body of a DiscoveryResponse of a type that need not be sent whole. */
export function partialBody(typeUrl: string, version: string, resources: readonly EncodedResource[]): ResponseBody {
  return { ...withHead(typeUrl, version, sotwPieces(resources)), count: resources.length };
}

function sotwPieces(resources: readonly EncodedResource[]): Pieces {
  return sized(resources.map((resource) => resource.sotwField));
}

function sized(pieces: readonly Uint8Array[]): Pieces {
  return { pieces, sizeBytes: pieces.reduce((sum, piece) => sum + piece.length, 0) };
}

function withHead(typeUrl: string, version: string, { pieces, sizeBytes }: Pieces): Omit<ResponseBody, 'count'> {
  const head = Buffer.concat([stringField(VERSION_INFO, version), stringField(TYPE_URL_FIELD, typeUrl)]);
  return { head, pieces, sizeBytes: head.length + sizeBytes };
}

/**
 * A response as grpc-js takes it from a serializer: of a Buffer it uses `byteLength` and `copy` only (1.14.7, server-interceptors.js,
 * serializeMessage), to copy it behind the message's length prefix. So the pieces go straight into the one buffer that is written.
 */
export class OutgoingResponse {
  readonly #body: ResponseBody;
  readonly #nonce: Uint8Array;

  constructor(body: ResponseBody, nonce: string) {
    this.#body = body;
    this.#nonce = stringField(NONCE, nonce);
  }

  get byteLength(): number {
    return this.#body.sizeBytes + this.#nonce.length;
  }

  copy(target: Uint8Array, offset: number): number {
    target.set(this.#body.head, offset);
    let at = offset + this.#body.head.length;
    for (const piece of this.#body.pieces) {
      target.set(piece, at);
      at += piece.length;
    }
    target.set(this.#nonce, at);
    return this.byteLength;
  }
}
