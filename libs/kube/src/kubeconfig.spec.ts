import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Access } from './access.ts';
import { connectKubernetes } from './connect.ts';
import { KINDS_OF_KUBERNETES } from './kinds.ts';
import { kubeconfigAccess } from './kubeconfig-access.ts';
import { createFakeApiServer } from './testing/index.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mizzen-kubeconfig-'));
});
afterEach(() => rm(directory, { recursive: true }));

type Written = Record<string, unknown>;

async function write(user: Written, cluster: Written = {}, name = 'config'): Promise<string> {
  const file = join(directory, name);
  const config = {
    'current-context': 'c',
    clusters: [{ name: 'k', cluster: { server: 'https://10.0.0.1:6443', ...cluster } }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'c', context: { cluster: 'k', user: 'u', namespace: 'mine' } }],
  };
  await writeFile(file, JSON.stringify(config));
  return file;
}
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const jwt = (endsAtS: number): string =>
  ['{}', JSON.stringify({ exp: endsAtS }), ''].map((part) => Buffer.from(part).toString('base64url')).join('.');

async function writeFiles(files: Record<string, string>): Promise<void> {
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
}

describe('kubeconfigAccess', () => {
  it.each<[string, { user: Written; cluster?: Written; expected: Partial<Access> }]>([
    [
      'a token',
      {
        user: { token: 'secret' },
        cluster: { 'certificate-authority-data': base64('ca'), 'tls-server-name': 'kubernetes' },
        expected: { headers: { authorization: 'Bearer secret' }, ca: Buffer.from('ca'), servername: 'kubernetes' },
      },
    ],
    [
      'a name and a password',
      { user: { username: 'somebody', password: 'p' }, expected: { headers: { authorization: `Basic ${base64('somebody:p')}` } } },
    ],
    [
      'certificates as data',
      {
        user: { 'client-certificate-data': base64('cert'), 'client-key-data': base64('key') },
        cluster: { 'insecure-skip-tls-verify': true },
        expected: { cert: Buffer.from('cert'), key: Buffer.from('key'), isVerified: false },
      },
    ],
    [
      'certificates as files beside it',
      {
        user: { 'client-certificate': 'cert.pem', 'client-key': 'key.pem' },
        cluster: { 'certificate-authority': 'ca.pem' },
        expected: { ca: Buffer.from('ca'), cert: Buffer.from('cert'), key: Buffer.from('key') },
      },
    ],
    [
      'impersonation',
      {
        user: { token: 'secret', as: 'somebody', 'as-uid': '7', 'as-groups': ['a', 'b'], 'as-user-extra': { Scope: ['view'] } },
        expected: {
          headers: {
            authorization: 'Bearer secret',
            'impersonate-user': 'somebody',
            'impersonate-uid': '7',
            'impersonate-group': ['a', 'b'],
            'impersonate-extra-scope': ['view'],
          },
        },
      },
    ],
    [
      'an OpenID Connect token',
      {
        user: { 'auth-provider': { name: 'oidc', config: { 'id-token': jwt(Number.MAX_SAFE_INTEGER) } } },
        expected: { headers: { authorization: `Bearer ${jwt(Number.MAX_SAFE_INTEGER)}` } },
      },
    ],
  ])('reads %s', async (_, { user, cluster, expected }) => {
    await writeFiles({ 'cert.pem': 'cert', 'key.pem': 'key', 'ca.pem': 'ca' });
    const source = await kubeconfigAccess(await write(user, cluster), undefined);
    expect(await source.access()).toEqual({ headers: {}, isVerified: true, ...expected });
  });

  it('knows the namespace of the context, and reads a token file again when its token is refused', async () => {
    await writeFiles({ token: 'one\n' });
    const source = await kubeconfigAccess(await write({ tokenFile: 'token', token: 'older' }), undefined);
    expect(source.namespace).toBe('mine');
    expect((await source.access()).headers).toEqual({ authorization: 'Bearer one' });
    await writeFiles({ token: 'two' });
    source.renew();
    expect((await source.access()).headers).toEqual({ authorization: 'Bearer two' });
  });

  it('takes of several files what the first of them has, and leaves missing ones out', async () => {
    const first = await write({ token: 'first' });
    const second = await write({ token: 'second' }, {}, 'second');
    const source = await kubeconfigAccess([join(directory, 'missing'), first, second].join(':'), undefined);
    expect((await source.access()).headers).toEqual({ authorization: 'Bearer first' });
  });

  it('runs a plugin once for as long as its credential is good', async () => {
    const plugin = join(directory, 'plugin');
    await writeFile(
      plugin,
      `#!/bin/sh\necho x >> "$COUNT"\nexpires=$(cat "${join(directory, 'expires')}")\necho "{\\"status\\":{\\"token\\":\\"$1-$(wc -l < "$COUNT" | tr -d ' ')\\",\\"expirationTimestamp\\":\\"$expires\\"}}"\n`,
    );
    await chmod(plugin, 0o755);
    await writeFiles({ expires: '2000-01-01T00:00:00Z' });
    const exec = { command: './plugin', args: ['t'], env: [{ name: 'COUNT', value: join(directory, 'count') }] };
    const source = await kubeconfigAccess(await write({ exec }), undefined);
    const token = async () => (await source.access()).headers['authorization'];
    // These have ended already: the next request asks for another.
    expect(await token()).toBe('Bearer t-1');
    expect(await token()).toBe('Bearer t-2');
    await writeFiles({ expires: '2999-01-01T00:00:00Z' });
    expect([await token(), await token()]).toEqual(['Bearer t-3', 'Bearer t-3']);
    source.renew();
    expect(await token()).toBe('Bearer t-4');
  });

  it('tells a plugin which version to answer in, and about the cluster where it wants to know', async () => {
    await writeFiles({
      plugin: `#!/bin/sh\nprintf %s "$KUBERNETES_EXEC_INFO" > "${join(directory, 'info')}"\necho '{"status":{"token":"t"}}'\n`,
    });
    await chmod(join(directory, 'plugin'), 0o755);
    const apiVersion = 'client.authentication.k8s.io/v1beta1';
    const file = await write({ exec: { apiVersion, command: './plugin', provideClusterInfo: true } }, { 'tls-server-name': 'kubernetes' });
    await (await kubeconfigAccess(file, undefined)).access();
    expect(JSON.parse(await readFile(join(directory, 'info'), 'utf8'))).toMatchObject({
      apiVersion,
      kind: 'ExecCredential',
      spec: { interactive: false, cluster: { server: 'https://10.0.0.1:6443', 'tls-server-name': 'kubernetes' } },
    });
  });

  it('runs a plugin once for requests at the same time', async () => {
    await writeFiles({ plugin: `#!/bin/sh\necho x >> "${join(directory, 'count')}"\necho '{"status":{"token":"t"}}'\n` });
    await chmod(join(directory, 'plugin'), 0o755);
    const source = await kubeconfigAccess(await write({ exec: { command: './plugin' } }), undefined);
    await Promise.all([source.access(), source.access(), source.access()]);
    expect(await readFile(join(directory, 'count'), 'utf8')).toBe('x\n');
  });

  it('goes through the proxy of the cluster', async () => {
    const api = await createFakeApiServer();
    const asked: (string | undefined)[] = [];
    const proxy = createServer().on('connect', (request, socket) => {
      asked.push(request.url);
      const { hostname, port } = new URL(`http://${request.url}`);
      const upstream = connect(Number(port), hostname, () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        upstream.pipe(socket).pipe(upstream);
      });
    });
    await new Promise<void>((listening) => proxy.listen(0, '127.0.0.1', listening));
    const { port } = proxy.address() as AddressInfo;
    const cluster = { server: api.url, 'insecure-skip-tls-verify': true, 'proxy-url': `http://127.0.0.1:${port}` };
    const client = await connectKubernetes({ kubeconfig: await write({}, cluster) });
    expect(await client.list(KINDS_OF_KUBERNETES.Namespace)).toEqual([]);
    expect(asked).toEqual([new URL(api.url).host]);
    await client.close();
    await api.close();
    await new Promise((closed) => proxy.close(closed));
  });

  it.each<[string, Written, RegExp]>([
    [
      'a plugin that fails',
      { exec: { command: 'no-such-plugin', installHint: 'install it' } },
      /plugin no-such-plugin.*ENOENT; install it/s,
    ],
    ['a plugin that gives nothing', { exec: { command: 'echo', args: ['{}'] } }, /credential plugin echo failed/],
    ['a file that is not there', { 'client-certificate': 'none.pem' }, /credentials of user u of the kubeconfig failed: ENOENT.*none\.pem/],
    ['a login that has ended', { 'auth-provider': { name: 'oidc', config: { 'id-token': jwt(1) } } }, /auth-provider oidc .*log in again/],
    ['an auth-provider that nobody knows', { 'auth-provider': { name: 'ours' } }, /auth-provider ours gives no credential/],
  ])('names %s', async (_, user, message) => {
    const source = await kubeconfigAccess(await write(user), undefined);
    await expect(source.access()).rejects.toMatchObject({ code: 'MIZZEN_KUBERNETES', message: expect.stringMatching(message) });
  });

  it.each<[string, Written, RegExp]>([
    ['no such context', { 'current-context': 'other' }, /has no context other; it has c; name another/],
    ['no such user', { users: [] }, /lacks the user "u" of its context c/],
    ['no such cluster', { clusters: [] }, /lacks the cluster "k" of its context c/],
    ['a cluster without a server', { clusters: [{ name: 'k', cluster: {} }] }, /clusters\[0\]\.cluster\.server is missing/],
    ['a server that is no URL', { clusters: [{ name: 'k', cluster: { server: '10.0.0.1:6443' } }] }, /is no URL; write https:/],
    [
      'plain HTTP',
      { clusters: [{ name: 'k', cluster: { server: 'http://10.0.0.1' } }] },
      /not encrypted; use https, or say insecure-skip-tls/,
    ],
  ])('refuses %s and says what to do', async (_, changed, message) => {
    const file = await write({});
    await writeFile(file, JSON.stringify({ ...(JSON.parse(await readFile(file, 'utf8')) as Written), ...changed }));
    await expect(kubeconfigAccess(file, undefined)).rejects.toThrow(message);
  });

  it('refuses what is no kubeconfig', async () => {
    await expect(kubeconfigAccess(join(directory, 'none'), undefined)).rejects.toThrow(/cannot be used: ENOENT/);
    await writeFiles({ empty: '', list: '[a', text: 'hello' });
    for (const name of ['empty', 'list', 'text'])
      await expect(kubeconfigAccess(join(directory, name), undefined)).rejects.toThrow(/cannot be used/);
  });
});
