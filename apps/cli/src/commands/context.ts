import { type Clock, type Random, systemClock } from '@mizzen/core';
import { type Home, homeAt } from '../home.ts';
import { workspaceRoot } from '../launch/command-line.ts';
import { type MeshState, readState } from '../local/state.ts';
import { OUTPUT_FORMATS, type OutputFormat } from '../output/format.ts';

/** What every command is given: the world outside as parameters. */
export interface CommandContext {
  readonly env: NodeJS.ProcessEnv;
  readonly workspace: string;
  readonly clock: Clock;
  readonly random: Random;
  /** The answer. */
  readonly print: (text: string) => void;
  /** Everything that is not the answer. */
  readonly message: (line: string) => void;
  readonly readStdin: () => Promise<string>;
}

/** The flags that every command has. */
export interface GlobalOptions {
  readonly home: string;
  readonly config?: string;
  readonly namespace?: string;
  readonly output: OutputFormat;
}

export function systemContext(): CommandContext {
  return {
    env: process.env,
    workspace: workspaceRoot(),
    clock: systemClock,
    random: Math.random,
    print: (text) => void process.stdout.write(text),
    message: (line) => void process.stderr.write(`${line}\n`),
    readStdin: readAllOfStdin,
  };
}

export function homeOf(options: GlobalOptions): Home {
  const home = homeAt(options.home, options.config === undefined ? {} : { config: options.config });
  if (options.config !== undefined) return home;
  // A running mesh may watch another directory than the home's own; apply, get and delete have to mean that one.
  const config = readState(home.state)?.config;
  return config === undefined ? home : homeAt(options.home, { config });
}

export function stateOf(home: Home): MeshState | undefined {
  return readState(home.state);
}

export { OUTPUT_FORMATS };

async function readAllOfStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}
