import { EXIT, errorMessage, isMizzenError } from '@mizzen/core';
import { CommanderError } from 'commander';
import { systemContext } from './commands/context.ts';
import { ExitWith } from './commands/exit-with.ts';
import { createProgram } from './program.ts';

/** Runs one command line and leaves the exit code in `process.exitCode`: 0, 1 failure, 64 wrong command line, 65 bad input. */
export async function runCli(argv: readonly string[]): Promise<void> {
  // `mizzen get vs | head -1`: who reads has left, and there is nothing to say about it.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.ok);
  });
  try {
    await createProgram(systemContext()).parseAsync(isVersionAsked(argv) ? ['version'] : argv, { from: 'user' });
  } catch (thrown) {
    process.exitCode = exitCodeOf(thrown);
  }
}

// Not an option of the program, because `mizzen run` has a --version of its own.
function isVersionAsked(argv: readonly string[]): boolean {
  return argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V');
}

function exitCodeOf(thrown: unknown): number {
  if (thrown instanceof ExitWith) return thrown.exitCode;
  // commander has already written its message; help and version come as "errors" of code 0.
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? EXIT.ok : EXIT.usage;
  process.stderr.write(`mizzen: ${errorMessage(thrown)}\n`);
  if (!isMizzenError(thrown)) {
    process.stderr.write(`${(thrown as Error).stack}\n`);
    return EXIT.failure;
  }
  if (thrown.code === 'MIZZEN_SETTINGS') return EXIT.usage;
  return thrown.code === 'MIZZEN_RESOURCE' && thrown.details['isBadInput'] === true ? EXIT.badInput : EXIT.failure;
}

if (import.meta.main) await runCli(process.argv.slice(2));
