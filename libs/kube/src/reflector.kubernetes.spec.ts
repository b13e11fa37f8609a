import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { type ConnectedKubeClient, connectKubernetes } from './connect.ts';
import type { KubeObject } from './contract.ts';
import { KINDS_OF_KUBERNETES } from './kinds.ts';
import { createReflector } from './reflector.ts';
import { describeOnKubernetes } from './testing/index.ts';

const { ConfigMap, Namespace } = KINDS_OF_KUBERNETES;
const namespace = `mizzen-kube-spec-${process.pid}`;
const kubeconfig = process.env['KUBECONFIG'] ?? '';

/** A way to the API server that can be cut. */
async function createCuttable(target: URL): Promise<{ port: number; connections: Set<Socket>; close(): Promise<void> }> {
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    const upstream = connect(Number(target.port), target.hostname);
    for (const each of [socket, upstream]) {
      connections.add(each);
      each
        .on('error', () => {})
        .on('close', () => {
          connections.delete(each);
          socket.destroy();
          upstream.destroy();
        });
    }
    socket.pipe(upstream).pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    connections,
    async close() {
      for (const socket of connections) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describeOnKubernetes('a reflector on a cluster (needs kubernetes)', () => {
  let direct: ConnectedKubeClient;
  beforeAll(async () => {
    direct = await connectKubernetes();
    await direct.create(Namespace, { metadata: { name: namespace } });
  });
  afterAll(async () => {
    await direct.delete(Namespace, { name: namespace });
    await direct.close();
  });
  const put = (name: string, k: string): Promise<KubeObject> =>
    direct.apply<KubeObject>(ConfigMap, { metadata: { name, namespace }, data: { k } }, { fieldManager: 'mizzen-spec', force: true });

  it('goes on where it was after its connections broke, by server-side apply to delete', async () => {
    const cuttable = await createCuttable(new URL(direct.server));
    const directory = await mkdtemp(join(tmpdir(), 'mizzen-kube-'));
    const file = join(directory, 'config');
    // Paths in it are relative to where it was.
    const text = (await readFile(kubeconfig, 'utf8')).replace(direct.server, `https://127.0.0.1:${cuttable.port}`);
    await writeFile(
      file,
      text.replaceAll(/(certificate-authority|client-certificate|client-key): (?!\/)(\S+)/g, `$1: ${dirname(kubeconfig)}/$2`),
    );
    const client = await connectKubernetes({ kubeconfig: file });
    let lists = 0;
    const counted = {
      ...client,
      request: <T>(options: Parameters<typeof client.request>[0]): Promise<T> => {
        lists++;
        return client.request<T>(options);
      },
    };
    const reflector = createReflector<string>({
      client: counted,
      kind: ConfigMap,
      namespace,
      keep: (object) => (object['data'] as Record<string, string> | undefined)?.['k'],
    });
    try {
      await put('a', '1');
      reflector.start();
      await reflector.objects.until((objects) => objects.get(`${namespace}/a`) === '1');
      for (const round of ['2', '3']) {
        for (const socket of cuttable.connections) socket.destroy();
        await put('a', round);
        await reflector.objects.until((objects) => objects.get(`${namespace}/a`) === round);
      }
      expect(lists).toBe(1);
      expect(await direct.delete(ConfigMap, { name: 'a', namespace })).toBe(true);
      await reflector.objects.until((objects) => !objects.has(`${namespace}/a`));
    } finally {
      await reflector.close();
      await client.close();
      await cuttable.close();
      await rm(directory, { recursive: true });
    }
  });

  it('follows names and versions alone where that is all it wants', async () => {
    const seen: KubeObject[] = [];
    const reflector = createReflector<string>({
      client: direct,
      kind: ConfigMap,
      namespace,
      isMetadataOnly: true,
      keep: (object) => {
        seen.push(object);
        return object.metadata.resourceVersion;
      },
    });
    try {
      reflector.start();
      await reflector.synced.until((isSynced) => isSynced);
      const { metadata } = await put('b', 'content');
      await reflector.objects.until((objects) => objects.get(`${namespace}/b`) === metadata.resourceVersion);
      expect(seen.some((object) => 'data' in object)).toBe(false);
    } finally {
      await reflector.close();
    }
  });
});
