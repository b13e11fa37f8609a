import { createBrotliCompress, createGunzip, createGzip, createZstdCompress, gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { BodyChain } from '../http/body-chain.ts';
import { FLUSH_KIND, ZlibBody, type ZlibEngine } from './zlib-body.ts';

/** Collects what comes out of a body, and tells when something does. */
class Collector {
  readonly chain: BodyChain;
  bytes = Buffer.alloc(0);
  isWritable = true;
  failure: string | undefined;
  drains = 0;
  done: { readonly read: number; readonly written: number } | undefined;
  isEnded = false;
  readonly #waiting: { readonly isThere: () => boolean; readonly resolve: () => void }[] = [];

  constructor(engine: ZlibEngine, options: { readonly flushKind?: number; readonly maxRatio?: number } = {}) {
    this.chain = new BodyChain({
      onDrained: () => {
        this.drains++;
        this.#tell();
      },
      onFailed: (details) => {
        this.failure = details;
        this.#tell();
      },
    });
    this.chain.addTransform(
      new ZlibBody(engine, {
        flushKind: options.flushKind,
        maxRatio: options.maxRatio ?? Number.POSITIVE_INFINITY,
        onDone: (bytes) => {
          this.done = bytes;
        },
      }),
    );
    this.chain.flowTo({
      write: (chunk) => {
        this.bytes = Buffer.concat([this.bytes, chunk]);
        this.#tell();
        return this.isWritable;
      },
      end: () => {
        this.isEnded = true;
        this.#tell();
      },
    });
  }

  until(isThere: () => boolean): Promise<void> {
    return isThere() ? Promise.resolve() : new Promise((resolve) => this.#waiting.push({ isThere, resolve }));
  }

  #tell(): void {
    for (const { isThere, resolve } of this.#waiting) if (isThere()) resolve();
  }
}

const TEXT = 'the same words again and again, '.repeat(1000);

describe('ZlibBody', () => {
  it('compresses and counts', async () => {
    const collector = new Collector(createGzip(), { flushKind: FLUSH_KIND.gzip });
    collector.chain.write(Buffer.from(TEXT));
    collector.chain.end(undefined);
    await collector.until(() => collector.isEnded);
    expect(gunzipSync(collector.bytes).toString()).toBe(TEXT);
    expect(collector.done).toEqual({ read: TEXT.length, written: collector.bytes.length });
  });

  it.each([
    ['gzip', () => createGzip()],
    ['br', () => createBrotliCompress()],
    ['zstd', () => createZstdCompress()],
  ] as const)('gives what was written without waiting for the end: %s', async (coding, create) => {
    const collector = new Collector(create(), { flushKind: FLUSH_KIND[coding] });
    collector.chain.write(Buffer.from('first'));
    await collector.until(() => collector.bytes.length > 0);
    expect(collector.isEnded).toBe(false);
    collector.chain.destroy();
  });

  it('fails a body that becomes too much', async () => {
    const collector = new Collector(createGunzip(), { maxRatio: 100 });
    collector.chain.write(gzipSync(Buffer.alloc(10_000_000)));
    collector.chain.end(undefined);
    await collector.until(() => collector.failure !== undefined);
    expect(collector.failure).toBe('decompression_ratio_exceeded');
    expect(collector.bytes.length).toBeLessThan(2_000_000);
  });

  it('fails a body that is not compressed', async () => {
    const collector = new Collector(createGunzip(), { maxRatio: 100 });
    collector.chain.write(Buffer.from('plain text'));
    await collector.until(() => collector.failure !== undefined);
    expect(collector.failure).toBe('decompression_failure');
  });

  it('stops while its reader is slow, and goes on', async () => {
    const collector = new Collector(createGunzip());
    collector.isWritable = false;
    collector.chain.write(gzipSync(Buffer.alloc(5_000_000)));
    await collector.until(() => collector.bytes.length > 0);
    const held = collector.bytes.length;
    expect(held).toBeLessThan(1_000_000);
    collector.isWritable = true;
    collector.chain.end(undefined);
    collector.chain.onExitDrained();
    await collector.until(() => collector.isEnded);
    expect(collector.bytes.length).toBe(5_000_000);
  });

  it('asks the sender to wait, and tells it when it may go on', async () => {
    const collector = new Collector(createGzip(), { flushKind: FLUSH_KIND.gzip });
    let isOpen = true;
    for (let writes = 0; isOpen && writes < 100; writes++) isOpen = collector.chain.write(Buffer.alloc(65_536, writes));
    expect(isOpen).toBe(false);
    await collector.until(() => collector.drains > 0);
    collector.chain.destroy();
  });
});
