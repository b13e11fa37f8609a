import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { readText, root } from '../check/workspace.ts';

/** An npm package that is part of an image. */
export interface UsedPackage {
  readonly name: string;
  readonly version: string;
  /** SPDX, as the lock file has it. */
  readonly license: string;
  /** Subresource integrity of the package's archive; '' for a project of this workspace. */
  readonly integrity: string;
  /** Relative to the root. */
  readonly folder: string;
}

interface LockEntry {
  readonly name?: string;
  readonly version?: string;
  readonly license?: string;
  readonly integrity?: string;
}

/** The packages that files belong to: those below node_modules and the workspace's own projects. Sorted by name and version. */
export function packagesOf(files: readonly string[]): readonly UsedPackage[] {
  const locked = JSON.parse(readText('package-lock.json')).packages as Readonly<Record<string, LockEntry>>;
  const folders = new Set(files.map((file) => folderOf(file, locked)).filter((folder) => folder !== undefined));
  return [...folders]
    .map((folder) => describe(folder, locked[folder] as LockEntry))
    .sort((a, b) => a.name.localeCompare(b.name) || a.version.localeCompare(b.version));
}

function folderOf(file: string, locked: Readonly<Record<string, LockEntry>>): string | undefined {
  for (let folder = path.posix.dirname(file); folder !== '.'; folder = path.posix.dirname(folder)) if (folder in locked) return folder;
  return undefined;
}

function describe(folder: string, { name, version, license, integrity }: LockEntry): UsedPackage {
  return {
    name: name ?? folder.slice(folder.lastIndexOf('node_modules/') + 'node_modules/'.length),
    version: version ?? '0.0.0',
    license: license ?? 'NOASSERTION',
    integrity: integrity ?? '',
    folder,
  };
}

/** The licence texts of the packages of others, as their licences ask for when copies are passed on. */
export function licenseTexts(packages: readonly UsedPackage[]): string {
  const others = packages.filter(({ folder }) => folder.includes('node_modules/'));
  return others
    .map((used) => {
      const text = licenseFiles(used.folder).map((file) => readFileSync(file, 'utf8').trim());
      return [`=== ${used.name} ${used.version} (${used.license})`, ...text].join('\n\n');
    })
    .join('\n\n\n')
    .concat('\n');
}

function licenseFiles(folder: string): readonly string[] {
  const absolute = path.join(root, folder);
  if (!existsSync(absolute)) return [];
  return readdirSync(absolute)
    .filter((name) => /^(licen[cs]e|copying|notice)(\W.*)?$/i.test(name))
    .sort()
    .map((name) => path.join(absolute, name));
}
