import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { isProcessAlive } from './alive.ts';
import { ALL_ENTRIES } from './apps.ts';
import { hashInputs } from './inputs.ts';

/** A folder with one self-contained module per app, all made from the same sources. */
export interface Bundles {
  readonly directory: string;
  /** True when they were made by this call. */
  readonly isNew: boolean;
}

type Esbuild = typeof import('esbuild');
type Plugin = import('esbuild').Plugin;
type BuildOptions = import('esbuild').BuildOptions;

// esbuild's own `require` for CommonJS dependencies throws on Node's modules in an ES module; this is the real one.
const BANNER =
  "import { createRequire as __mizzenCreateRequire } from 'node:module'; const require = __mizzenCreateRequire(import.meta.url);";
// An ES import of node:http evaluates every getter of the module, WebSocket's among them, which loads all of undici: 13 MB in each process
// that a `require` does not cost.
const HTTP_BY_REQUIRE: Plugin = {
  name: 'http-by-require',
  setup(build) {
    build.onResolve({ filter: /^(node:)?http$/ }, ({ path, kind }) =>
      kind === 'require-call' ? { path, external: true } : { path, namespace: 'by-require' },
    );
    build.onLoad({ filter: /.*/, namespace: 'by-require' }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)});`,
    }));
  },
};
/**
 * What few processes need, and only when it is asked for (`import()`): a module of its own beside theirs. In one module with an app, the
 * Kubernetes client's 3 MB of text cost a process 12 to 17 MB that runs none of it.
 */
export const LOADED_LATER = { name: 'kubernetes-client', entry: 'libs/kube/src/kubernetes-client.ts' } as const;
const LEAVE_FOR_LATER: Plugin = {
  name: 'leave-for-later',
  setup(build) {
    build.onResolve({ filter: new RegExp(`/${LOADED_LATER.name}\\.ts$`) }, ({ kind }) =>
      kind === 'dynamic-import' ? { path: `./${LOADED_LATER.name}.mjs`, external: true } : undefined,
    );
  },
};
/** How an app becomes one module, for the local home and for the images. */
export const BUNDLE_OPTIONS: BuildOptions = {
  outExtension: { '.js': '.mjs' },
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node24',
  // V8 keeps the text for as long as the process lives, and at two bytes a letter where one letter is not Latin-1. Names stay as they are.
  minifyWhitespace: true,
  minifySyntax: true,
  lineLimit: 200,
  banner: { js: BANNER },
  // The CLI asks for esbuild itself, from the workspace; Node's addons cannot be part of a module, and koffi finds its own beside its files.
  external: ['esbuild', 'koffi', '*.node'],
  plugins: [HTTP_BY_REQUIRE, LEAVE_FOR_LATER],
};
const KEPT_FOLDERS = 3;
const ABANDONED_AFTER_MS = 10 * 60_000;

/**
 * Makes the bundles of all apps unless those of the same sources exist, and returns their folder; undefined where esbuild is not installed
 * (the sources run then). Two first calls at once are safe: each builds aside, the first to finish wins.
 */
export async function ensureBundles(workspace: string, cache: string = bundleCache(workspace)): Promise<Bundles | undefined> {
  const directory = join(cache, hashInputs(workspace));
  if (existsSync(directory)) {
    const now = new Date();
    utimesSync(directory, now, now);
    return { directory, isNew: false };
  }
  const esbuild = loadEsbuild(workspace);
  if (!esbuild) return undefined;
  await build({ esbuild, workspace, cache, directory });
  removeOldBundles(cache, directory);
  return { directory, isNew: true };
}

/** Where bundles are kept: in the workspace and not in a home, since they depend on the sources alone. */
export function bundleCache(workspace: string): string {
  return process.env['MIZZEN_BUNDLE_CACHE'] || join(workspace, '.mizzen', 'bundles');
}

/** V8's compiled code of the bundles, kept by Node beside them: halves the start of a process. Source: Node's module.enableCompileCache. */
export function compileCache(directory: string): string {
  return join(directory, 'compile-cache');
}

export function bundleFile(directory: string, app: string): string {
  return join(directory, `${app}.mjs`);
}

/** Says that this process will start children from the folder for as long as it lives, so that no newer build removes it. */
export function holdBundles(directory: string): void {
  writeFileSync(join(directory, `${HOLDER_PREFIX}${process.pid}`), '');
}

const HOLDER_PREFIX = 'held-by-';

function loadEsbuild(workspace: string): Esbuild | undefined {
  try {
    return createRequire(join(workspace, 'package.json'))('esbuild') as Esbuild;
  } catch {
    return undefined;
  }
}

async function build(options: { esbuild: Esbuild; workspace: string; cache: string; directory: string }): Promise<void> {
  const { esbuild, workspace, cache, directory } = options;
  mkdirSync(cache, { recursive: true });
  generateMessages(workspace);
  const staging = mkdtempSync(join(cache, 'building-'));
  try {
    const entries = [...ALL_ENTRIES, LOADED_LATER].filter(({ entry }) => existsSync(join(workspace, entry)));
    await esbuild.build({
      ...BUNDLE_OPTIONS,
      absWorkingDir: workspace,
      entryPoints: Object.fromEntries(entries.map(({ name, entry }) => [name, entry])),
      outdir: staging,
      logLevel: 'silent',
    });
    renameSync(staging, directory);
  } catch (thrown) {
    rmSync(staging, { recursive: true, force: true });
    if (!existsSync(directory)) throw new Error(describeBuildFailure(thrown), { cause: thrown });
  }
}

// Generated code is not committed; the generator does nothing where its output is there.
function generateMessages(workspace: string): void {
  const generator = join(workspace, 'tools/generate/protos.cjs');
  if (!existsSync(generator)) return;
  const { status } = spawnSync(process.execPath, [generator, '--quiet'], { cwd: workspace, stdio: ['ignore', 'ignore', 'inherit'] });
  if (status !== 0) throw new Error('the xDS messages could not be generated; see above');
}

interface BuildMessage {
  readonly text: string;
  readonly location: { readonly file: string; readonly line: number } | null;
}

function describeBuildFailure(thrown: unknown): string {
  const errors = (thrown as { errors?: readonly BuildMessage[] }).errors;
  if (!errors || errors.length === 0) return `cannot bundle the apps: ${(thrown as Error).message}`;
  const lines = errors.map(({ text, location }) => (location ? `${location.file}:${location.line}: ${text}` : text));
  return `cannot bundle the apps; correct the sources or run them with --dev:\n${lines.join('\n')}`;
}

/** Keeps the newest few (branches are switched to and fro) and whatever a running supervisor restarts its processes from. */
function removeOldBundles(cache: string, newest: string): void {
  const folders = readdirSync(cache)
    .map((name) => join(cache, name))
    .filter((folder) => folder !== newest)
    .map((folder) => ({ folder, usedAt: modifiedAt(folder) }))
    .sort((a, b) => b.usedAt - a.usedAt);
  let kept = 1;
  for (const { folder, usedAt } of folders) {
    const isBuilding = folder.includes('building-');
    if (isBuilding ? Date.now() - usedAt < ABANDONED_AFTER_MS : isHeld(folder) || ++kept <= KEPT_FOLDERS) continue;
    rmSync(folder, { recursive: true, force: true });
  }
}

// Another process may remove the same folders at the same time.
function modifiedAt(folder: string): number {
  return statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function isHeld(folder: string): boolean {
  try {
    return readdirSync(folder).some((file) => file.startsWith(HOLDER_PREFIX) && isProcessAlive(Number(file.slice(HOLDER_PREFIX.length))));
  } catch {
    return false;
  }
}
