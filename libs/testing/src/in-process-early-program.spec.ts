import { createServer } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import { silentLogger } from '@mizzen/core';
import { freePort, startMesh } from './index.ts';
import { requestThroughProxy } from './mesh/http-client.ts';
import { startProxied } from './mesh/proxied.ts';

const REPORTS = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reports}
spec:
  hosts: [reports.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: reports}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: reports-v1}
spec:
  metadata: {labels: {app: reports, version: v1}}
  template: {serviceAccount: reports, ports: {http: 9080}}
`;

describe('a program that asks another service before it listens', () => {
  it('is answered by its sidecar, and others are sent to it only once it listens', async () => {
    await using mesh = await startMesh({ services: { client: {}, details: {} }, config: REPORTS, hasIdentity: false });
    const [appPort, httpProxyPort] = [await freePort(), await freePort()];
    const workload = {
      namespace: 'default',
      serviceAccount: 'reports',
      name: 'reports-v1',
      instance: 'reports-v1-1',
      labels: { app: 'reports', version: 'v1' },
      workloadGroup: 'reports-v1',
    };
    const sidecar = startProxied(
      { proxyType: 'sidecar', workload, inbound: [{ port: 9080, endpoint: `127.0.0.1:${appPort}` }], httpProxyPort, portMap: new Map() },
      { trustDomain: 'cluster.local', identity: undefined, xdsAddress: mesh.xdsAddress, telemetryAddress: undefined, logger: silentLogger },
    );
    const { server, registration } = mesh.controlPlane;
    const isConnected = (): boolean => server.status().some(({ node }) => node.id.includes('~reports-v1-1.'));
    const isRegistered = (): boolean => registration.entries.value.some(({ metadata }) => metadata.name === 'reports-v1-reports-v1-1');

    await server.activity.until(isConnected);
    for (const via of ['absolute', 'connect'] as const) {
      const asked = await requestThroughProxy(httpProxyPort, { host: 'details', via });
      expect([asked.status, asked.servedBy]).toEqual([200, 'details-v1']);
    }
    expect(isRegistered()).toBe(false);

    const program = createServer((_, response) => void response.end('reports')).listen(appPort, '127.0.0.1');
    const { close } = await sidecar;
    try {
      expect(isRegistered()).toBe(true);
      await mesh.settled();
      const answer = await mesh.call({ from: 'client', host: 'reports' });
      expect([answer.status, answer.body]).toEqual([200, 'reports']);
    } finally {
      await close();
      program.closeAllConnections();
      await new Promise((resolve) => program.close(resolve));
    }
  });
});
