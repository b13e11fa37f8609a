import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 15;
const MAX_READ_BYTES = 1024 * 1024;

/** Reads what a log holds from `offset` on (at most 1 MiB); nothing where it does not exist. */
export function readLogFrom(file: string, offset: number): Buffer {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch {
    return Buffer.alloc(0);
  }
  try {
    const buffer = Buffer.alloc(Math.min(Math.max(statSync(file).size - offset, 0), MAX_READ_BYTES));
    return buffer.subarray(0, readSync(descriptor, buffer, 0, buffer.length, offset));
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Resolves with the ports of the line `{"ready":true,"app":…,"ports":{…}}` once the process has written it behind `offset`.
 * The file is polled: a process writes to it directly, and fs.watch is not reliable on every file system. Rejects with the signal's reason.
 */
export async function untilReadyLine(options: {
  file: string;
  offset: number;
  signal: AbortSignal;
}): Promise<Readonly<Record<string, unknown>>> {
  const { file, signal } = options;
  let offset = options.offset;
  let pending = '';
  for (;;) {
    signal.throwIfAborted();
    const read = readLogFrom(file, offset);
    offset += read.length;
    const lines = (pending + read.toString('latin1')).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) {
      const ports = parseReadyLine(line);
      if (ports) return ports;
    }
    await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** The ports of a ready line, or undefined for any other line. */
export function parseReadyLine(line: string): Readonly<Record<string, unknown>> | undefined {
  if (!line.startsWith('{"ready":true')) return undefined;
  try {
    const { ports } = JSON.parse(line) as { ports?: Record<string, unknown> };
    return ports ?? {};
  } catch {
    return undefined;
  }
}

/** The last lines of a process that failed, in short: what it said in plain text, or else the message of its last log entry. */
export function lastWords(file: string, offset: number): string {
  const lines = readLogFrom(file, offset)
    .toString()
    .split('\n')
    .filter((line) => line.trim() !== '');
  const plain = lines.filter((line) => !line.startsWith('{') && !/^\s+at /.test(line));
  if (plain.length > 0) return plain.slice(-4).join('\n');
  return logMessage(lines.at(-1) ?? '');
}

function logMessage(line: string): string {
  try {
    const entry = JSON.parse(line) as { msg?: string; reason?: string; err?: { message?: string } };
    return [entry.msg, entry.reason ?? entry.err?.message].filter((part) => part !== undefined).join(': ');
  } catch {
    return line;
  }
}
