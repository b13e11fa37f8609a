import { createHash } from 'node:crypto';
import { chmodSync, cpSync, existsSync, lutimesSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { root } from '../check/workspace.ts';
import type { AppBundle } from './bundle.ts';
import type { ImageDefinition } from './catalog.ts';
import { licenseTexts, packagesOf, type UsedPackage } from './packages.ts';

/** What an image is built from: a folder with the Dockerfile and with app/, which becomes /app. */
export interface BuildContext {
  readonly folder: string;
  readonly packages: readonly UsedPackage[];
  /** Of every byte of the context. The same sources make the same hash on every machine. */
  readonly hash: string;
}

const DOCKERFILE = 'deploy/images/Dockerfile';
const HEALTH_CHECK = 'deploy/images/health.mjs';

export interface ContextOptions {
  /** Where contexts are laid out, each in a folder of its own. */
  readonly folder: string;
  /** Time of every file in it (SOURCE_DATE_EPOCH). */
  readonly epochS: number;
}

/** Lays the context of one image out. */
export function prepareContext(image: ImageDefinition, bundle: AppBundle, { folder: parent, epochS }: ContextOptions): BuildContext {
  const folder = path.join(parent, image.name);
  const app = path.join(folder, 'app');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(app, { recursive: true });
  writeFileSync(path.join(app, 'main.mjs'), bundle.code);
  for (const [name, code] of Object.entries(bundle.later ?? {})) writeFileSync(path.join(app, name), code);
  if (image.healthUrl !== '') cpSync(path.join(root, HEALTH_CHECK), path.join(app, 'health.mjs'));
  for (const [name, from] of Object.entries(image.folders ?? {})) cpSync(path.join(root, from), path.join(app, name), { recursive: true });
  const native = (image.nativePackages ?? []).flatMap((name) => copyNativePackage(name, app));
  const packages = packagesOf([...bundle.inputs, ...native]);
  writeFileSync(path.join(app, 'LICENSES.txt'), licenseTexts(packages));
  writeFileSync(path.join(folder, 'Dockerfile'), stagesOf(readFileSync(path.join(root, DOCKERFILE), 'utf8'), image.target));
  normalize(folder, epochS);
  return { folder, packages, hash: hashFolder(folder) };
}

/**
 * A Dockerfile without the stages that a target is not made of: the classic builder builds every stage before the target, and leaves an
 * image without a name for each that nothing comes from. Its stages are paragraphs.
 */
export function stagesOf(dockerfile: string, target: string): string {
  const paragraphs = dockerfile.split(/\n{2,}/).map((text) => {
    const [, from, stage] = /^FROM (\S+) AS (\S+)$/m.exec(text) ?? [];
    return { text, from, stage };
  });
  const needed = new Set<string>();
  for (let stage: string | undefined = target; stage !== undefined; stage = paragraphs.find((each) => each.stage === stage)?.from) {
    needed.add(stage);
  }
  const kept = paragraphs.filter(({ stage }) => stage === undefined || needed.has(stage));
  return `${kept.map(({ text }) => text.trimEnd()).join('\n\n')}\n`;
}

/** Copies what runs of a package and of its prebuilt binaries for glibc; returns the copied packages' manifests in the workspace. */
function copyNativePackage(name: string, app: string): readonly string[] {
  const require = createRequire(path.join(root, 'libs/proxy/package.json'));
  const main = packageFolder(require.resolve(name));
  const manifest = JSON.parse(readFileSync(path.join(main, 'package.json'), 'utf8')) as { optionalDependencies?: Record<string, string> };
  const binaries = Object.keys(manifest.optionalDependencies ?? {})
    .map((dependency) => path.join(main.slice(0, -name.length), dependency))
    .filter((folder) => existsSync(folder));
  if (binaries.length === 0) throw new Error(`${name} has no binary for this machine in node_modules; install with optional dependencies`);
  return [main, ...binaries].map((folder) => {
    const relative = path.relative(root, folder);
    cpSync(folder, path.join(app, relative), { recursive: true, filter: (file) => isNeededAtRunTime(path.relative(folder, file)) });
    return path.join(relative, 'package.json');
  });
}

function packageFolder(file: string): string {
  let folder = path.dirname(file);
  while (!existsSync(path.join(folder, 'package.json'))) folder = path.dirname(folder);
  return folder;
}

// Not the sources of the addon, nor its build for musl, which the base image has not.
function isNeededAtRunTime(file: string): boolean {
  const isFolder = !path.basename(file).includes('.');
  return isFolder ? !/^(doc|vendor|lib)$|(^|\/)(musl_|abi$)/.test(file) : /(\.(js|cjs|mjs|node)|package\.json|^LICENSE\.txt)$/.test(file);
}

/** Modes and times that do not depend on who prepares the context, and when. */
function normalize(folder: string, epochS: number): void {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    const file = path.join(entry.parentPath, entry.name);
    chmodSync(file, entry.isDirectory() || path.basename(entry.parentPath) === 'bin' ? 0o755 : 0o644);
    lutimesSync(file, epochS, epochS);
  }
}

function hashFolder(folder: string): string {
  const hash = createHash('sha256');
  const files = readdirSync(folder, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile());
  for (const file of files.map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name))).sort()) {
    hash
      .update(file)
      .update('\0')
      .update(readFileSync(path.join(folder, file)))
      .update('\0');
  }
  return hash.digest('hex');
}
