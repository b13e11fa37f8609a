import { isDeepStrictEqual } from 'node:util';
import type { ResourceRef } from '@mizzen/core';
import { isNotFound, type KubeClient, type KubeKind, type KubeObject } from '@mizzen/kube';
import { KIND_NAMES, type Kind, kubeKindOf, manifestOf, parseResource, type Resource, refOf } from '@mizzen/mesh-api';
import type { ApplyResult, ResourceStore } from '@mizzen/sources';

const FIELD_MANAGER = 'mizzen-cli';

/** The mesh's resources as objects of a cluster. What the API server holds and this version cannot read is left out of lists. */
export function createKubernetesStore(client: KubeClient): ResourceStore {
  const list = async (kind: Kind, namespace: string | undefined): Promise<readonly Resource[]> => {
    try {
      const objects = await client.list(kubeKindOf(kind), namespace === undefined ? {} : { namespace });
      return objects.flatMap((object) => readObject(object) ?? []);
    } catch (thrown) {
      // The kind is not installed: there is none of it.
      if (isNotFound(thrown)) return [];
      throw thrown;
    }
  };
  return {
    async apply(resources) {
      const results: ApplyResult[] = [];
      for (const resource of resources) results.push({ ref: refOf(resource), result: await applyOne(client, resource) });
      return results;
    },
    delete: (ref) => client.delete(kubeKindOf(ref.kind as Kind), ref),
    async list(kind, namespace) {
      const kinds = kind === undefined ? KIND_NAMES : [kind];
      return (await Promise.all(kinds.map((each) => list(each, namespace)))).flat();
    },
    async get(ref: ResourceRef) {
      const kind = ref.kind as Kind;
      const object = await client.find(kubeKindOf(kind), ref);
      return object && readObject(object);
    },
  };
}

/** The same words as kubectl's: what an apply did is seen by the revision before and after. */
async function applyOne(client: KubeClient, resource: Resource): Promise<ApplyResult['result']> {
  const { metadata } = resource;
  const kind: KubeKind = { ...kubeKindOf(resource.kind), apiVersion: resource.apiVersion };
  const before = await client.find(kind, metadata);
  const after = await client.apply(kind, manifestOf(resource) as unknown as KubeObject, { fieldManager: FIELD_MANAGER, force: true });
  if (!before) return 'created';
  return isDeepStrictEqual(before.metadata.resourceVersion, after.metadata.resourceVersion) ? 'unchanged' : 'configured';
}

function readObject(object: KubeObject): Resource | undefined {
  return parseResource({ value: object, file: '', line: 1, lineOf: () => 1 }).resource;
}
