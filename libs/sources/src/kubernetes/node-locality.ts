import type { KubeObject } from '@mizzen/kube';

// Source: istio pilot/pkg/serviceregistry/kube/controller/controller.go getPodLocality (1.32 dev).
const REGION = 'topology.kubernetes.io/region';
const ZONE = 'topology.kubernetes.io/zone';
const SUBZONE = 'topology.istio.io/subzone';
const LOCALITY = ['topology.istio.io/locality', 'istio-locality'];

/** `region/zone/subzone` of a Node, or '' where its labels say nothing. All that is kept of it. */
export function keepNodeLocality({ metadata: { labels = {} } }: KubeObject): string {
  const parts = [labels[REGION] ?? '', labels[ZONE] ?? '', labels[SUBZONE] ?? ''];
  return parts.every((part) => part === '') ? '' : parts.join('/');
}

/** What a workload's own label says, where dots stand for slashes (no label may have those). */
export function localityOfLabels(labels: Readonly<Record<string, string>>): string | undefined {
  const label = LOCALITY.map((name) => labels[name]).find((value) => value);
  if (label === undefined) return undefined;
  return label.includes('/') ? label : label.replaceAll('.', '/');
}
