import type { KubeKind, KubeName, ListOptions } from './contract.ts';

/** `/api/v1/namespaces/x/pods`, `/apis/networking.istio.io/v1/gateways`: all objects of a kind, or those of a namespace. */
export function collectionPath({ apiVersion, plural }: KubeKind, namespace?: string): string {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return namespace === undefined ? `${root}/${plural}` : `${root}/namespaces/${encodeURIComponent(namespace)}/${plural}`;
}

export function objectPath(kind: KubeKind, { namespace, name }: KubeName, subresource?: string): string {
  const path = `${collectionPath(kind, kind.isNamespaced ? (namespace ?? 'default') : undefined)}/${encodeURIComponent(name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}

export function selectorQuery({ labelSelector, fieldSelector }: ListOptions): Record<string, string> {
  return { ...(labelSelector !== undefined && { labelSelector }), ...(fieldSelector !== undefined && { fieldSelector }) };
}

/** `namespace/name`, or `name` where there is no namespace. */
export function keyOfObject({ namespace, name }: KubeName): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** What is asked for instead of whole objects. Source: Kubernetes API concepts, "Resources in other representations". */
export function acceptOf({ isMetadataOnly }: ListOptions, what: 'list' | 'watch'): { accept?: string } {
  if (!isMetadataOnly) return {};
  const kind = what === 'list' ? 'PartialObjectMetadataList' : 'PartialObjectMetadata';
  return { accept: `application/json;as=${kind};g=meta.k8s.io;v=v1` };
}
