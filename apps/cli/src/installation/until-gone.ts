import { MizzenError } from '@mizzen/core';
import { KINDS_OF_KUBERNETES, type KubeClient } from '@mizzen/kube';
import { APP_LABELS, type KubeObject as Manifest } from '@mizzen/manifests';
import { labelSelectorOf } from './kinds.ts';
import { type Patience, until } from './until.ts';

const { CustomResourceDefinition, Namespace } = KINDS_OF_KUBERNETES;

/** Waits until a namespace that is being deleted is gone. Throws MIZZEN_KUBERNETES after `timeoutMs`. */
export async function untilNamespaceGone(client: KubeClient, name: string, patience: Patience): Promise<void> {
  const tooLate = (): MizzenError =>
    new MizzenError('MIZZEN_KUBERNETES', `the namespace ${name} does not end; \`kubectl get namespace ${name} -o yaml\` says why`);
  await until(async () => !(await client.find(Namespace, { name })), { ...patience, tooLate });
}

/** Nothing can be made in a namespace that is being deleted, such as after an uninstallation: waits for each that the objects lie in. */
export async function untilNamespacesMayBeUsed(
  client: KubeClient,
  objects: readonly Manifest[],
  options: Patience & { readonly message: (line: string) => void },
): Promise<void> {
  const names = new Set(objects.flatMap(({ metadata }) => metadata.namespace ?? []));
  for (const name of names) {
    const found = await client.find(Namespace, { name });
    if (found?.metadata.deletionTimestamp === undefined) continue;
    options.message(`the namespace ${name} is being deleted; waiting until it is gone`);
    await untilNamespaceGone(client, name, options);
  }
}

/** What is applied to a kind that is being deleted, such as after `mizzen uninstall --purge`, goes with it: waits until each of ours is gone. */
export async function untilNoKindEnds(client: KubeClient, patience: Patience): Promise<void> {
  const ending = async (): Promise<readonly string[]> => {
    const crds = await client.list(CustomResourceDefinition, { isMetadataOnly: true, labelSelector: labelSelectorOf(APP_LABELS) });
    return crds.filter(({ metadata }) => metadata.deletionTimestamp !== undefined).map(({ metadata }) => metadata.name);
  };
  const tooLate = async (): Promise<MizzenError> => {
    const [name = ''] = await ending();
    return new MizzenError('MIZZEN_KUBERNETES', `the kind ${name} does not end; \`kubectl get crd ${name} -o yaml\` says why`);
  };
  await until(async () => (await ending()).length === 0, { ...patience, tooLate });
}
