import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Home } from '../home.ts';

type SeedName = 'mesh' | 'bookinfo';

/**
 * Copies the local home's first configuration into the home: each part once in the home's life, so that what the user deletes stays deleted.
 * A file that is already there is left alone. Returns the parts that were copied now.
 */
export function seedHome(home: Home, options: { workspace: string; withBookinfo: boolean }): SeedName[] {
  const record = join(home.root, '.seeded');
  const done = new Set(existsSync(record) ? readFileSync(record, 'utf8').split('\n') : []);
  const wanted: SeedName[] = options.withBookinfo ? ['mesh', 'bookinfo'] : ['mesh'];
  const seeded = wanted.filter((name) => !done.has(name));
  for (const name of seeded) {
    for (const [from, to] of filesOf(name, home, options.workspace)) copyOnce(from, to);
  }
  if (seeded.length > 0) writeFileSync(record, `${[...done, ...seeded].filter((name) => name !== '').join('\n')}\n`);
  return seeded;
}

function filesOf(name: SeedName, home: Home, workspace: string): [from: string, to: string][] {
  const local = join(workspace, 'deploy', 'local');
  const bookinfo = join(workspace, 'deploy', 'samples', 'bookinfo');
  if (name === 'mesh') {
    return [
      [join(local, 'mesh.yaml'), home.meshConfig],
      [join(local, 'peer-authentication.yaml'), join(home.config, 'istio-system', 'peer-authentication.yaml')],
    ];
  }
  const services = readdirSync(join(bookinfo, 'services')).map((file) => join(bookinfo, 'services', file));
  const networking = ['bookinfo-gateway.yaml', 'destination-rule-all.yaml'].map((file) => join(bookinfo, 'networking', file));
  return [...services, ...networking].map((file) => [file, join(home.config, 'bookinfo', basename(file))]);
}

function copyOnce(from: string, to: string): void {
  if (existsSync(to)) return;
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
}
