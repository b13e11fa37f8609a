import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

export const root: string = path.resolve(import.meta.dirname, '../..');

export interface Project {
  readonly name: string;
  /** Relative to the root: `libs/core`. */
  readonly folder: string;
  readonly layer: number;
  readonly scope: string;
  readonly dependencies: ReadonlySet<string>;
}

/** Every project of the workspace, from its package.json. */
export function projects(): readonly Project[] {
  const folders = ['apps', 'apps/bookinfo', 'libs'].flatMap((parent) =>
    readdirSync(path.join(root, parent))
      .map((name) => `${parent}/${name}`)
      .filter((folder) => existsSync(path.join(root, folder, 'package.json'))),
  );
  return folders.map(readProject).sort((a, b) => a.folder.localeCompare(b.folder));
}

function readProject(folder: string): Project {
  const manifest = JSON.parse(readFileSync(path.join(root, folder, 'package.json'), 'utf8'));
  const tags: readonly string[] = manifest.nx?.tags ?? [];
  const tag = (prefix: string): string => tags.find((candidate) => candidate.startsWith(prefix))?.slice(prefix.length) ?? '';
  return {
    name: manifest.name,
    folder,
    layer: tag('layer:') === '' ? Number.NaN : Number(tag('layer:')),
    scope: tag('scope:'),
    dependencies: new Set([...Object.keys(manifest.dependencies ?? {}), ...Object.keys(manifest.devDependencies ?? {})]),
  };
}

/** Files below a folder of the root, generated and installed ones aside. */
export function filesBelow(folder: string, ending: string): readonly string[] {
  return readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'))
    .filter((file) => !/(^|\/)(node_modules|generated)\//.test(file))
    .sort();
}

export function readText(file: string): string {
  return readFileSync(path.join(root, file), 'utf8');
}
