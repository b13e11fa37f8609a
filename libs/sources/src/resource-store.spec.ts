import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { parseResource, parseYaml, type Resource } from '@mizzen/mesh-api';
import { createResourceStore } from './resource-store.ts';
import { temporaryDirectory } from './temporary-directory.ts';

function resources(text: string): Resource[] {
  return parseYaml(text, 'given.yaml').documents.map((document) => parseResource(document).resource!);
}

function rule(name: string, exportTo = '.', namespace = 'default'): string {
  return `apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: ${name}\n  namespace: ${namespace}\nspec:\n  host: ${name}\n  exportTo:\n    - ${exportTo}\n`;
}

const ref = (name: string) => ({ kind: 'DestinationRule', namespace: 'default', name });

describe('createResourceStore', () => {
  it('creates, configures and leaves unchanged, as kubectl says', async () => {
    await using directory = await temporaryDirectory();
    const store = createResourceStore({ directory: directory.path });
    const results = async (text: string) => (await store.apply(resources(text))).map(({ ref: { name }, result }) => `${name} ${result}`);

    expect(await results(`${rule('a')}---\n${rule('b', '.', 'shop')}`)).toEqual(['a created', 'b created']);
    expect(await readFile(join(directory.path, 'default', 'destinationrule-a.yaml'), 'utf8')).toBe(rule('a'));
    expect(await readdir(join(directory.path, 'shop'))).toEqual(['destinationrule-b.yaml']);
    expect(await results(`${rule('a')}---\n${rule('b', 'a', 'shop')}`)).toEqual(['a unchanged', 'b configured']);
    expect((await store.get({ ...ref('b'), namespace: 'shop' }))?.spec).toEqual({ host: 'b', exportTo: ['a'] });
    expect((await store.list()).map(({ metadata }) => metadata.name)).toEqual(['a', 'b']);
    expect(await store.list('DestinationRule', 'shop')).toHaveLength(1);
    expect(await store.list('Gateway')).toEqual([]);
  });

  it('replaces a document inside the file that holds it and touches nothing around it', async () => {
    await using directory = await temporaryDirectory();
    const file = join(directory.path, 'sub', 'mine.yaml');
    await mkdir(dirname(file));
    await writeFile(
      file,
      `# the first\n${rule('a')}---\n# the second\n${rule('b')}---\n# a broken one\nkind:   [\n---\n# the last   \n${rule('c')}`,
    );
    const store = createResourceStore({ directory: directory.path });
    expect(await store.apply(resources(`${rule('b', 'x')}---\n${rule('c', 'x')}`))).toMatchObject([
      { result: 'configured' },
      { result: 'configured' },
    ]);
    expect(await readFile(file, 'utf8')).toBe(
      `# the first\n${rule('a')}---\n${rule('b', 'x')}---\n# a broken one\nkind:   [\n---\n${rule('c', 'x')}`,
    );
  });

  it('replaces an item of a list', async () => {
    await using directory = await temporaryDirectory();
    const file = join(directory.path, 'list.yaml');
    const item = (name: string): string => `- ${rule(name).trimEnd().replaceAll('\n', '\n  ')}\n`;
    await writeFile(file, `# all of it\nkind: List\napiVersion: v1\nitems:\n${item('a')}${item('b')}`);
    const store = createResourceStore({ directory: directory.path });
    await store.apply(resources(rule('b', 'x')));
    expect((await store.list()).map(({ spec }) => spec)).toEqual([
      { host: 'a', exportTo: ['.'] },
      { host: 'b', exportTo: ['x'] },
    ]);
    expect(await readFile(file, 'utf8')).toContain('# all of it');
    expect(await store.delete(ref('a'))).toBe(true);
    expect((await store.list()).map(({ metadata }) => metadata.name)).toEqual(['b']);
  });

  it('deletes a document, and the file with the last one', async () => {
    await using directory = await temporaryDirectory();
    const file = join(directory.path, 'two.yaml');
    await writeFile(file, `# about a\n${rule('a')}---\n${rule('b')}`);
    const store = createResourceStore({ directory: directory.path });
    expect(await store.delete(ref('a'))).toBe(true);
    expect(await readFile(file, 'utf8')).toContain(rule('b'));
    expect((await store.list()).map(({ metadata }) => metadata.name)).toEqual(['b']);
    expect(await store.delete(ref('a'))).toBe(false);
    expect(await store.delete(ref('b'))).toBe(true);
    expect(await readdir(directory.path)).toEqual([]);
  });

  it('writes nothing where one of the resources is invalid', async () => {
    await using directory = await temporaryDirectory();
    const store = createResourceStore({ directory: directory.path });
    const [good, bad] = resources(`${rule('a')}---\n${rule('b')}`);
    const invalid = { ...bad!, spec: { host: '' } } as Resource;
    await expect(store.apply([good!, invalid])).rejects.toMatchObject({
      code: 'MIZZEN_RESOURCE',
      message: expect.stringContaining('spec.host: must not be empty'),
    });
    expect(await readdir(directory.path)).toEqual([]);
  });

  it('takes the place of an invalid version of the same resource', async () => {
    await using directory = await temporaryDirectory();
    const file = join(directory.path, 'default', 'destinationrule-a.yaml');
    await mkdir(dirname(file));
    await writeFile(file, rule('a').replace('host: a', 'hoost: a'));
    const store = createResourceStore({ directory: directory.path });
    expect(await store.apply(resources(rule('a')))).toMatchObject([{ result: 'created' }]);
    expect(await readFile(file, 'utf8')).toBe(rule('a'));
  });

  it('finds nothing in a directory that does not exist, and makes it when it writes', async () => {
    await using directory = await temporaryDirectory();
    const store = createResourceStore({ directory: join(directory.path, 'later') });
    expect(await store.list()).toEqual([]);
    expect(await store.delete(ref('a'))).toBe(false);
    expect(await store.apply(resources(rule('a')))).toHaveLength(1);
  });

  it('says which directory cannot be written', async () => {
    await using directory = await temporaryDirectory();
    const file = join(directory.path, 'file');
    await writeFile(file, '');
    await expect(createResourceStore({ directory: file }).apply(resources(rule('a')))).rejects.toMatchObject({ code: 'MIZZEN_CONFIG_DIR' });
  });
});
