import { describe, expect, it } from '@jest/globals';
import { defaultMeshConfig } from '@mizzen/mesh-api';
import { injectManifest } from './inject-manifest.ts';
import { DEFAULT_INJECTOR_CONFIG } from './injector-config.ts';

const request = {
  namespace: 'default',
  config: DEFAULT_INJECTOR_CONFIG,
  meshConfig: defaultMeshConfig(),
  clusterHasNativeSidecars: true,
};
const template = { metadata: { labels: { app: 'a' } }, spec: { containers: [{ name: 'a', image: 'a' }] } };

describe('manifests', () => {
  it.each(['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job'])(
    'of kind %s get the sidecar in their template, named after them',
    (kind) => {
      const { manifest } = injectManifest(
        { apiVersion: 'apps/v1', kind, metadata: { name: 'mine', namespace: 'shop' }, spec: { template } },
        request,
      );
      const text = JSON.stringify(manifest);
      expect(text).toContain(`kubernetes://apis/apps/v1/namespaces/shop/${kind.toLowerCase()}s/mine`);
      expect(text).toContain('{"name":"MIZZEN_WORKLOAD_NAME","value":"mine"}');
    },
  );

  it('of kind CronJob get it where their pods are', () => {
    const cronJob = { apiVersion: 'batch/v1', kind: 'CronJob', metadata: { name: 'c' }, spec: { jobTemplate: { spec: { template } } } };
    const { manifest } = injectManifest(cronJob, request) as { manifest: typeof cronJob };
    expect(Object.keys(manifest.spec.jobTemplate.spec.template.spec)).toContain('initContainers');
  });

  it('in a List are all looked at, and what has no pod stays', () => {
    const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 's' } };
    const { manifest } = injectManifest({ kind: 'List', items: [service, { apiVersion: 'v1', kind: 'Pod', ...template }] }, request);
    const { items } = manifest as { items: unknown[] };
    expect(items[0]).toEqual(service);
    expect(JSON.stringify(items[1])).toContain('istio-init');
  });

  it('name the object that a mistake is in', () => {
    const wrong = { ...template, metadata: { annotations: { 'sidecar.istio.io/proxyCPU': 'x' } } };
    expect(
      injectManifest({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'd' }, spec: { template: wrong } }, request).errors,
    ).toEqual(['Deployment default/d: annotation sidecar.istio.io/proxyCPU must be a quantity such as 100m or 128Mi, not "x"']);
  });

  it.each([[null], ['text'], [{}], [{ kind: 'Deployment' }], [{ kind: 'constructor' }], [[]]])('that are none stay: %j', (manifest) => {
    expect(injectManifest(manifest, request)).toEqual({ manifest, warnings: [], errors: [] });
  });
});
