import { ANNOTATION } from './annotations.ts';
import type { InjectionContext } from './injection-context.ts';
import { annotationOf, type Volume, type VolumeMount } from './pod.ts';

// The names of Istio's volumes where they hold the same. Source: istio-discovery/files/injection-template.yaml (1.32 dev).
const TOKEN_SECONDS = 43_200;
const TOKEN_AUDIENCE = 'istio-ca';

/** Where the proxy's container finds them. */
export const MOUNT: readonly VolumeMount[] = [
  { name: 'istiod-ca-cert', mountPath: '/var/run/secrets/istio', readOnly: true },
  { name: 'istio-token', mountPath: '/var/run/secrets/tokens', readOnly: true },
  { name: 'istio-podinfo', mountPath: '/etc/istio/pod', readOnly: true },
  { name: 'istio-data', mountPath: '/var/lib/istio/data' },
];

/** The mesh's roots, the pod's proof of who it is, its labels, and the one place that the proxy may write to. */
export function proxyVolumes(context: InjectionContext): Volume[] {
  return [
    { name: 'istio-data', emptyDir: { sizeLimit: '64Mi' } },
    {
      name: 'istio-podinfo',
      downwardAPI: {
        items: [
          { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
          { path: 'annotations', fieldRef: { fieldPath: 'metadata.annotations' } },
        ],
      },
    },
    {
      name: 'istio-token',
      projected: {
        sources: [{ serviceAccountToken: { path: 'istio-token', expirationSeconds: TOKEN_SECONDS, audience: TOKEN_AUDIENCE } }],
      },
    },
    { name: 'istiod-ca-cert', configMap: { name: 'istio-ca-root-cert' } },
    ...userVolumes(context),
  ];
}

// Written by name, {"data":{"emptyDir":{}}}, or as a pod has them, [{"name":"data","emptyDir":{}}].
function userVolumes({ pod }: InjectionContext): Volume[] {
  const text = annotationOf(pod, ANNOTATION.userVolume);
  if (text === undefined) return [];
  const parsed = JSON.parse(text) as readonly Volume[] | Readonly<Record<string, object>>;
  return Array.isArray(parsed) ? parsed : Object.entries(parsed).map(([name, source]) => ({ name, ...source }) as Volume);
}
