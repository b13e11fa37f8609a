import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { silentLogger, systemClock, Watchable } from '@mizzen/core';
import { createSelfSignedRoot } from '@mizzen/identity';
import { type ConnectedKubeClient, connectKubernetes, createLeaderElection, KINDS_OF_KUBERNETES, type KubeObject } from '@mizzen/kube';
import { describeOnKubernetes } from '@mizzen/kube/testing';
import { fillMeshConfig, type MeshConfig } from '@mizzen/mesh-api';
import { createKubernetesConfigSource } from './config-source.ts';
import { createIngressSource } from './ingress-source.ts';
import { createKubernetesMeshConfigSource } from './mesh-config-source.ts';
import { createKubernetesRegistry } from './registry.ts';
import { createKubernetesCredentialSource } from './secret-source.ts';

const { ConfigMap, EndpointSlice, Ingress, Namespace, Secret, Service, Lease } = KINDS_OF_KUBERNETES;
const namespace = `mizzen-sources-spec-${process.pid}`;

describeOnKubernetes('the sources on a cluster (needs kubernetes)', () => {
  let client: ConnectedKubeClient;
  const mesh = new Watchable<{ mesh: MeshConfig }>({ mesh: fillMeshConfig({ ingressControllerMode: 'DEFAULT' }) });
  const base = () => ({ client, clock: systemClock, logger: silentLogger });
  beforeAll(async () => {
    client = await connectKubernetes();
    await client.create(Namespace, { metadata: { name: namespace } });
  });
  afterAll(async () => {
    await client.delete(Namespace, { name: namespace });
    await client.close();
  });

  it('knows services, pods and the endpoints that are none', async () => {
    const registry = createKubernetesRegistry({ ...base(), mesh });
    try {
      await registry.start();
      const dns = registry.workloads.value.find(({ labels }) => labels['k8s-app'] === 'kube-dns');
      expect(dns).toMatchObject({
        namespace: 'kube-system',
        serviceAccount: 'coredns',
        endpointOf: [{ host: 'kube-dns.kube-system.svc.cluster.local' }],
      });

      const host = `manual.${namespace}.svc.cluster.local`;
      await client.create(Service, { metadata: { name: 'manual', namespace }, spec: { ports: [{ name: 'http', port: 80 }] } });
      await registry.services.until((services) => services.some((service) => service.host === host && service.addresses.length === 1));
      const slice: KubeObject = {
        metadata: { name: 'manual-1', namespace, labels: { 'kubernetes.io/service-name': 'manual' } },
        addressType: 'IPv4',
        ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
        endpoints: [{ addresses: ['192.0.2.1'], conditions: { ready: true } }],
      };
      await client.apply(EndpointSlice, slice, { fieldManager: 'mizzen-spec' });
      const workloads = await registry.workloads.until((all) => all.some(({ address }) => address === '192.0.2.1'));
      expect(workloads.find(({ address }) => address === '192.0.2.1')?.endpointOf).toEqual([
        { host, ports: { http: 8080 }, isReady: true },
      ]);
      await client.delete(Service, { name: 'manual', namespace });
      await registry.workloads.until((all) => !all.some(({ address, endpointOf }) => address === '192.0.2.1' && endpointOf?.length !== 0));
    } finally {
      await registry.close();
    }
  });

  it('follows the ConfigMap of the mesh, Ingresses and their Secrets', async () => {
    const config = createKubernetesMeshConfigSource({ ...base(), namespace });
    const registry = createKubernetesRegistry({ ...base(), mesh });
    const ingresses = createIngressSource({ ...base(), mesh, services: registry.keptServices, domain: 'cluster.local', namespace });
    const credentials = createKubernetesCredentialSource({ ...base(), wanted: new Watchable<ReadonlySet<string>>(new Set(['cert'])) });
    try {
      await Promise.all([config.start(), registry.start(), credentials.start()]);
      await ingresses.start();
      await client.create(ConfigMap, { metadata: { name: 'istio', namespace }, data: { mesh: 'trustDomain: spec.example' } });
      await config.snapshot.until(({ meshConfig }) => meshConfig.trustDomain === 'spec.example');

      await client.create(Ingress, {
        metadata: { name: 'i', namespace },
        spec: { tls: [{ hosts: ['a.example'], secretName: 'cert' }], defaultBackend: { service: { name: 's', port: { number: 80 } } } },
      });
      const { resources } = await ingresses.converted.until((converted) => converted.resources.length >= 2);
      expect(resources.map(({ kind }) => kind).sort()).toEqual(['Gateway', 'VirtualService']);

      const { certificatePem, privateKeyPem } = await createSelfSignedRoot({ trustDomain: 'spec.example', now: Date.now() });
      await client.create(Secret, {
        metadata: { name: 'cert', namespace },
        type: 'kubernetes.io/tls',
        stringData: { 'tls.crt': certificatePem, 'tls.key': privateKeyPem },
      });
      const { credentials: read } = await credentials.snapshot.until((snapshot) => snapshot.credentials.has(`${namespace}/cert`));
      expect(read.get(`${namespace}/cert`)?.certChainPem).toBe(certificatePem);
    } finally {
      await Promise.all([config.close(), ingresses.close(), credentials.close(), registry.close()]);
    }
  });

  it('reads the configuration, whatever of its kinds is installed', async () => {
    const source = createKubernetesConfigSource(base());
    try {
      await source.start();
      expect(source.synced.value).toBe(true);
    } finally {
      await source.close();
    }
  });

  it('has one leader at a time', async () => {
    const elect = (identity: string) => createLeaderElection({ ...base(), namespace, name: 'spec', identity });
    const [a, b] = [elect('a'), elect('b')];
    a.start();
    await a.isLeader.until((isLeader) => isLeader);
    b.start();
    expect((await client.get<KubeObject>(Lease, { namespace, name: 'spec' }))['spec']).toMatchObject({ holderIdentity: 'a' });
    await a.close();
    await b.isLeader.until((isLeader) => isLeader);
    await b.close();
  });
});
