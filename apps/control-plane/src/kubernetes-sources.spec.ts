import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { readSettings, silentLogger } from '@mizzen/core';
import { KINDS_OF_KUBERNETES, type KubeObject } from '@mizzen/kube';
import { createFakeApiServer, type FakeApiServer } from '@mizzen/kube/testing';
import { kubeKindOf } from '@mizzen/mesh-api';
import { ScriptedDeltaClient } from '@mizzen/testing';
import { TYPE_URL } from '@mizzen/xds-api';
import type { ClusterLoadAssignment } from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint';
import { acknowledged, subscribe } from './fixtures/running-control-plane.ts';
import { type RunningControlPlane, startControlPlane } from './index.ts';
import { controlPlaneSettings } from './settings.ts';
import { startSources } from './sources.ts';

const { Pod, Service, EndpointSlice, ConfigMap } = KINDS_OF_KUBERNETES;
const HOST = 'reviews.default.svc.cluster.local';
const ALL = `outbound|9080||${HOST}`;
const node = {
  id: 'sidecar~10.244.0.9~client-1.default~default.svc.cluster.local',
  cluster: 'client.default',
  metadata: {
    NAMESPACE: 'default',
    SERVICE_ACCOUNT: 'client',
    LABELS: { app: 'client' },
    INSTANCE_IPS: '10.244.0.9',
    INTERCEPTION_MODE: 'REDIRECT',
    CLUSTER_ID: 'Kubernetes',
  },
};

let api: FakeApiServer;
let directory: string;
let running: RunningControlPlane | undefined;
beforeEach(async () => {
  api = await createFakeApiServer();
  directory = await mkdtemp(join(tmpdir(), 'mizzen-control-plane-'));
  await writeFile(join(directory, 'kubeconfig'), api.kubeconfig);
  api.put<KubeObject>(Service, {
    metadata: { name: 'reviews', namespace: 'default', creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: {
      clusterIP: '10.96.0.1',
      clusterIPs: ['10.96.0.1'],
      selector: { app: 'reviews' },
      ports: [{ name: 'http', port: 9080, targetPort: 9080 }],
    },
  });
  putPods('10.244.0.1');
});
afterEach(async () => {
  await running?.close();
  running = undefined;
  await api.close();
  await rm(directory, { recursive: true });
});

function settingsOf(...flags: string[]) {
  const argv = ['--xds-port', '0', '--debug-port', '0', '--debug-host', '127.0.0.1', '--debounce-quiet', '5ms', ...flags];
  return readSettings(controlPlaneSettings, { argv, env: {} }).values;
}

async function start(): Promise<ScriptedDeltaClient> {
  running = await startControlPlane(settingsOf('--kubernetes', '--kubeconfig', join(directory, 'kubeconfig')), silentLogger);
  return new ScriptedDeltaClient({ address: `127.0.0.1:${running.ports.xds}`, node });
}

/** The pods behind reviews, one for each address. */
function putPods(...addresses: string[]): void {
  for (const ip of addresses) {
    api.put<KubeObject>(Pod, {
      metadata: { name: `reviews-${ip}`, namespace: 'default', labels: { app: 'reviews', 'security.istio.io/tlsMode': 'istio' } },
      spec: { serviceAccountName: 'reviews', nodeName: 'node1' },
      status: { phase: 'Running', podIP: ip, podIPs: [{ ip }] },
    });
  }
  api.put<KubeObject>(EndpointSlice, {
    metadata: { name: 'reviews-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'reviews' } },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 9080 }],
    endpoints: addresses.map((ip) => ({ addresses: [ip], conditions: { ready: true }, targetRef: { kind: 'Pod', name: `reviews-${ip}` } })),
  });
}

function addressesOf(assignment: unknown): unknown[] {
  return ((assignment as ClusterLoadAssignment).endpoints ?? []).flatMap(({ lbEndpoints }) =>
    lbEndpoints.map(({ hostIdentifier }) => hostIdentifier.case === 'endpoint' && hostIdentifier.value.address?.address?.value),
  );
}

describe('the control plane on Kubernetes', () => {
  it('serves the services and pods of the cluster, and a pod that comes changes endpoints only', async () => {
    const proxy = await start();
    try {
      const clusters = await subscribe(proxy, TYPE_URL.cluster);
      expect(clusters.names).toContain(ALL);
      const endpoints = await subscribe(proxy, TYPE_URL.endpoint, [ALL]);
      expect(addressesOf(endpoints.resources.get(ALL))).toMatchObject([{ address: '10.244.0.1', portSpecifier: { value: 9080 } }]);
      await subscribe(proxy, TYPE_URL.listener);
      putPods('10.244.0.1', '10.244.0.2');
      expect(addressesOf((await acknowledged(proxy, TYPE_URL.endpoint)).resources.get(ALL))).toHaveLength(2);
      // The next thing of the other types is what a new Service brings.
      api.put<KubeObject>(Service, {
        metadata: { name: 'new', namespace: 'default' },
        spec: { clusterIP: '10.96.0.2', ports: [{ name: 'http', port: 80 }] },
      });
      expect((await acknowledged(proxy, TYPE_URL.cluster)).names).toEqual(['outbound|80||new.default.svc.cluster.local']);
    } finally {
      proxy.drop();
    }
  });

  it('follows resources and the mesh configuration, and outlives its API server', async () => {
    const proxy = await start();
    const plane = running?.controlPlane;
    try {
      await subscribe(proxy, TYPE_URL.cluster);
      await api.stop();
      await api.restart();
      api.put<KubeObject>(kubeKindOf('DestinationRule'), {
        metadata: { name: 'reviews', namespace: 'default' },
        spec: { host: 'reviews', subsets: [{ name: 'v1', labels: { version: 'v1' } }] },
      });
      expect((await acknowledged(proxy, TYPE_URL.cluster)).names).toContain(`outbound|9080|v1|${HOST}`);
      api.put<KubeObject>(ConfigMap, {
        metadata: { name: 'istio', namespace: 'istio-system' },
        data: { mesh: 'trustDomain: one.example' },
      });
      await plane?.resources.until(() => plane.published().snapshot.mesh.trustDomain === 'one.example');
      expect(plane?.published().snapshot.services.size).toBe(1);
    } finally {
      proxy.drop();
    }
  });

  it('says which settings exclude each other', async () => {
    const context = { clock: (await import('@mizzen/core')).systemClock, logger: silentLogger };
    const start = async (...flags: string[]) => startSources(settingsOf(...flags), context);
    await expect(start('--kubernetes', '--config', directory)).rejects.toMatchObject({ code: 'MIZZEN_SETTINGS' });
    await expect(start()).rejects.toMatchObject({ code: 'MIZZEN_SETTINGS', message: expect.stringContaining('--config') });
    await expect(start('--kubernetes', '--kubeconfig', join(directory, 'none'))).rejects.toMatchObject({ code: 'MIZZEN_KUBERNETES' });
  });
});
