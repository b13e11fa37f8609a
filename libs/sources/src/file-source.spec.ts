import { mkdir, readFile, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { formatDiagnostic, silentLogger, systemClock } from '@mizzen/core';
import { createFileSource, type FileSourceOptions } from './file-source.ts';
import type { ConfigSource, SourceSnapshot } from './source.ts';
import { temporaryDirectory } from './temporary-directory.ts';

const started: ConfigSource[] = [];
afterEach(async () => {
  for (const source of started.splice(0)) await source.close();
});

async function startSource(directory: string, options: Partial<FileSourceOptions> = {}): Promise<ConfigSource> {
  const source = createFileSource({ directory, clock: systemClock, logger: silentLogger, rescanMs: 60_000, ...options });
  started.push(source);
  await source.start();
  return source;
}

function rule(name: string, extra = ''): string {
  return `apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: ${name}}\nspec:\n  host: ${name}\n${extra}`;
}

function names({ resources }: SourceSnapshot): string[] {
  return resources.map(({ metadata }) => metadata.name);
}

const after =
  (revision: number) =>
  (snapshot: SourceSnapshot): boolean =>
    snapshot.revision > revision;

describe('createFileSource', () => {
  it('makes the directory, is synced with nothing, and finds what is written into a new folder', async () => {
    await using directory = await temporaryDirectory();
    const source = await startSource(join(directory.path, 'config'));
    expect(source.synced.value).toBe(true);
    expect(source.snapshot.value).toMatchObject({ resources: [], diagnostics: [], revision: 1 });

    await mkdir(join(directory.path, 'config', 'deep', 'er'), { recursive: true });
    await writeFile(join(directory.path, 'config', 'deep', 'er', 'a.yml'), rule('a'));
    const snapshot = await source.snapshot.until((value) => value.resources.length === 1);
    expect(snapshot.changes).toMatchObject([{ type: 'upsert', resource: { metadata: { name: 'a' } } }]);
  });

  it('reads every document of every file and leaves out hidden and other files', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'two.yaml'), `${rule('b')}---\n${rule('a')}`);
    await writeFile(
      join(directory.path, 'one.json'),
      JSON.stringify({ apiVersion: 'networking.istio.io/v1', kind: 'DestinationRule', metadata: { name: 'c' }, spec: { host: 'c' } }),
    );
    await writeFile(join(directory.path, '.hidden.yaml'), rule('hidden'));
    await writeFile(join(directory.path, 'notes.txt'), rule('notes'));
    const { snapshot } = await startSource(directory.path);
    expect(names(snapshot.value)).toEqual(['a', 'b', 'c']);
    expect(Object.isFrozen(snapshot.value)).toBe(true);
  });

  it('does not read a file that is too large, and goes on with what it gave before', async () => {
    await using directory = await temporaryDirectory();
    const file = join(directory.path, 'a.yaml');
    await writeFile(file, rule('a'));
    const { snapshot } = await startSource(directory.path);
    await truncate(file, 3 * 1024 ** 3);
    const { resources, diagnostics } = await snapshot.until(after(1));
    expect(resources.map(({ metadata }) => metadata.name)).toEqual(['a']);
    expect(diagnostics).toMatchObject([{ code: 'file-unreadable', position: { file, line: 1 } }]);
    expect(diagnostics[0]?.message).toContain('larger than 16 MiB');
  });

  it('follows changes, replacements by rename, and deletions', async () => {
    await using directory = await temporaryDirectory();
    const file = join(directory.path, 'a.yaml');
    await writeFile(file, rule('a'));
    const { snapshot } = await startSource(directory.path);
    const first = snapshot.value.resources[0];

    await writeFile(file, rule('a', '  exportTo: [.]\n'));
    const second = (await snapshot.until(after(1))).resources[0];
    expect(second?.metadata).toMatchObject({ generation: 2, creationTimestamp: first?.metadata.creationTimestamp });

    await writeFile(`${file}.new`, rule('a', '  exportTo: ["*"]\n'));
    await rename(`${file}.new`, file);
    const third = await snapshot.until(({ resources }) => resources[0]?.metadata.generation === 3);
    expect(third.resources[0]?.spec).toMatchObject({ exportTo: ['*'] });

    await rm(file);
    const last = await snapshot.until(({ resources }) => resources.length === 0);
    expect(last.changes).toEqual([{ type: 'delete', ref: { kind: 'DestinationRule', namespace: 'default', name: 'a' } }]);
  });

  it('keeps an untouched resource the same object, in the changed file too', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'a.yaml'), `${rule('a')}---\n${rule('b')}`);
    await writeFile(join(directory.path, 'c.yaml'), rule('c'));
    const { snapshot } = await startSource(directory.path);
    const [a, b, c] = snapshot.value.resources;

    await writeFile(join(directory.path, 'a.yaml'), `${rule('a')}---\n${rule('b', '  exportTo: [.]\n')}`);
    const { resources, changes } = await snapshot.until(after(1));
    expect([resources[0] === a, resources[1] === b, resources[2] === c]).toEqual([true, false, true]);
    expect(changes).toHaveLength(1);
  });

  it('keeps the last valid version of a document that became invalid, and everything else of its file', async () => {
    await using directory = await temporaryDirectory();
    const file = join(directory.path, 'a.yaml');
    await writeFile(file, `${rule('a')}---\n${rule('b')}---\n${rule('gone')}`);
    const { snapshot } = await startSource(directory.path);

    await writeFile(file, `${rule('a', '  hoost: x\n')}---\n${rule('b', '  exportTo: [.]\n')}`);
    const broken = await snapshot.until(after(1));
    expect(names(broken)).toEqual(['a', 'b']);
    expect(broken.resources[0]?.spec).toEqual({ host: 'a' });
    expect(broken.resources[1]?.spec).toEqual({ host: 'b', exportTo: ['.'] });
    expect(broken.diagnostics.map(formatDiagnostic)).toEqual([
      `error ${file}:6 DestinationRule default/a spec.hoost: there is no field "hoost" here; did you mean "host"? [unknown-field]`,
    ]);

    await writeFile(file, rule('a', '  exportTo: [.]\n'));
    const repaired = await snapshot.until(after(broken.revision));
    expect(repaired.diagnostics).toEqual([]);
    expect(names(repaired)).toEqual(['a']);
    expect(repaired.resources[0]?.metadata.generation).toBe(2);
  });

  it('keeps everything that a file gave when its YAML breaks', async () => {
    await using directory = await temporaryDirectory();
    const file = join(directory.path, 'a.yaml');
    await writeFile(file, `${rule('a')}---\n${rule('b')}`);
    const { snapshot } = await startSource(directory.path);
    await writeFile(file, `${rule('a', '  exportTo: [.]\n')}---\nkind: [\n`);
    const broken = await snapshot.until(after(1));
    expect(names(broken)).toEqual(['a', 'b']);
    expect(broken.resources[0]?.metadata.generation).toBe(2);
    expect(broken.diagnostics).toMatchObject([{ code: 'yaml-syntax', position: { file, line: expect.any(Number) } }]);
  });

  it('says nothing of its own of a file that was broken from the beginning but keeps the others', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'bad.yaml'), 'a: [\n');
    await writeFile(join(directory.path, 'good.yaml'), rule('good'));
    const { snapshot } = await startSource(directory.path);
    expect(names(snapshot.value)).toEqual(['good']);
    expect(snapshot.value.diagnostics).toMatchObject([
      { code: 'yaml-syntax', position: { file: join(directory.path, 'bad.yaml'), line: 2 } },
    ]);
  });

  it('leaves the first of two equal names in force, by path, and the second when the first goes', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'b.yaml'), rule('x', '  exportTo: [b]\n'));
    await writeFile(join(directory.path, 'a.yaml'), `${rule('x', '  exportTo: [a]\n')}---\n${rule('x')}`);
    const { snapshot } = await startSource(directory.path);
    expect(snapshot.value.resources[0]?.spec).toMatchObject({ exportTo: ['a'] });
    expect(snapshot.value.diagnostics.map(({ code, position }) => [code, position?.file, position?.line])).toEqual([
      ['duplicate-resource', join(directory.path, 'a.yaml'), 8],
      ['duplicate-resource', join(directory.path, 'b.yaml'), 1],
    ]);
    await rm(join(directory.path, 'a.yaml'));
    const { resources, diagnostics } = await snapshot.until(after(1));
    expect(resources[0]?.spec).toMatchObject({ exportTo: ['b'] });
    expect(diagnostics).toEqual([]);
  });

  it('keeps everything while an editor has emptied a file, and believes a file that stays empty', async () => {
    await using directory = await temporaryDirectory();
    const file = join(directory.path, 'a.yaml');
    await writeFile(file, rule('a'));
    const { snapshot } = await startSource(directory.path);
    const seen: number[] = [];
    snapshot.watch(({ resources }) => seen.push(resources.length));
    await writeFile(file, '');
    await snapshot.until(({ resources }) => resources.length === 0);
    expect(seen).toEqual([0]);
    await writeFile(file, rule('b'));
    await snapshot.until((value) => names(value)[0] === 'b');
  });

  it('finds changes by looking where the operating system does not tell', async () => {
    await using directory = await temporaryDirectory();
    const config = join(directory.path, 'config');
    await mkdir(config);
    await writeFile(join(config, 'a.yaml'), rule('a'));
    const { snapshot } = await startSource(config, { rescanMs: 20 });
    // The watched directory is replaced by another of its name.
    await rename(config, join(directory.path, 'old'));
    await mkdir(config);
    await writeFile(join(config, 'b.yaml'), rule('b'));
    await snapshot.until((value) => names(value)[0] === 'b' && value.resources.length === 1);
  });

  it('keeps everything in force while the directory is gone', async () => {
    await using directory = await temporaryDirectory();
    const config = join(directory.path, 'config');
    await mkdir(config);
    await writeFile(join(config, 'a.yaml'), rule('a'));
    const { snapshot } = await startSource(config, { rescanMs: 10 });
    const counts: number[] = [];
    snapshot.watch(({ resources }) => counts.push(resources.length));
    await rename(config, join(directory.path, 'old'));
    await mkdir(join(directory.path, 'new'));
    await writeFile(join(directory.path, 'new', 'a.yaml'), `${rule('a')}---\n${rule('b')}`);
    await rename(join(directory.path, 'new'), config);
    await snapshot.until(({ resources }) => resources.length === 2);
    expect(counts).toEqual([2]);
  });

  it('takes the age of resources from their files at the start', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'old.yaml'), rule('z'));
    await utimes(join(directory.path, 'old.yaml'), new Date('2020-01-01'), new Date('2020-01-01'));
    await writeFile(join(directory.path, 'young.yaml'), rule('a'));
    const { snapshot } = await startSource(directory.path);
    const [young, old] = snapshot.value.resources;
    expect(old?.metadata.creationTimestamp).toBe('2020-01-01T00:00:00.000Z');
    expect(Date.parse(young!.metadata.creationTimestamp)).toBeGreaterThan(Date.parse('2024-01-01'));
  });

  it('does not parse again what did not change', async () => {
    await using directory = await temporaryDirectory();
    const large = join(directory.path, 'large.yaml');
    await writeFile(large, Array.from({ length: 1000 }, (_, index) => rule(`r${index}`)).join('---\n'));
    await writeFile(join(directory.path, 'small.yaml'), rule('small'));
    const { snapshot } = await startSource(directory.path);
    expect(snapshot.value.resources).toHaveLength(1001);
    const before = snapshot.value.resources.filter(({ metadata }) => metadata.name !== 'small');
    await writeFile(join(directory.path, 'small.yaml'), rule('small', '  exportTo: [.]\n'));
    const { resources, changes } = await snapshot.until(after(1));
    expect(changes).toHaveLength(1);
    expect(before.every((resource) => resources.includes(resource))).toBe(true);
    expect(await readFile(large, 'utf8')).toContain('r999');
  });

  it('refuses a directory that is a file, saying so', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'file'), '');
    const source = createFileSource({ directory: join(directory.path, 'file'), clock: systemClock, logger: silentLogger });
    await expect(source.start()).rejects.toMatchObject({ code: 'MIZZEN_CONFIG_DIR', message: expect.stringContaining('is a file') });
  });

  it('changes nothing after it was closed', async () => {
    await using directory = await temporaryDirectory();
    const source = await startSource(directory.path);
    const other = await startSource(directory.path);
    await source.close();
    await writeFile(join(directory.path, 'a.yaml'), rule('a'));
    await other.snapshot.until(({ resources }) => resources.length === 1);
    expect(source.snapshot.value.resources).toEqual([]);
  });
});
