import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

const SOURCE_ROOTS = ['apps', 'libs'];
const SINGLE_FILES = ['package-lock.json', 'tools/generate/protos.cjs'];
// Generated code follows from the .proto files and the generator, which are inputs themselves.
const SKIPPED_FOLDERS = new Set(['node_modules', 'generated', 'testdata', 'dist', 'coverage', 'bench', 'bin', 'static']);

/**
 * Hash of everything that a bundle is made of: the sources of all apps and libraries (not their specs), the lock file and Node's version.
 * By content and not by time, so that a fresh checkout of the same commit finds its bundles again.
 */
export function hashInputs(workspace: string): string {
  const hash = createHash('sha256').update(process.version);
  for (const file of inputFiles(workspace)) {
    hash.update(relative(workspace, file)).update('\0').update(readFileSync(file)).update('\0');
  }
  return hash.digest('hex').slice(0, 16);
}

function inputFiles(workspace: string): string[] {
  const files = SINGLE_FILES.map((file) => join(workspace, file)).filter((file) => existsSync(file));
  for (const root of SOURCE_ROOTS) collect(join(workspace, root), files);
  return files.sort();
}

function collect(folder: string, files: string[]): void {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) {
      if (!SKIPPED_FOLDERS.has(entry.name)) collect(join(folder, entry.name), files);
    } else if (isInput(entry.name)) {
      files.push(join(folder, entry.name));
    }
  }
}

function isInput(name: string): boolean {
  return /\.(ts|cjs|mjs|json|proto)$/.test(name) && !name.endsWith('.spec.ts');
}
