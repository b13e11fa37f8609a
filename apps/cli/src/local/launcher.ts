import { join } from 'node:path';
import type { CommandLine } from '../launch/command-line.ts';
import { meshEnvironment } from './environment.ts';
import type { Launch } from './managed-process.ts';

/** How to start one of the apps as a process that ends with the one that started it. */
export type Launcher = (app: string, flags: readonly (string | number)[], env?: Readonly<Record<string, string>>) => Launch;

// Of node:sqlite and the like, which are used on purpose.
const QUIET = '--disable-warning=ExperimentalWarning';
// Not part of a bundle: Node loads it before the process's own module.
const EXIT_WITH_PARENT = 'apps/cli/src/local/exit-with-parent.mjs';

export function createLauncher(options: {
  workspace: string;
  env: NodeJS.ProcessEnv;
  commandLineOf: (app: string) => CommandLine;
}): Launcher {
  return (app, flags, env = {}) => {
    const line = options.commandLineOf(app);
    return {
      command: process.execPath,
      arguments: [QUIET, ...line.nodeFlags, '--import', join(options.workspace, EXIT_WITH_PARENT), line.module, ...flags.map(String)],
      env: { ...meshEnvironment(options.env), ...line.env, ...env },
    };
  };
}
