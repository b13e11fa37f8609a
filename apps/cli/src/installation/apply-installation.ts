import { MizzenError } from '@mizzen/core';
import { KINDS_OF_KUBERNETES, type KubeClient, type KubeObject } from '@mizzen/kube';
import { APP_LABELS, type KubeObject as Manifest, REVISION_LABEL } from '@mizzen/manifests';
import { INSTALLED_KINDS, kindOf, labelSelectorOf, nameOf } from './kinds.ts';
import { type Patience, until } from './until.ts';
import { untilNoKindEnds } from './until-gone.ts';

/** Owner of the fields that we apply. */
export const FIELD_MANAGER = 'mizzen-install';
/** Finds what an installation consists of. */
export const INSTALLED = labelSelectorOf(APP_LABELS);
/** On the webhooks of `mizzen tag set`: the name of the tag. */
export const TAG_LABEL = 'istio.io/tag';

/** Applies objects one after the other, in the order given: fields that others set on them stay. */
export async function applyObjects(client: KubeClient, objects: readonly Manifest[]): Promise<void> {
  for (const object of objects)
    await client.apply(kindOf(object), await asItMayStay(client, object), { fieldManager: FIELD_MANAGER, force: true });
}

interface WebhookConfiguration extends KubeObject {
  readonly webhooks?: readonly { readonly name: string; readonly failurePolicy?: string }[];
}

/** The object as it is to be applied: the injector has the say on the failure policy of validation once it works. */
export async function asItMayStay(client: KubeClient, object: Manifest): Promise<Manifest> {
  if (object.kind !== 'ValidatingWebhookConfiguration') return object;
  const present = await client.find<WebhookConfiguration>(kindOf(object), object.metadata);
  const policies = new Map(present?.webhooks?.map(({ name, failurePolicy }) => [name, failurePolicy]));
  const webhooks = (object as unknown as WebhookConfiguration).webhooks ?? [];
  return {
    ...object,
    webhooks: webhooks.map((webhook) => ({ ...webhook, failurePolicy: policies.get(webhook.name) ?? webhook.failurePolicy })),
  };
}

/** Applies CRDs and waits until the API server serves their kinds. */
export async function applyCrds(client: KubeClient, crds: readonly Manifest[], patience: Patience): Promise<void> {
  if (crds.length > 0) await untilNoKindEnds(client, patience);
  await applyObjects(client, crds);
  const waiting = new Set(crds.map(({ metadata }) => metadata.name));
  const areEstablished = async (): Promise<boolean> => {
    for (const name of waiting) if (await isEstablished(client, name)) waiting.delete(name);
    return waiting.size === 0;
  };
  const tooLate = (): MizzenError => {
    const [name = ''] = waiting;
    return new MizzenError('MIZZEN_KUBERNETES', `the kind ${name} is not served; \`kubectl describe crd ${name}\` says why`);
  };
  await until(areEstablished, { ...patience, tooLate });
}

async function isEstablished(client: KubeClient, name: string): Promise<boolean> {
  const crd = await client.find<KubeObject & Conditioned>(KINDS_OF_KUBERNETES.CustomResourceDefinition, { name });
  return crd?.status?.conditions?.some(({ type, status }) => type === 'Established' && status === 'True') ?? false;
}

interface Conditioned {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

/** Deletes what an earlier installation of the same revision had and this one has not. Returns what went, as `Deployment istio-system/x`. */
export async function pruneObjects(client: KubeClient, wanted: readonly Manifest[], revision: string): Promise<readonly string[]> {
  const keep = new Set(wanted.map((object) => nameOf(object.kind, object.metadata)));
  const pruned: string[] = [];
  for (const kind of INSTALLED_KINDS) {
    for (const object of await client.list(kind, { labelSelector: `${INSTALLED},${REVISION_LABEL}=${revision}` })) {
      const name = nameOf(kind.kind, object.metadata);
      if (keep.has(name)) continue;
      await client.delete(kind, object.metadata, { propagation: 'Background' });
      pruned.push(name);
    }
  }
  return pruned;
}
