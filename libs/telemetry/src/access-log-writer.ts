import { close, open, write } from 'node:fs';
import { type Clock, errorCode } from '@mizzen/core';

/** Takes lines and never makes the caller wait. */
export interface AccessLogSink {
  write(line: string): void;
}

export interface AccessLogWriterOptions {
  /** A path; `/dev/stdout` and `/dev/stderr` are the process's own. */
  readonly path: string;
  readonly clock: Clock;
  /** Lines are dropped and counted over this. Default 4 MiB. */
  readonly maxBufferedBytes?: number;
  /** How long lines are gathered. Default 100 ms. */
  readonly flushMs?: number;
}

const OWN_DESCRIPTORS: Readonly<Record<string, number>> = { '/dev/stdout': 1, '/dev/stderr': 2 };
const FLUSH_BYTES = 64 * 1024;
const RETRY_MS = 20;

/**
 * Writes an access log without ever holding up a request: lines are gathered and written in the background, at most one write under way.
 * When the disk or the reader is too slow, lines are dropped and counted. `reopen` is for log rotation.
 */
export class AccessLogWriter implements AccessLogSink {
  readonly #options: AccessLogWriterOptions;
  readonly #maxBufferedBytes: number;
  #lines: string[] = [];
  #bufferedBytes = 0;
  #isWriting = false;
  #descriptor: number | undefined;
  #mustReopen = false;
  #timer: { cancel(): void } | undefined;
  #idle: (() => void)[] = [];
  /** Lines that were dropped because too much was waiting or could not be written. */
  droppedLines = 0;

  constructor(options: AccessLogWriterOptions) {
    this.#options = options;
    this.#maxBufferedBytes = options.maxBufferedBytes ?? 4 * 1024 * 1024;
    this.#descriptor = OWN_DESCRIPTORS[options.path];
  }

  write(line: string): void {
    // One byte per character is enough of an estimate for a bound.
    if (this.#bufferedBytes + line.length > this.#maxBufferedBytes) {
      this.droppedLines++;
      return;
    }
    this.#lines.push(line);
    this.#bufferedBytes += line.length;
    if (this.#isWriting) return;
    if (this.#bufferedBytes >= FLUSH_BYTES) this.#flush();
    else this.#timer ??= this.#options.clock.after(this.#options.flushMs ?? 100, () => this.#flush());
  }

  /** The next write opens the path anew. */
  reopen(): void {
    this.#mustReopen = OWN_DESCRIPTORS[this.#options.path] === undefined;
  }

  /** Resolves once everything so far is written (or dropped). */
  flushed(): Promise<void> {
    if (this.#lines.length === 0 && !this.#isWriting) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idle.push(resolve);
      this.#flush();
    });
  }

  async close(): Promise<void> {
    await this.flushed();
    this.#timer?.cancel();
    this.#closeDescriptor();
  }

  #flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#isWriting) return;
    if (this.#lines.length === 0) {
      for (const resolve of this.#idle.splice(0)) resolve();
      return;
    }
    this.#isWriting = true;
    const count = this.#lines.length;
    const bytes = Buffer.from(this.#lines.join(''));
    this.#lines = [];
    this.#withDescriptor((descriptor) => {
      if (descriptor === undefined) this.#done(count);
      else this.#writeAll(descriptor, { bytes, offset: 0, count });
    });
  }

  #writeAll(descriptor: number, job: { readonly bytes: Buffer; readonly offset: number; readonly count: number }): void {
    write(descriptor, job.bytes, job.offset, job.bytes.length - job.offset, null, (error, written) => {
      // A pipe whose reader is slow: the lines wait, bounded, until it reads again.
      if (errorCode(error) === 'EAGAIN') this.#options.clock.after(RETRY_MS, () => this.#writeAll(descriptor, job));
      else if (error !== null) this.#done(job.count);
      else if (job.offset + written < job.bytes.length) this.#writeAll(descriptor, { ...job, offset: job.offset + written });
      else this.#done(0);
    });
  }

  #done(dropped: number): void {
    this.droppedLines += dropped;
    this.#isWriting = false;
    this.#bufferedBytes = this.#lines.reduce((sum, line) => sum + line.length, 0);
    this.#flush();
  }

  #withDescriptor(use: (descriptor: number | undefined) => void): void {
    if (this.#mustReopen) this.#closeDescriptor();
    this.#mustReopen = false;
    if (this.#descriptor !== undefined) {
      use(this.#descriptor);
      return;
    }
    open(this.#options.path, 'a', 0o640, (error, descriptor) => {
      if (error === null) this.#descriptor = descriptor;
      use(error === null ? descriptor : undefined);
    });
  }

  #closeDescriptor(): void {
    if (this.#descriptor === undefined || OWN_DESCRIPTORS[this.#options.path] !== undefined) return;
    close(this.#descriptor, () => {});
    this.#descriptor = undefined;
  }
}
