import { KINDS_OF_KUBERNETES, type KubeClient, type KubeObject } from '@mizzen/kube';

/** Selector of a Kubernetes Service; undefined where there is no such Service, or it has none. */
export async function readServiceSelector(
  client: KubeClient,
  service: { readonly namespace: string; readonly name: string },
): Promise<Readonly<Record<string, string>> | undefined> {
  const object = await client.find<KubeObject>(KINDS_OF_KUBERNETES.Service, service);
  const selector = (object?.['spec'] as { selector?: Record<string, string> } | undefined)?.selector;
  return selector && Object.keys(selector).length > 0 ? selector : undefined;
}
