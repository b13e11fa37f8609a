import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { connectKubernetes } from './connect.ts';
import type { KubeObject } from './contract.ts';
import { KINDS_OF_KUBERNETES } from './kinds.ts';
import { createFakeApiServer, type FakeApiServer } from './testing/index.ts';

const { ConfigMap, Pod, Namespace } = KINDS_OF_KUBERNETES;
const configMap = (name: string, data: Record<string, string>): KubeObject => ({ metadata: { name, namespace: 'x' }, data });

let server: FakeApiServer;
beforeEach(async () => {
  server = await createFakeApiServer();
});
afterEach(() => server.close());

describe('KubeClient', () => {
  it('creates, reads, replaces and deletes', async () => {
    const { client } = server;
    const created = await client.create(ConfigMap, configMap('a', { k: '1' }));
    expect(created.metadata).toMatchObject({ name: 'a', namespace: 'x', generation: 1 });
    expect(await client.get(ConfigMap, created.metadata)).toEqual(created);
    await client.replace(ConfigMap, { ...created, data: { k: '2' } });
    await expect(client.replace(ConfigMap, { ...created, data: { k: '3' } })).rejects.toMatchObject({ status: 409, reason: 'Conflict' });
    expect(await client.delete(ConfigMap, created.metadata)).toBe(true);
    expect(await client.delete(ConfigMap, created.metadata)).toBe(false);
    expect(await client.find(ConfigMap, created.metadata)).toBeUndefined();
  });

  it('says what was asked and why it failed', async () => {
    await expect(server.client.get(Pod, { name: 'a', namespace: 'x' })).rejects.toMatchObject({
      code: 'MIZZEN_KUBERNETES',
      status: 404,
      reason: 'NotFound',
      message: 'GET /api/v1/namespaces/x/pods/a: v1/pods "a" not found',
    });
    await server.stop();
    await expect(server.client.list(Pod)).rejects.toMatchObject({ status: 0, message: expect.stringContaining('does not answer') });
  });

  it('reads all pages, compressed ones too', async () => {
    for (let n = 0; n < 1_203; n++) server.put(ConfigMap, configMap(`m${n}`, { n: String(n) }));
    const all = await server.client.list(ConfigMap, { namespace: 'x' });
    expect(new Set(all.map(({ metadata }) => metadata.name)).size).toBe(1_203);
    expect(server.requests.map(({ query }) => query['limit'])).toEqual(['500', '500', '500']);
    expect(all[0]).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
  });

  it('lists from the start again where the token of the next page has expired', async () => {
    for (let n = 0; n < 600; n++) server.put(ConfigMap, configMap(`m${n}`, {}));
    let pages = 0;
    server.onRequest(() => {
      if (++pages === 2) server.expire();
    });
    expect(await server.client.list(ConfigMap)).toHaveLength(600);
    expect(pages).toBe(4);
  });

  it('applies on the server side: owns its fields, refuses those of others, takes away what is given no more', async () => {
    const { client } = server;
    const mine = { fieldManager: 'mine' };
    await client.apply(ConfigMap, configMap('a', { a: '1', b: '1' }), mine);
    await client.apply(ConfigMap, configMap('a', { c: '1' }), { fieldManager: 'other' });
    await expect(client.apply(ConfigMap, configMap('a', { c: '2' }), mine)).rejects.toMatchObject({ status: 409 });
    const applied = await client.apply(ConfigMap, configMap('a', { a: '2', c: '2' }), { ...mine, force: true });
    expect(applied['data']).toEqual({ a: '2', c: '2' });
    const before = server.object(ConfigMap, { name: 'a', namespace: 'x' });
    await client.apply(ConfigMap, configMap('a', { a: '9' }), { ...mine, force: true, dryRun: true });
    expect(server.object(ConfigMap, { name: 'a', namespace: 'x' })).toBe(before);
  });

  it('patches a status and nothing but it', async () => {
    server.put(Pod, { metadata: { name: 'p', namespace: 'x' }, spec: { a: 1 } });
    const patched = await server.client.patch(
      Pod,
      { name: 'p', namespace: 'x' },
      { spec: { a: 2 }, status: { phase: 'Running' } },
      { subresource: 'status' },
    );
    expect(patched).toMatchObject({ spec: { a: 1 }, status: { phase: 'Running' }, metadata: { generation: 1 } });
  });

  it('watches: events, bookmarks, and the end by its signal', async () => {
    const ending = new AbortController();
    const stream = await server.client.watch(ConfigMap, {
      namespace: 'x',
      resourceVersion: '1',
      timeoutSeconds: 60,
      signal: ending.signal,
    });
    server.put(ConfigMap, configMap('a', { k: '1' }));
    server.put(ConfigMap, { metadata: { name: 'elsewhere', namespace: 'y' } });
    server.remove(ConfigMap, { name: 'a', namespace: 'x' });
    server.sendBookmarks();
    const seen: string[] = [];
    for await (const event of stream) {
      seen.push(`${event.type} ${event.object.metadata.name}`);
      if (event.type === 'BOOKMARK') ending.abort();
    }
    expect(seen).toEqual(['ADDED a', 'DELETED a', 'BOOKMARK undefined']);
  });

  it('gives up after its time where nothing is answered', async () => {
    server.setSilent(true);
    await expect(server.client.request({ method: 'GET', path: '/version', timeoutMs: 50 })).rejects.toMatchObject({
      status: 0,
      message: expect.stringContaining('no answer within 50 ms'),
    });
  });
});

describe('connectKubernetes', () => {
  it('reads a kubeconfig, and names what is wrong with one', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'mizzen-kube-'));
    const file = join(directory, 'config');
    try {
      await writeFile(file, server.kubeconfig);
      const client = await connectKubernetes({ kubeconfig: file });
      await client.create(Namespace, { metadata: { name: 'n' } });
      expect(await client.list(Namespace)).toHaveLength(1);
      await client.close();
      await expect(connectKubernetes({ kubeconfig: file, context: 'nowhere' })).rejects.toMatchObject({
        code: 'MIZZEN_KUBERNETES',
        message: expect.stringContaining('has no context nowhere; it has fake'),
      });
      await expect(connectKubernetes({ kubeconfig: join(directory, 'none') })).rejects.toMatchObject({ code: 'MIZZEN_KUBERNETES' });
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it("uses the pod's service account, and reads its token again when it is refused", async () => {
    const directory = await mkdtemp(join(tmpdir(), 'mizzen-kube-'));
    const { createServer } = await import('node:http');
    const seen: (string | undefined)[] = [];
    const http = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(seen.length === 1 ? 401 : 200, { 'content-type': 'application/json' }).end('{}');
    });
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    const { findAccess } = await import('./access.ts');
    const { Transport } = await import('./transport.ts');
    try {
      for (const [name, text] of [
        ['ca.crt', 'ca'],
        ['token', 'first\n'],
        ['namespace', 'mine\n'],
      ] as const)
        await writeFile(join(directory, name), text);
      const env = { KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBERNETES_SERVICE_PORT: '6443' };
      const source = await findAccess({ env, serviceAccountDirectory: directory });
      expect(source).toMatchObject({ namespace: 'mine', server: new URL('https://10.0.0.1:6443') });
      const { port } = http.address() as { port: number };
      const transport = new Transport({ ...source, server: new URL(`http://127.0.0.1:${port}`) });
      await expect(transport.request({ method: 'GET', path: '/' })).rejects.toMatchObject({ status: 401 });
      await writeFile(join(directory, 'token'), 'second');
      await transport.request({ method: 'GET', path: '/' });
      await transport.request({ method: 'GET', path: '/' });
      expect(seen).toEqual(['Bearer first', 'Bearer second', 'Bearer second']);
      await transport.close();
    } finally {
      http.close();
      await rm(directory, { recursive: true });
    }
  });
});
