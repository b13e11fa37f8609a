import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type AppProcess, startApp } from './testing.ts';

const CONFIG = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: orders, namespace: default }
spec:
  hosts: [orders.default.svc.cluster.local]
  location: MESH_INTERNAL
  ports: [{ number: 80, name: http, protocol: HTTP }]
  resolution: STATIC
  workloadSelector: { labels: { app: orders } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: { name: orders, namespace: default }
spec:
  metadata: { labels: { app: orders } }
  template: { serviceAccount: orders, ports: { http: 80 } }
  probe: { httpGet: { path: /health, port: 80 } }
`;

interface EndpointsOfService {
  readonly hostname: string;
  readonly ports: Readonly<Record<string, readonly { readonly tlsMode: string }[]>>;
}

// A control plane and a sidecar as processes, without a CA; the program is here.
describe('a workload of a group with a probe', () => {
  let folder: string;
  let controlPlane: AppProcess;
  let sidecar: AppProcess;
  let program: Server;
  let health = 503;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mizzen-registration-'));
    await writeFile(join(folder, 'mesh.yaml'), CONFIG);
    program = createServer((_, response) => response.writeHead(health).end());
    await new Promise<void>((resolve) => program.listen(0, '127.0.0.1', resolve));
    const { port } = program.address() as AddressInfo;
    const flags = ['--xds-port', '0', '--debug-port', '0', '--registration-settle', '0s', '--log-level', 'silent'];
    controlPlane = await startApp('control-plane', ['--config', folder, ...flags]);
    const probe = { httpGet: { path: '/health', port }, periodSeconds: 0.02, failureThreshold: 2 };
    sidecar = await startApp('sidecar', [
      ...['--xds-address', `127.0.0.1:${controlPlane.ports.xds}`, '--workload-group', 'orders', '--service-account', 'orders'],
      ...['--labels', 'app=orders', '--inbound', `80=127.0.0.1:${port}`, '--readiness-probe', JSON.stringify(probe)],
      ...['--drain-delay', '0s', '--log-level', 'silent'],
    ]);
  }, 60_000);

  afterAll(async () => {
    for (const app of [sidecar, controlPlane]) app?.child.kill('SIGKILL');
    program?.closeAllConnections();
    await new Promise((resolve) => program?.close(resolve));
    await rm(folder, { recursive: true, force: true });
  });

  /** How the endpoints of the service are called, once there are so many. */
  async function tlsModes(count: number): Promise<string[]> {
    for (;;) {
      const page = await fetch(`http://127.0.0.1:${controlPlane.ports.debug}/debug/endpointz`);
      const services = (await page.json()) as readonly EndpointsOfService[];
      const found = services.find(({ hostname }) => hostname.startsWith('orders.'))?.ports['80'] ?? [];
      if (found.length === count) return found.map(({ tlsMode }) => tlsMode);
    }
  }

  it('is an endpoint only while its program is well, and is not to be called with mutual TLS where it has no identity', async () => {
    await tlsModes(0);
    health = 200;
    expect(await tlsModes(1)).toEqual(['disabled']);
    health = 500;
    await tlsModes(0);
    health = 204;
    await tlsModes(1);
  });
});
