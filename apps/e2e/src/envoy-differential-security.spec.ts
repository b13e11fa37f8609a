import { createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { Http2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createSelfSignedRoot, generateKeys, issueLeaf, privateKeyToPem } from '@mizzen/identity';
import type { MeshProxy } from '@mizzen/proxy';
import { type EchoApp, freePort, startEchoApp } from '@mizzen/testing';
import { comparable, exchange } from './envoy-differential.ts';
import type { DifferentialCase } from './envoy-differential-cases.ts';
import { PRINCIPALS, SECURITY_LOG_MARK, type SecurityCertificates, securityBootstrap } from './envoy-differential-security-bootstrap.ts';
import { AUTHZ_CASES, jwtCases, meshCases, RBAC_CASES } from './envoy-differential-security-cases.ts';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';
import { startGrpcAuthorization, startHttpAuthorization } from './peers/authorization-servers.ts';
import { until } from './until.ts';

type HttpListener = 'rbac' | 'jwt' | 'mesh' | 'authz';
const TCP_LISTENERS = ['tcpAllowed', 'tcpDenied', 'tcpAsked', 'tcpUnanswered', 'tcpOpen'] as const;
type Listeners = Record<HttpListener | 'tls' | (typeof TCP_LISTENERS)[number], number>;

async function chooseListeners(): Promise<Listeners> {
  const names = ['rbac', 'jwt', 'mesh', 'authz', 'tls', ...TCP_LISTENERS] as const;
  const ports = await Promise.all(names.map(() => freePort()));
  return Object.fromEntries(names.map((name, index) => [name, ports[index]])) as Listeners;
}

function portOf(server: { address(): AddressInfo | string | null }): number {
  return (server.address() as AddressInfo).port;
}

const { privateKey: rsa } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const { privateKey: stranger } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const { privateKey: ec } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const { privateKey: ed } = generateKeyPairSync('ed25519');
const KEYS = { rsa, stranger, ec, ed };
const NOW_SECONDS = Math.floor(Date.now() / 1000);
const CASES: Record<HttpListener, readonly DifferentialCase[]> = {
  rbac: RBAC_CASES,
  jwt: jwtCases(KEYS, NOW_SECONDS),
  mesh: meshCases(KEYS, NOW_SECONDS),
  authz: AUTHZ_CASES,
};
const ADMIN = { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } };
const LISTENERS = Object.keys(CASES) as HttpListener[];

// Tokens that were verified are always kept here, and who waits for keys waits for one fetch.
const COUNTED =
  /^http\.[a-z]+\.(?:rbac|ext_authz|jwt_authn)\.(?!jwt_cache|jwks_fetch)|^tcp-[a-z]+\.rbac\.|^ext_authz\.|^cluster\.echo\.ext_authz\./;

// Ours escapes quotes, so that no value can forge a field; members of metadata come in any order, and how long an authorization server took differs.
function comparableLine(line: string): string {
  const parts = line
    .replaceAll('\\"', '"')
    .split(' | ')
    .map((part) => (part.startsWith('{"') ? JSON.stringify(sorted(JSON.parse(part))) : part));
  return parts.join(' | ').replace(/"ext_authz_duration":\d+/, '"ext_authz_duration":0');
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value).map(([key, each]) => [key, sorted(each)] as const);
  return Object.fromEntries(entries.sort(([one], [other]) => (one < other ? -1 : 1)));
}

// Envoy tells clients how long the authorization server took to refuse them.
function withoutServiceTime(answer: string): string {
  return answer.replace(/\r\nx-envoy-upstream-service-time: \d+(?=\r\n)/, '');
}

interface Certificates {
  readonly server: SecurityCertificates;
  readonly client: { readonly cert: string; readonly key: string };
}

async function issueCertificates(): Promise<Certificates> {
  const now = Date.now();
  const root = await createSelfSignedRoot({ trustDomain: 'cluster.local', now });
  const issuer = { certificate: new X509Certificate(root.certificatePem), privateKey: createPrivateKey(root.privateKeyPem) };
  const validity = { notBefore: now - 60_000, notAfter: now + 3_600_000 };
  const issue = async (name: string): Promise<{ cert: string; key: string }> => {
    const keys = await generateKeys();
    const names = { uris: [`spiffe://cluster.local/ns/a/sa/${name}`], dnsNames: [`${name}.example`] };
    return { cert: issueLeaf(issuer, { publicKey: keys.publicKey, names, validity }), key: privateKeyToPem(keys.privateKey) };
  };
  const { cert: chain, key } = await issue('server');
  return { server: { root: root.certificatePem, chain, key }, client: await issue('client') };
}

/** The answer's first line and body, over TLS. */
function exchangeTls(port: number, path: string, credentials: object): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let received = '';
    const socket = tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...credentials }, () => {
      socket.write(`GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`);
    });
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1');
      // Envoy keeps a connection for a second after its last answer.
      const length = /content-length: (\d+)/.exec(received)?.[1];
      if (length !== undefined && received.length >= received.indexOf('\r\n\r\n') + 4 + Number(length)) socket.end();
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(comparable(received)));
  });
}

function startKeyServer(): Promise<Server> {
  const keys = JSON.stringify({ keys: [{ ...createPublicKey(rsa).export({ format: 'jwk' }), kid: 'rsa' }] });
  const server = createServer((request, response) => {
    if (request.url === '/keys') response.end(keys);
    else if (request.url === '/broken') response.end('{}');
    else response.writeHead(404).end();
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

describeWithEnvoy('needs envoy: the security filters of our proxy and of Envoy on the same bootstrap', () => {
  let echo: EchoApp;
  let keyServer: Server;
  let authzHttp: Server;
  let authzGrpc: Http2Server;
  let certificates: Certificates;
  let envoy: Envoy;
  let proxy: MeshProxy;
  let envoys: Listeners;
  let ours: Listeners;
  const ourLog: string[] = [];

  beforeAll(async () => {
    echo = await startEchoApp('first', {});
    keyServer = await startKeyServer();
    const keys = { rsa: createPublicKey(rsa), ec: createPublicKey(ec), ed: createPublicKey(ed) };
    certificates = await issueCertificates();
    authzHttp = await startHttpAuthorization();
    authzGrpc = await startGrpcAuthorization();
    const peers = {
      echo: echo.port,
      keys: portOf(keyServer),
      authzHttp: portOf(authzHttp),
      authzGrpc: portOf(authzGrpc),
      dead: await freePort(),
    };
    const bootstrapAt = (at: Listeners): Record<string, unknown> => securityBootstrap({ ...at, ...peers }, keys, certificates.server);
    envoys = await chooseListeners();
    ours = await chooseListeners();
    envoy = await startEnvoy(bootstrapAt(envoys));
    proxy = await startOurProxy({ ...bootstrapAt(ours), admin: ADMIN }, (line) => ourLog.push(line));
  });
  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    await echo?.close();
    for (const server of [keyServer, authzHttp, authzGrpc]) server?.close();
    authzHttp?.closeAllConnections();
  });

  async function expectAlike({ bytes }: DifferentialCase, where: HttpListener): Promise<void> {
    const [fromEnvoy, fromOurs] = await Promise.all([exchange(envoys[where], bytes), exchange(ours[where], bytes)]);
    const isRefusal = where === 'authz' && withoutServiceTime(fromOurs) === fromOurs;
    expect(comparable(fromOurs)).toEqual(comparable(isRefusal ? withoutServiceTime(fromEnvoy) : fromEnvoy));
  }

  describe('RBAC decides alike:', () => {
    it.each(CASES.rbac)('$name', (each) => expectAlike(each, 'rbac'));
  });

  describe('JWT authentication decides alike:', () => {
    it.each(CASES.jwt)('$name', (each) => expectAlike(each, 'jwt'));
  });

  describe('tokens and RBAC of a mesh decide alike:', () => {
    it.each(CASES.mesh)('$name', (each) => expectAlike(each, 'mesh'));
  });

  it.each(TCP_LISTENERS)('connections are let through alike: %s', async (where) => {
    const bytes = 'GET /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n';
    const [fromEnvoy, fromOurs] = await Promise.all([exchange(envoys[where], bytes), exchange(ours[where], bytes)]);
    expect(comparable(fromOurs)).toEqual(comparable(fromEnvoy));
    expect(fromOurs === '').toBe(where === 'tcpDenied' || where === 'tcpUnanswered');
  });

  describe('RBAC knows clients by their certificate alike:', () => {
    const paths = Object.keys(PRINCIPALS).flatMap((name) => [`/ALLOW/${name}`, `/DENY/${name}`]);

    it.each(paths)('with one, %s', async (path) => {
      expect(await exchangeTls(ours.tls, path, certificates.client)).toEqual(await exchangeTls(envoys.tls, path, certificates.client));
    });

    it.each(paths)('without one, %s', async (path) => {
      expect(await exchangeTls(ours.tls, path, {})).toEqual(await exchangeTls(envoys.tls, path, {}));
    });
  });

  describe('external authorization decides alike:', () => {
    it.each(CASES.authz)('$name', (each) => expectAlike(each, 'authz'));
  });

  it('log alike', async () => {
    const mark = (text: string): DifferentialCase => ({
      name: text,
      bytes: `GET /free?${text} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`,
    });
    const linesOf = async (listeners: Listeners, read: () => Promise<string>): Promise<string[]> => {
      await exchange(listeners.jwt, mark('the-beginning').bytes);
      for (const where of LISTENERS) for (const { bytes } of CASES[where]) await exchange(listeners[where], bytes);
      for (const where of TCP_LISTENERS) await exchange(listeners[where], mark('tcp').bytes);
      await exchange(listeners.jwt, mark('the-end').bytes);
      const log = await until('the last line of the log', async () => {
        const text = await read();
        return text.includes('/free?the-end') ? text.slice(text.indexOf('/free?the-beginning')) : undefined;
      });
      return log
        .split('\n')
        .filter((line) => line.startsWith(SECURITY_LOG_MARK))
        .map(comparableLine);
    };
    const [fromEnvoy, fromOurs] = await Promise.all([
      linesOf(envoys, () => envoy.output()),
      linesOf(ours, () => Promise.resolve(ourLog.join(''))),
    ]);
    expect(fromOurs).toEqual(fromEnvoy);
  });

  it('count alike', async () => {
    const address = proxy.adminAddress();
    const port = address?.kind === 'ip' ? address.port : 0;
    const text = await (await fetch(`http://127.0.0.1:${port}/stats`)).text();
    const fromOurs = text.split('\n').flatMap((line) => {
      const [name, value] = line.split(': ') as [string, string | undefined];
      return COUNTED.test(name) && Number(value) > 0 ? [[name, Number(value)] as const] : [];
    });
    const fromEnvoy = Object.entries(await envoy.stats('rbac|ext_authz|jwt_authn')).filter(
      ([name, value]) => COUNTED.test(name) && value > 0,
    );
    expect(Object.fromEntries(fromOurs)).toEqual(Object.fromEntries(fromEnvoy));
  });
});
