import { createHash } from 'node:crypto';
import type { AppBundle } from './bundle.ts';
import { HUB, type ImageDefinition } from './catalog.ts';
import { prepareContext } from './context.ts';
import type { Engine } from './engine.ts';
import { createSbom, type SystemPackage } from './sbom.ts';

export interface ImageBuild {
  readonly image: ImageDefinition;
  readonly bundle: AppBundle;
  readonly engine: Engine;
  readonly baseImage: string;
  readonly baseId: string;
  readonly version: string;
  readonly epochS: number;
  /** Where build contexts are laid out. */
  readonly folder: string;
}

export interface BuiltImage {
  readonly isNew: boolean;
  /** `sha-…`: of everything that the image is made of. */
  readonly tag: string;
  readonly sbom: unknown;
}

const TAG_DIGITS = 12;

/** Builds one image, or finds that the one of the same inputs is there; either way `:<version>` and `:dev` are it afterwards. */
export async function buildImage({ image, bundle, engine, baseImage, baseId, version, epochS, folder }: ImageBuild): Promise<BuiltImage> {
  const context = prepareContext(image, bundle, { folder, epochS });
  const buildArgs = { HEALTH_URL: image.healthUrl, ...image.buildArgs, BASE_IMAGE: baseImage };
  const inputs = createHash('sha256')
    .update(JSON.stringify([context.hash, image.target, image.healthUrl, image.buildArgs ?? {}, baseId, version, epochS]))
    .digest('hex');
  const repository = `${HUB}/${image.name}`;
  const tag = `sha-${inputs.slice(0, TAG_DIGITS)}`;
  const reference = `${repository}:${tag}`;
  const isNew = (await engine.imageId(reference)) === undefined;
  if (isNew) {
    const labels = labelsOf(image, { version, inputs, epochS });
    await engine.build({ context: context.folder, target: image.target, tags: [reference], buildArgs: usedArgs(image, buildArgs), labels });
  }
  for (const name of [version, 'dev']) await engine.tag(reference, `${repository}:${name}`);
  const installed = await systemPackagesOf({ image, engine, reference, baseId });
  const { description } = image;
  return {
    isNew,
    tag,
    sbom: createSbom({ image: repository, version, description, inputs, packages: context.packages, systemPackages: installed }),
  };
}

const systemPackages = new Map<string, Promise<readonly SystemPackage[]>>();

/** Images of one base that are given the same packages have the same: the engine is asked once for all of them. */
function systemPackagesOf(options: {
  image: ImageDefinition;
  engine: Engine;
  reference: string;
  baseId: string;
}): Promise<readonly SystemPackage[]> {
  const key = `${options.baseId} ${options.image.buildArgs?.['COMMAND_PACKAGE'] ?? ''}`;
  const known = systemPackages.get(key) ?? options.engine.systemPackages(options.reference);
  systemPackages.set(key, known);
  return known;
}

// The classic builder complains about arguments that no stage takes.
function usedArgs({ target }: ImageDefinition, args: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return target === 'command' ? Object.fromEntries(Object.entries(args).filter(([name]) => name !== 'HEALTH_URL')) : args;
}

/** https://specs.opencontainers.org/image-spec/annotations */
function labelsOf(image: ImageDefinition, about: { version: string; inputs: string; epochS: number }): Readonly<Record<string, string>> {
  return {
    'org.opencontainers.image.title': `${HUB}/${image.name}`,
    'org.opencontainers.image.description': image.description,
    'org.opencontainers.image.version': about.version,
    'org.opencontainers.image.licenses': 'Apache-2.0',
    'org.opencontainers.image.created': new Date(about.epochS * 1000).toISOString(),
    'io.mizzen.inputs': about.inputs,
  };
}
