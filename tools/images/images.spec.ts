import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { APPS } from '../../apps/cli/src/launch/apps.ts';
import { readText, root } from '../check/workspace.ts';
import { bundleEntries } from './bundle.ts';
import { IMAGES } from './catalog.ts';
import { prepareContext, stagesOf } from './context.ts';
import type { BuildOptions, Engine } from './engine.ts';
import { buildImage } from './image.ts';
import { packagesOf } from './packages.ts';
import { createSbom } from './sbom.ts';

const scratch = mkdtempSync(path.join(tmpdir(), 'mizzen-images-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const sidecar = IMAGES.find(({ name }) => name === 'sidecar');
const reviews = IMAGES.filter(({ name }) => name.startsWith('bookinfo-reviews-'));
if (sidecar === undefined) throw new Error('there is no sidecar image');

/** An engine that remembers what it was asked to build. */
function recordingEngine(): Engine & { readonly builds: BuildOptions[]; readonly tags: Map<string, string> } {
  const builds: BuildOptions[] = [];
  const tags = new Map<string, string>();
  return {
    builds,
    tags,
    imageId: async (reference) => tags.get(reference),
    async build(options) {
      builds.push(options);
      for (const tag of options.tags) tags.set(tag, `id-${builds.length}`);
    },
    async tag(source, target) {
      tags.set(target, tags.get(source) ?? '');
    },
    systemPackages: async () => [{ name: 'libc6', version: '2.36-9+deb12u10', architecture: 'amd64' }],
  };
}

describe('the catalog', () => {
  it('has an image for each process of the mesh and each service of the sample', () => {
    const names = IMAGES.map(({ name }) => name);
    for (const { entry } of APPS) expect(names).toContain(entry.split('/')[1]);
    expect(names).toContain('cli');
    const services = readdirSync(path.join(root, 'apps/bookinfo')).filter((name) => name !== 'common' && name !== 'node_modules');
    for (const service of services) expect(names).toContain(`bookinfo-${service}-v1`);
    expect(new Set(names).size).toBe(names.length);
  });

  it('names entries that exist and targets that the Dockerfile has, with the flags that the local home gives Node', () => {
    const dockerfile = readText('deploy/images/Dockerfile');
    for (const { entry, target } of IMAGES) {
      expect(existsSync(path.join(root, entry))).toBe(true);
      expect(dockerfile).toMatch(new RegExp(`^FROM \\S+ AS ${target}$`, 'm'));
    }
    const flags = APPS.find(({ name }) => name === 'sidecar')?.nodeFlags ?? [];
    expect(dockerfile).toContain(`ENTRYPOINT ${JSON.stringify(['node', ...flags, '/app/main.mjs']).replaceAll(',', ', ')}`);
  });

  it('runs proxies as the user that iptables leaves alone, and nothing as root', () => {
    for (const { name, target, buildArgs } of IMAGES) {
      expect([name, target === 'proxy']).toEqual([name, buildArgs?.['UID'] === '1337']);
    }
    expect(readText('deploy/images/Dockerfile')).toMatch(/^ARG UID=[1-9]\d*$/m);
  });
});

describe('the Dockerfile of a context', () => {
  const dockerfile = readText('deploy/images/Dockerfile');
  const stages = (text: string): string[] => Array.from(text.matchAll(/^FROM \S+ AS (\S+)$/gm), ([, stage = '']) => stage);

  it.each([
    ['command', ['system', 'command']],
    ['service', ['system', 'command', 'service']],
    ['bookinfo', ['system', 'command', 'service', 'bookinfo']],
    ['proxy', ['system', 'command', 'service', 'proxy']],
  ])('has of the stages those that %s is made of, each as it was written', (target, expected) => {
    const text = stagesOf(dockerfile, target);
    expect(stages(text)).toEqual(expected);
    expect(text).toMatch(/^ARG BASE_IMAGE=/m);
    for (const paragraph of text.trim().split('\n\n')) expect(dockerfile).toContain(paragraph);
  });

  it('leaves out no stage that some target needs', () => {
    expect(new Set(IMAGES.flatMap(({ target }) => stages(stagesOf(dockerfile, target))))).toEqual(new Set(stages(dockerfile)));
  });
});

describe('images of Bookinfo', () => {
  it('come from one bundle, are the same for the same sources, and are not built twice', async () => {
    const bundles = await bundleEntries([...new Set(reviews.map(({ entry }) => entry))]);
    const engine = recordingEngine();
    const build = async () => {
      const built = [];
      for (const image of reviews) {
        const bundle = bundles.get(image.entry);
        if (bundle === undefined) throw new Error(`${image.entry} was not bundled`);
        built.push(
          await buildImage({
            image,
            bundle,
            engine,
            baseImage: 'node:24',
            baseId: 'sha256:1',
            version: '1.2.3',
            epochS: 0,
            folder: scratch,
          }),
        );
      }
      return built;
    };
    const first = await build();
    const second = await build();
    expect(first.map(({ isNew }) => isNew)).toEqual([true, true, true]);
    expect(second.map(({ isNew }) => isNew)).toEqual([false, false, false]);
    expect(second.map(({ tag }) => tag)).toEqual(first.map(({ tag }) => tag));
    expect(new Set(first.map(({ tag }) => tag)).size).toBe(3);
    expect(engine.builds.map(({ buildArgs }) => buildArgs['SERVICE_VERSION'])).toEqual(['v1', 'v2', 'v3']);
    expect(engine.tags.get('mizzen/bookinfo-reviews-v2:1.2.3')).toBe('id-2');
    expect(engine.tags.get('mizzen/bookinfo-reviews-v2:dev')).toBe('id-2');
  });
});

describe('an app that may be given a kubeconfig', () => {
  it('has the client that reads one beside it and not in it; others do without', async () => {
    const ca = 'apps/ca/src/main.ts';
    const sample = 'apps/bookinfo/reviews/src/main.ts';
    const bundles = await bundleEntries([ca, sample]);
    const [bundle, other] = [bundles.get(ca), bundles.get(sample)];
    const image = IMAGES.find(({ name }) => name === 'ca');
    if (bundle === undefined || other === undefined || image === undefined) throw new Error('the entries were not bundled');
    const { folder, packages } = prepareContext(image, bundle, { folder: scratch, epochS: 0 });
    expect(readdirSync(path.join(folder, 'app')).sort()).toEqual(['LICENSES.txt', 'health.mjs', 'kubernetes-client.mjs', 'main.mjs']);
    expect(packages.map(({ name }) => name)).toContain('@kubernetes/client-node');
    expect(Buffer.from(bundle.code).includes('loadFromOptions(options)')).toBe(false);
    expect(readFileSync(path.join(folder, 'app/kubernetes-client.mjs'), 'utf8')).toContain('loadFromOptions(options)');
    expect(other.later).toBeUndefined();
  });
});

describe('the context of the sidecar', () => {
  it('holds what runs, and has the same hash and times whenever it is made', async () => {
    const bundle = { code: Buffer.from('export {};'), inputs: ['libs/proxy/src/index.ts'] };
    const first = prepareContext(sidecar, bundle, { folder: scratch, epochS: 1_000 });
    const koffi = path.join(first.folder, 'app/node_modules/koffi');
    utimesSync(path.join(koffi, 'package.json'), 5, 5);
    const second = prepareContext(sidecar, bundle, { folder: scratch, epochS: 1_000 });
    expect(second.hash).toBe(first.hash);
    expect(statSync(path.join(koffi, 'package.json')).mtimeMs).toBe(1_000_000);
    const files = readdirSync(path.join(second.folder, 'app'), { recursive: true, encoding: 'utf8' });
    expect(files.filter((file) => file.endsWith('koffi.node'))).toHaveLength(1);
    expect(files.filter((file) => /\.(cc|hh|S|asm|d\.ts|md)$/.test(file))).toEqual([]);
    expect(readFileSync(path.join(second.folder, 'app/LICENSES.txt'), 'utf8')).toMatch(
      /=== koffi [\d.]+ \(MIT\)\n\n[\s\S]*Permission is hereby granted/,
    );
  });
});

describe('the bill of materials', () => {
  it('names every bundled package with version, licence and hash, and the packages of the base', () => {
    const packages = packagesOf([
      'node_modules/fastify/lib/server.js',
      'node_modules/@bufbuild/protobuf/dist/index.js',
      'libs/core/src/index.ts',
    ]);
    const sbom = createSbom({
      image: 'mizzen/ca',
      version: '1.2.3',
      description: 'signs',
      inputs: 'abc',
      packages,
      systemPackages: [{ name: 'libc6', version: '2.36-9+deb12u10', architecture: 'amd64' }],
    });
    const lock = JSON.parse(readText('package-lock.json')).packages;
    expect(sbom).toMatchObject({
      bomFormat: 'CycloneDX',
      serialNumber: expect.stringMatching(/^urn:uuid:[\da-f]{8}-[\da-f]{4}-8[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/),
      components: [
        { group: '@bufbuild', name: 'protobuf', version: lock['node_modules/@bufbuild/protobuf'].version },
        { group: '@mizzen', name: 'core', licenses: [{ license: { id: 'Apache-2.0' } }] },
        {
          name: 'fastify',
          purl: `pkg:npm/fastify@${lock['node_modules/fastify'].version}`,
          licenses: [{ license: { id: 'MIT' } }],
          hashes: [{ alg: 'SHA-512', content: expect.stringMatching(/^[\da-f]{128}$/) }],
        },
        { name: 'libc6', purl: 'pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64' },
      ],
    });
  });
});
