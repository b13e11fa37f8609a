import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { bundleFile, ensureBundles, holdBundles } from './bundles.ts';
import { hashInputs } from './inputs.ts';

const REPOSITORY = resolve(import.meta.dirname, '../../../..');

describe('ensureBundles', () => {
  let workspace: string;
  let cache: string;

  beforeEach(() => {
    workspace = mkdtempSync(join(tmpdir(), 'mizzen-bundles-'));
    cache = join(workspace, 'cache');
    symlinkSync(join(REPOSITORY, 'node_modules'), join(workspace, 'node_modules'));
    write('package.json', '{"type":"module"}');
    write('package-lock.json', '{}');
    write('apps/ca/src/main.ts', "import { greeting } from './greeting.ts';\nconsole.log(greeting satisfies string);\n");
    write('apps/ca/src/greeting.ts', "export const greeting = 'hello';\n");
  });

  afterEach(() => rmSync(workspace, { recursive: true, force: true }));

  function write(file: string, text: string): void {
    mkdirSync(dirname(join(workspace, file)), { recursive: true });
    writeFileSync(join(workspace, file), text);
  }

  it('bundles the apps that are there, once', async () => {
    const first = await ensureBundles(workspace, cache);
    expect(first?.isNew).toBe(true);
    expect(readFileSync(bundleFile(first?.directory ?? '', 'ca'), 'utf8')).toContain('hello');
    expect(existsSync(bundleFile(first?.directory ?? '', 'telemetry'))).toBe(false);
    expect(await ensureBundles(workspace, cache)).toEqual({ directory: first?.directory, isNew: false });
  });

  it('leaves the client that reads kubeconfigs in a module beside, which is loaded when it is asked for', async () => {
    write('libs/kube/src/kubernetes-client.ts', "console.log('loaded');\nexport const KubeConfig = 'the library';\n");
    write(
      'apps/ca/src/main.ts',
      "const read = () => import('./kubernetes-client.ts');\nconsole.log('started');\nconsole.log((await read()).KubeConfig);\n",
    );
    const { directory = '' } = (await ensureBundles(workspace, cache)) ?? {};
    expect(readFileSync(bundleFile(directory, 'ca'), 'utf8')).not.toContain('the library');
    const { stdout } = spawnSync(process.execPath, [bundleFile(directory, 'ca')], { encoding: 'utf8' });
    expect(stdout.trim().split('\n')).toEqual(['started', 'loaded', 'the library']);
  });

  it('uses node:http without loading undici', async () => {
    write(
      'apps/ca/src/main.ts',
      "import { createServer } from 'node:http';\nconsole.log(typeof createServer, process.moduleLoadList.filter((name) => name.includes('undici')).length);\n",
    );
    const { directory = '' } = (await ensureBundles(workspace, cache)) ?? {};
    const { stdout } = spawnSync(process.execPath, [bundleFile(directory, 'ca')], { encoding: 'utf8' });
    expect(stdout).toBe('function 0\n');
  });

  it('is safe when two start at once', async () => {
    const [a, b] = await Promise.all([ensureBundles(workspace, cache), ensureBundles(workspace, cache)]);
    expect(a?.directory).toBe(b?.directory);
    expect(readdirSync(cache)).toEqual([hashInputs(workspace)]);
  });

  it('names file and line of a source that does not compile, and leaves nothing behind', async () => {
    write('apps/ca/src/greeting.ts', 'export const greeting = ;\n');
    await expect(ensureBundles(workspace, cache)).rejects.toThrow('apps/ca/src/greeting.ts:1');
    expect(readdirSync(cache)).toEqual([]);
  });

  it('removes old bundles, but not those that a living process restarts its children from', async () => {
    const hashes: string[] = [];
    for (let version = 0; version < 6; version++) {
      write('apps/ca/src/greeting.ts', `export const greeting = 'hello ${version}';\n`);
      const { directory = '' } = (await ensureBundles(workspace, cache)) ?? {};
      if (version === 0) holdBundles(directory);
      if (version === 1) writeFileSync(join(directory, 'held-by-999999999'), '');
      const when = new Date(Date.now() - (10 - version) * 1000);
      utimesSync(directory, when, when);
      hashes.push(directory);
    }
    expect(hashes.map((directory) => existsSync(directory))).toEqual([true, false, false, true, true, true]);
  });

  it('has a hash that follows the sources and the lock file, and not the specs', () => {
    const before = hashInputs(workspace);
    write('apps/ca/src/main.spec.ts', 'x');
    expect(hashInputs(workspace)).toBe(before);
    write('package-lock.json', '{ }');
    const afterLock = hashInputs(workspace);
    expect(afterLock).not.toBe(before);
    write('libs/core/src/new.ts', 'x');
    expect(hashInputs(workspace)).not.toBe(afterLock);
  });
});
