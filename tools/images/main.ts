/**
 * `npm run images`: every app as a container image, `mizzen/<app>:<version>` and `:dev`. What is made of the same bytes as last time is
 * not built again: its hash is a tag (`:sha-…`) of the image that is there. Bills of materials go to dist/sbom.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { readText, root } from '../check/workspace.ts';
import { bundleEntries } from './bundle.ts';
import { HUB, IMAGES } from './catalog.ts';
import { connectEngine } from './engine.ts';
import { buildImage } from './image.ts';

const USAGE = `Usage: npm run images -- [flags]

  --only NAME,…        only these, by their names without ${HUB}/
  --test-images        also what only tests need
  --base-image IMAGE   what they are made of: has Node 24 or newer (BASE_IMAGE; default node:24-bookworm-slim)
  --list               print the names and build nothing
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true, default: [] },
      'test-images': { type: 'boolean', default: false },
      'base-image': { type: 'string', default: process.env['BASE_IMAGE'] || 'node:24-bookworm-slim' },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const images = chooseImages(
    values.only.flatMap((names) => names.split(',')),
    values['test-images'],
  );
  const { version } = JSON.parse(readText('package.json')) as { version: string };
  if (values.list) return void process.stdout.write(images.map(({ name }) => `${HUB}/${name}:${version}\n`).join(''));

  const engine = await connectEngine();
  const baseImage = values['base-image'];
  const baseId = await engine.imageId(baseImage);
  if (baseId === undefined)
    throw new Error(`the base image ${baseImage} is not here: \`docker pull ${baseImage}\`, or name another by --base-image`);
  const startMs = performance.now();
  const bundles = await bundleEntries([...new Set(images.map(({ entry }) => entry))]);
  say(`${bundles.size} apps bundled in ${seconds(startMs)}`);
  const folder = path.join(root, 'dist/images');
  mkdirSync(path.join(root, 'dist/sbom'), { recursive: true });
  for (const image of images) {
    const imageStartMs = performance.now();
    const bundle = bundles.get(image.entry);
    if (bundle === undefined) throw new Error(`${image.entry} was not bundled`);
    const built = await buildImage({ image, bundle, engine, baseImage, baseId, version, epochS: sourceDateEpochS(), folder });
    writeFileSync(path.join(root, 'dist/sbom', `${image.name}.cdx.json`), `${JSON.stringify(built.sbom, undefined, 2)}\n`);
    say(`${HUB}/${image.name}:${version} ${built.isNew ? `built in ${seconds(imageStartMs)}` : 'unchanged'} (${built.tag})`);
  }
  say(`${images.length} images in ${seconds(startMs)}`);
}

function chooseImages(only: readonly string[], withTestImages: boolean) {
  const names = only.map((name) => name.replace(`${HUB}/`, ''));
  const unknown = names.filter((name) => !IMAGES.some((image) => image.name === name));
  if (unknown.length > 0)
    throw new Error(`there is no image ${unknown.join(', ')}; choose from ${IMAGES.map(({ name }) => name).join(', ')}`);
  const chosen = IMAGES.filter(({ name, isForTests }) => (names.length > 0 ? names.includes(name) : withTestImages || !isForTests));
  const missing = chosen.filter(({ entry }) => !existsSync(path.join(root, entry)));
  if (missing.length > 0) throw new Error(`${missing.map(({ entry }) => entry).join(', ')} is missing from this clone`);
  return chosen;
}

/** SOURCE_DATE_EPOCH in seconds, else one moment for all: the time says nothing that the hash does not. */
function sourceDateEpochS(): number {
  const text = process.env['SOURCE_DATE_EPOCH'] || '0';
  if (!/^\d+$/.test(text)) throw new Error(`SOURCE_DATE_EPOCH is "${text}": set it to whole seconds since 1970, or leave it away`);
  return Number(text);
}

function say(line: string): void {
  process.stdout.write(`images: ${line}\n`);
}

function seconds(startMs: number): string {
  return `${((performance.now() - startMs) / 1000).toFixed(1)} s`;
}

try {
  await main();
} catch (thrown) {
  process.stderr.write(`images: ${(thrown as Error).message}\n`);
  process.exit(1);
}
