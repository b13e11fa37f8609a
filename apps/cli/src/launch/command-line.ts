import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ALL_ENTRIES } from './apps.ts';
import { type Bundles, bundleFile, compileCache } from './bundles.ts';

/** What Node is given for one app. */
export interface CommandLine {
  readonly nodeFlags: readonly string[];
  readonly module: string;
  readonly env: Readonly<Record<string, string>>;
}

/** The root of the clone. main.ts, which is never bundled, knows it by its own place and tells the command in MIZZEN_WORKSPACE. */
export function workspaceRoot(): string {
  return process.env['MIZZEN_WORKSPACE'] || fileURLToPath(new URL('../../../..', import.meta.url)).replace(/\/$/, '');
}

/** How to run `app`: its bundle, or without bundles its sources. Throws when the app is not there at all. */
export function commandLineOf(app: string, workspace: string, bundles: Bundles | undefined): CommandLine {
  const entry = ALL_ENTRIES.find(({ name }) => name === app);
  const module = bundles ? bundleFile(bundles.directory, app) : join(workspace, entry?.entry ?? app);
  if (!entry || !existsSync(module)) throw new Error(`there is no ${app} in this clone (${module} does not exist)`);
  return { nodeFlags: entry.nodeFlags ?? [], module, env: bundles ? { NODE_COMPILE_CACHE: compileCache(bundles.directory) } : {} };
}
