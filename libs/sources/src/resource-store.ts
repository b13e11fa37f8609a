import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { type Diagnostic, errorCode, formatDiagnostic, formatResourceRef, MizzenError, type ResourceRef } from '@mizzen/core';
import { type Kind, manifestOf, parseResource, parseYaml, type Resource, refOf } from '@mizzen/mesh-api';
import { findFiles, isGone } from './directory-files.ts';
import { keyOf, readFileState } from './file-state.ts';
import { removeFromText, replaceInText, toYaml } from './yaml-edit.ts';

export interface ApplyResult {
  readonly ref: ResourceRef;
  readonly result: 'created' | 'configured' | 'unchanged';
}

/** Reads and writes the configuration directory, as `kubectl` does the API server. Holds nothing between calls. */
export interface ResourceStore {
  /**
   * Writes the resources: in the file and document that holds one already, otherwise in `<namespace>/<kind>-<name>.yaml`.
   * Each file is replaced in one step. Throws MIZZEN_RESOURCE, before anything is written, where one is invalid.
   */
  apply(resources: readonly Resource[]): Promise<readonly ApplyResult[]>;
  /** False where there was no such resource. A file that holds nothing else goes with it. */
  delete(ref: ResourceRef): Promise<boolean>;
  list(kind?: Kind, namespace?: string): Promise<readonly Resource[]>;
  get(ref: ResourceRef): Promise<Resource | undefined>;
}

interface StoredFile {
  readonly path: string;
  readonly resources: readonly Resource[];
}

export function createResourceStore({ directory }: { directory: string }): ResourceStore {
  const read = async (): Promise<readonly StoredFile[]> => {
    const { files } = await findFiles(directory);
    return Promise.all(
      files.map(async ({ path }) => ({ path, resources: readFileState(await readText(path), path, undefined).resources })),
    );
  };

  return {
    async apply(resources) {
      refuseInvalid(resources);
      const results: ApplyResult[] = [];
      for (const resource of lastOfEach(resources)) {
        // Read anew for each: several may go into one file.
        results.push({ ref: refOf(resource), result: await applyOne(resource, await read(), directory) });
      }
      return results;
    },
    async delete(ref) {
      const held = find(await read(), ref);
      if (!held) return false;
      const text = removeFromText(await readText(held.path), ref);
      if (text.trim() === '') await rm(held.path, { force: true });
      else await writeInOneStep(held.path, text);
      return true;
    },
    async list(kind, namespace) {
      const byKey = new Map<string, Resource>();
      for (const { resources } of await read())
        for (const resource of resources) if (!byKey.has(keyOf(resource))) byKey.set(keyOf(resource), resource);
      const wanted = [...byKey].filter(
        ([, resource]) =>
          (kind === undefined || resource.kind === kind) && (namespace === undefined || resource.metadata.namespace === namespace),
      );
      return wanted.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, resource]) => resource);
    },
    get: async (ref) => find(await read(), ref)?.resource,
  };
}

async function applyOne(resource: Resource, files: readonly StoredFile[], directory: string): Promise<ApplyResult['result']> {
  const held = find(files, refOf(resource));
  if (!held) {
    const { kind, metadata } = resource;
    const path = join(directory, metadata.namespace, `${kind.toLowerCase()}-${metadata.name}.yaml`);
    // Something invalid may be there already, even an invalid version of this resource: it is replaced, the rest of the file stays.
    const text = await readText(path).catch((thrown: unknown) => {
      if (isGone(thrown)) return '';
      throw thrown;
    });
    await writeInOneStep(path, text === '' ? toYaml(resource) : replaceInText(text, resource));
    return 'created';
  }
  if (isDeepStrictEqual(plain(manifestOf(held.resource)), plain(manifestOf(resource)))) return 'unchanged';
  await writeInOneStep(held.path, replaceInText(await readText(held.path), resource));
  return 'configured';
}

function find(files: readonly StoredFile[], ref: ResourceRef): { path: string; resource: Resource } | undefined {
  for (const { path, resources } of files) {
    const resource = resources.find(
      ({ kind, metadata }) => kind === ref.kind && metadata.namespace === ref.namespace && metadata.name === ref.name,
    );
    if (resource) return { path, resource };
  }
  return undefined;
}

function refuseInvalid(resources: readonly Resource[]): void {
  const diagnostics: Diagnostic[] = resources.flatMap((resource) => {
    const { documents } = parseYaml(toYaml(resource), resource.position?.file ?? formatResourceRef(refOf(resource)));
    return documents.flatMap((document) => parseResource(document).diagnostics.filter(({ severity }) => severity === 'error'));
  });
  if (diagnostics.length > 0)
    throw new MizzenError('MIZZEN_RESOURCE', diagnostics.map(formatDiagnostic).join('\n'), { details: { diagnostics } });
}

function lastOfEach(resources: readonly Resource[]): readonly Resource[] {
  return [...new Map(resources.map((resource) => [keyOf(resource), resource])).values()];
}

function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

async function readText(path: string): Promise<string> {
  return readFile(path, 'utf8');
}

async function writeInOneStep(path: string, text: string): Promise<void> {
  const temporary = join(dirname(path), `.${randomUUID()}.tmp`);
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(temporary, text);
    await rename(temporary, path);
  } catch (thrown) {
    await rm(temporary, { force: true }).catch(() => {});
    throw new MizzenError('MIZZEN_CONFIG_DIR', `cannot write ${path}: ${errorCode(thrown) || String(thrown)}; check its permissions`, {
      cause: thrown,
    });
  }
}
