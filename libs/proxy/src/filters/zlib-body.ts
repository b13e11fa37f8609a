import type { Transform } from 'node:stream';
import { constants } from 'node:zlib';
import type { BodyOutput, BodyTransform } from '../http/body-chain.ts';
import type { HeaderMap } from '../http/headers.ts';

/** A stream of node:zlib. It works outside of the event loop, and is as patient as its readers. */
export type ZlibEngine = Transform & { flush(kind: number, done?: () => void): void };

export interface ZlibBodyOptions {
  /** What brings to the reader all that was written so far; undefined for decompression, which does so by itself. */
  readonly flushKind: number | undefined;
  /** More output than this times the input fails: a small body must not become a huge one. Infinity for compression. */
  readonly maxRatio: number;
  /** Told once, at the end. */
  onDone(bytes: { readonly read: number; readonly written: number }): void;
}

export const FLUSH_KIND: Readonly<Record<'gzip' | 'br' | 'zstd', number>> = {
  gzip: constants.Z_SYNC_FLUSH,
  br: constants.BROTLI_OPERATION_FLUSH,
  zstd: constants.ZSTD_e_flush,
};

/** Compresses or decompresses a body as it passes. */
export class ZlibBody implements BodyTransform {
  readonly #engine: ZlibEngine;
  readonly #options: ZlibBodyOptions;
  #output: BodyOutput | undefined;
  #trailers: HeaderMap | undefined;
  #read = 0;
  #written = 0;
  #isFlushDue = false;
  #isEnded = false;

  constructor(engine: ZlibEngine, options: ZlibBodyOptions) {
    this.#engine = engine;
    this.#options = options;
    engine.on('data', (chunk: Buffer) => this.#onData(chunk));
    engine.on('drain', () => this.#output?.drained());
    engine.on('end', () => this.#onEnd());
    engine.on('error', () => this.#output?.fail('decompression_failure'));
  }

  write(chunk: Buffer, output: BodyOutput): boolean {
    this.#output = output;
    if (chunk.length === 0) return true;
    this.#read += chunk.length;
    const mayGoOn = this.#engine.write(chunk);
    this.#flushSoon();
    return mayGoOn;
  }

  end(trailers: HeaderMap | undefined, output: BodyOutput): void {
    this.#output = output;
    this.#trailers = trailers;
    this.#isEnded = true;
    this.#engine.end();
  }

  pause(): void {
    this.#engine.pause();
  }

  resume(): void {
    this.#engine.resume();
  }

  destroy(): void {
    this.#output = undefined;
    this.#engine.destroy();
  }

  /** What one read brought is flushed together, and not at all where the body ends with it. */
  #flushSoon(): void {
    const { flushKind } = this.#options;
    if (flushKind === undefined || this.#isFlushDue) return;
    this.#isFlushDue = true;
    queueMicrotask(() => {
      this.#isFlushDue = false;
      if (!this.#isEnded && !this.#engine.destroyed) this.#engine.flush(flushKind);
    });
  }

  #onData(chunk: Buffer): void {
    this.#written += chunk.length;
    if (this.#written > this.#read * this.#options.maxRatio) {
      const output = this.#output;
      this.destroy();
      output?.fail('decompression_ratio_exceeded');
      return;
    }
    this.#output?.push(chunk);
  }

  #onEnd(): void {
    this.#options.onDone({ read: this.#read, written: this.#written });
    this.#output?.finish(this.#trailers);
  }
}
