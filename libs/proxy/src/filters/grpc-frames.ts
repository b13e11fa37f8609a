const HEADER_BYTES = 5;

/** Counts the messages of a gRPC body as its chunks pass, however they are cut. Source: gRPC over HTTP2, "Length-Prefixed-Message". */
export class GrpcFrameCounter {
  #isInHeader = true;
  /** Bytes of the header that are there. */
  #headerBytes = 0;
  #length = 0;
  /** Bytes of the message that are to come. */
  #rest = 0;

  /** How many messages begin in this chunk. */
  count(chunk: Buffer): number {
    let messages = 0;
    let position = 0;
    while (position < chunk.length) {
      if (!this.#isInHeader) {
        const taken = Math.min(this.#rest, chunk.length - position);
        position += taken;
        this.#rest -= taken;
        if (this.#rest === 0) this.#isInHeader = true;
        continue;
      }
      if (this.#headerBytes === 0) messages++;
      else this.#length = this.#length * 256 + (chunk[position] as number);
      position++;
      if (++this.#headerBytes < HEADER_BYTES) continue;
      this.#isInHeader = this.#length === 0;
      this.#rest = this.#length;
      this.#headerBytes = 0;
      this.#length = 0;
    }
    return messages;
  }
}

/** `/package.Service/Method`; undefined for what is no such path. */
export function grpcMethodOf(path: string): { readonly service: string; readonly method: string } | undefined {
  const match = /^\/([^/?]+)\/([^/?]+)$/.exec(path);
  return match === null ? undefined : { service: match[1] as string, method: match[2] as string };
}
