import { existsSync, readdirSync, readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import { MizzenError } from '@mizzen/core';
import type { Home } from '../home.ts';
import { readLogFrom } from '../local/process-log.ts';
import type { LogOptions } from './mesh-access.ts';

/** fs.watch is not reliable on every file system; this often the file is looked at anyway. */
const RESCAN_MS = 500;

/** Prints the end of the log of one process of the local mesh, and goes on where it is asked to. */
export async function printLocalLog(home: Home, process: string, options: LogOptions): Promise<void> {
  const file = logFileOf(home, process);
  const content = readFileSync(file);
  options.print(lastLines(content.toString('utf8'), options.tail));
  if (!options.follow) return;
  let offset = content.length;
  const printMore = (): void => {
    for (let more = readLogFrom(file, offset); more.length > 0; more = readLogFrom(file, offset)) {
      offset += more.length;
      options.print(more.toString('utf8'));
    }
  };
  watch(file, printMore);
  setInterval(printMore, RESCAN_MS);
  await new Promise(() => undefined);
}

function logFileOf(home: Home, process: string): string {
  const file = join(home.logs, `${process}.log`);
  if (/^[\w.-]+$/.test(process) && existsSync(file)) return file;
  const names = existsSync(home.logs) ? readdirSync(home.logs).filter((name) => name.endsWith('.log')) : [];
  const known = names.map((name) => name.slice(0, -'.log'.length)).join(', ');
  throw new MizzenError(
    'MIZZEN_RESOURCE',
    known === '' ? `there are no logs in ${home.logs}` : `there is no log of ${process}; there are ${known}`,
  );
}

/** The last `count` lines of a text, with their line ends. */
function lastLines(text: string, count: number): string {
  const lines = text.split('\n');
  const end = lines.at(-1) === '' ? lines.length - 1 : lines.length;
  return lines
    .slice(Math.max(0, end - count), end)
    .map((line) => `${line}\n`)
    .join('');
}
