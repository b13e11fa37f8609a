import { existsSync, readdirSync, readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import { MizzenError } from '@mizzen/core';
import { type Command, InvalidArgumentError } from 'commander';
import type { Home } from '../home.ts';
import { readLogFrom } from '../local/process-log.ts';
import { type CommandContext, type GlobalOptions, homeOf } from './context.ts';

interface LogsOptions {
  readonly follow?: boolean;
  readonly tail: number;
}

const DEFAULT_TAIL = 200;
/** fs.watch is not reliable on every file system; this often the file is looked at anyway. */
const RESCAN_MS = 500;

export function addLogsCommand(program: Command, context: CommandContext): void {
  program
    .command('logs')
    .argument('<process>', 'name as `mizzen status` lists it, for example productpage-v1-sidecar')
    .description('print the end of the log of one process; of a sidecar that is its access log and its own messages')
    .option('-f, --follow', 'go on printing what is added')
    .option('--tail <lines>', 'how many lines of the end', parseCount, DEFAULT_TAIL)
    .addHelpText('after', '\nExample:\n  mizzen logs -f productpage-v1-sidecar\n')
    .action(async (process: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & LogsOptions>();
      await printLog(logFileOf(homeOf(options), process), options, context);
    });
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

async function printLog(file: string, options: LogsOptions, context: CommandContext): Promise<void> {
  const content = readFileSync(file);
  context.print(lastLines(content.toString('utf8'), options.tail));
  if (!options.follow) return;
  let offset = content.length;
  const printMore = (): void => {
    for (let more = readLogFrom(file, offset); more.length > 0; more = readLogFrom(file, offset)) {
      offset += more.length;
      context.print(more.toString('utf8'));
    }
  };
  watch(file, printMore);
  setInterval(printMore, RESCAN_MS);
  await new Promise(() => undefined);
}

/** The last `count` lines of a text, with their line ends. */
export function lastLines(text: string, count: number): string {
  const lines = text.split('\n');
  const end = lines.at(-1) === '' ? lines.length - 1 : lines.length;
  return lines
    .slice(Math.max(0, end - count), end)
    .map((line) => `${line}\n`)
    .join('');
}

function parseCount(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}
