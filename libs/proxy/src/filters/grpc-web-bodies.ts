import type { BodyOutput, BodyTransform } from '../http/body-chain.ts';
import type { HeaderMap } from '../http/headers.ts';

/** A request of gRPC-Web in text form, back to bytes. Pieces that were encoded by themselves may follow one another. */
export class Base64Body implements BodyTransform {
  /** What is left of a group of four letters. */
  #rest = '';
  readonly #onInvalid: () => void;

  constructor(onInvalid: () => void) {
    this.#onInvalid = onInvalid;
  }

  write(chunk: Buffer, output: BodyOutput): boolean {
    const text = this.#rest + chunk.toString('latin1');
    const whole = text.length - (text.length % 4);
    this.#rest = text.slice(whole);
    const decoded = decode(text.slice(0, whole));
    if (decoded === undefined) this.#onInvalid();
    else if (decoded.length > 0) output.push(decoded);
    return true;
  }

  end(trailers: HeaderMap | undefined, output: BodyOutput): void {
    if (this.#rest !== '') this.#onInvalid();
    else output.finish(trailers);
  }
}

function decode(text: string): Buffer | undefined {
  const pieces = text.match(/[A-Za-z0-9+/]*={0,2}/g) ?? [];
  const isBase64 = pieces.join('').length === text.length && pieces.every((piece) => piece.length % 4 === 0);
  return isBase64 ? Buffer.concat(pieces.map((piece) => Buffer.from(piece, 'base64'))) : undefined;
}

const TRAILER_FLAG = 0x80;

/** An answer of gRPC in the form of gRPC-Web: its trailers are the last frame of the body. */
export class GrpcWebAnswer implements BodyTransform {
  readonly #isText: boolean;
  readonly #onTrailers: (trailers: HeaderMap) => void;

  /** `onTrailers`: what the client is not sent as trailers still counts as such for those who watch the stream. */
  constructor(isText: boolean, onTrailers: (trailers: HeaderMap) => void) {
    this.#isText = isText;
    this.#onTrailers = onTrailers;
  }

  write(chunk: Buffer, output: BodyOutput): boolean {
    if (chunk.length > 0) output.push(this.#encode(chunk));
    return true;
  }

  end(trailers: HeaderMap | undefined, output: BodyOutput): void {
    if (trailers !== undefined) {
      this.#onTrailers(trailers);
      output.push(this.#encode(trailerFrame(trailers)));
    }
    output.finish(undefined);
  }

  #encode(bytes: Buffer): Buffer {
    return this.#isText ? Buffer.from(bytes.toString('base64'), 'latin1') : bytes;
  }
}

function trailerFrame(trailers: HeaderMap): Buffer {
  const text = trailers.names.map((name, index) => `${name}:${trailers.values[index] as string}\r\n`).join('');
  const lines = Buffer.from(text, 'latin1');
  const header = Buffer.alloc(5);
  header[0] = TRAILER_FLAG;
  header.writeUInt32BE(lines.length, 1);
  return Buffer.concat([header, lines]);
}

/** Takes a body and gives none. */
export class DroppedBody implements BodyTransform {
  write(): boolean {
    return true;
  }

  end(_trailers: HeaderMap | undefined, output: BodyOutput): void {
    output.finish(undefined);
  }
}
