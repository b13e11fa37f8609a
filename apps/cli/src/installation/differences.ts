import { isDeepStrictEqual } from 'node:util';
import { isNotFound, type KubeClient, type KubeObject } from '@mizzen/kube';
import type { KubeObject as Manifest } from '@mizzen/manifests';
import { asItMayStay, FIELD_MANAGER } from './apply-installation.ts';
import { kindOf, nameOf } from './kinds.ts';

/** Objects that are missing or that applying would change, as lines. Asked by a dry run: the API server knows its own defaults. */
export async function differences(client: KubeClient, objects: readonly Manifest[]): Promise<readonly string[]> {
  const lines: string[] = [];
  for (const object of objects) {
    const line = await differenceOf(client, object);
    if (line !== undefined) lines.push(line);
  }
  return lines;
}

async function differenceOf(client: KubeClient, object: Manifest): Promise<string | undefined> {
  const kind = kindOf(object);
  const name = nameOf(object.kind, object.metadata);
  const present = await client.find(kind, object.metadata);
  if (!present) return `${name}: is missing`;
  try {
    const applied = await client.apply(kind, await asItMayStay(client, object), { fieldManager: FIELD_MANAGER, force: true, dryRun: true });
    return isDeepStrictEqual(content(present), content(applied)) ? undefined : `${name}: is different`;
  } catch (thrown) {
    // It was there a moment ago.
    if (isNotFound(thrown)) return `${name}: is missing`;
    throw thrown;
  }
}

function content({ metadata, status: _status, ...rest }: KubeObject): unknown {
  const { labels, annotations } = metadata;
  return { labels, annotations, ...rest };
}
