import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { expectNothingLeftOpen, openResources, ScriptedDeltaClient, startMesh } from '../index.ts';

const LDS = 'type.googleapis.com/envoy.config.listener.v3.Listener';

const abort = (status: number): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{directResponse: {status: ${status}}}]}
`;

describe('a mesh in this process', () => {
  it('carries a request from one workload to another, and leaves nothing open', async () => {
    const before = openResources();
    await using mesh = await startMesh({ services: { client: {}, reviews: { versions: ['v1', 'v2'] } } });
    const { status, echo } = await mesh.call({ from: 'client', host: 'reviews', path: '/hello' });
    expect([status, echo.path]).toEqual([200, '/hello']);
    expect(openResources().get('TCPServerWrap')).toBeGreaterThan(before.get('TCPServerWrap') ?? 0);
  });

  it('has every change in force when apply and delete resolve, without identity too', async () => {
    await using mesh = await startMesh({ services: { client: {}, reviews: {} }, hasIdentity: false });
    for (const status of [290, 291, 292, 293, 294]) {
      await mesh.apply(abort(status));
      expect((await mesh.call({ from: 'client', host: 'reviews' })).status).toBe(status);
    }
    await mesh.delete({ kind: 'VirtualService', namespace: 'default', name: 'reviews' });
    expect((await mesh.call({ from: 'client', host: 'reviews' })).status).toBe(200);
  });

  it('refuses a configuration that is not valid, and the deletion of what is not there', async () => {
    await using mesh = await startMesh({ services: { client: {} } });
    await expect(
      mesh.apply('apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {hosts: 1}'),
    ).rejects.toThrow('VirtualService default/x');
    await expect(mesh.delete({ kind: 'Gateway', namespace: 'a', name: 'b' })).rejects.toThrow('there is no Gateway a/b');
  });

  it('is not settled while somebody has not answered, and says who', async () => {
    await using mesh = await startMesh({ services: { client: {} } });
    const frozen = new ScriptedDeltaClient({
      address: mesh.xdsAddress,
      node: { id: 'sidecar~127.0.0.1~frozen.default~default.svc.cluster.local' },
    });
    frozen.request(LDS);
    const response = await frozen.expectResponse(LDS);
    await expect(mesh.settled(50)).rejects.toThrow('frozen.default~default.svc.cluster.local has answered revision none of');
    const settled = mesh.settled();
    frozen.nack(response, 'no');
    await settled;
    await frozen.end();
  });

  it('notices what was left open', async () => {
    const before = openResources();
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    await expect(expectNothingLeftOpen(before, 20)).rejects.toThrow('1 × TCPServerWrap');
    server.close();
    await once(server, 'close');
    await expectNothingLeftOpen(before);
  });
});
