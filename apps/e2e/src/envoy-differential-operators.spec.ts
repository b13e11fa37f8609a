import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createSelfSignedRoot, generateKeys, issueLeaf, privateKeyToPem } from '@mizzen/identity';
import type { MeshProxy } from '@mizzen/proxy';
import { freePort } from '@mizzen/testing';
import {
  OPERATORS,
  type OperatorCertificates,
  type OperatorPorts,
  operatorsBootstrap,
  REFUSED_OPERATORS,
} from './envoy-differential-operators-bootstrap.ts';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';
import { until } from './until.ts';

type Line = Readonly<Record<string, unknown>>;

const CASES = [
  { name: 'get', path: '/get?a=1&b=2' },
  { name: 'post', path: '/post', body: 'x'.repeat(1000) },
  { name: 'dead', path: '/dead' },
  { name: 'direct', path: '/direct?q' },
  { name: 'rewritten', path: '/before/1?z=%20y&z=2' },
  { name: 'group', path: '/group' },
] as const;

const LINES = [...CASES.map(({ name }) => name), 'mtls', 'tcp', 'tcp-dead'] as const;

/** An application, and an echo of bytes: shared by both proxies, for their answers are the same. */
async function startServers(): Promise<readonly [app: Server, echo: Server]> {
  const app = createServer(async (request, response) => {
    for await (const _ of request);
    response.sendDate = false;
    response.writeHead(200, { 'content-type': 'text/plain', 'x-up': 'a b' }).end('answer');
  });
  const echo = createTcpServer((socket) => socket.pipe(socket));
  for (const server of [app, echo]) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  }
  return [app, echo];
}

async function issueCertificates(): Promise<OperatorCertificates> {
  const now = Date.now();
  const root = await createSelfSignedRoot({ trustDomain: 'cluster.local', now });
  const issuer = { certificate: new X509Certificate(root.certificatePem), privateKey: createPrivateKey(root.privateKeyPem) };
  const validity = { notBefore: now - 60_000, notAfter: now + 3_600_000 };
  const issue = async (name: string): Promise<{ cert: string; key: string }> => {
    const keys = await generateKeys();
    const names = { uris: [`spiffe://cluster.local/ns/a/sa/${name}`], dnsNames: [`${name}.example`, `${name}.other`] };
    return { cert: issueLeaf(issuer, { publicKey: keys.publicKey, names, validity }), key: privateKeyToPem(keys.privateKey) };
  };
  return { root: root.certificatePem, server: await issue('server'), client: await issue('client') };
}

/** The same traffic for either proxy: one line of each case, in the order of LINES. */
async function sendAll(ports: OperatorPorts, { client }: OperatorCertificates): Promise<void> {
  for (const each of CASES) {
    const body = 'body' in each ? { method: 'POST', body: each.body } : {};
    const headers = { host: 'a', 'user-agent': 'tester', 'x-case': each.name };
    const response = await fetch(`http://127.0.0.1:${ports.http}${each.path}`, { ...body, headers });
    await response.text();
  }
  const secure = tlsConnect({ port: ports.mtls, host: '127.0.0.1', servername: 'outer.example', rejectUnauthorized: false, ...client });
  secure.write('GET /inside HTTP/1.1\r\nhost: a\r\nx-case: mtls\r\n\r\n');
  await once(secure, 'data');
  secure.destroy();
  const echoed = connect(ports.tcp, '127.0.0.1');
  echoed.write('hello');
  await once(echoed, 'data');
  echoed.end();
  await once(echoed, 'close');
  const refused = connect(ports.tcpDead, '127.0.0.1');
  refused.on('error', () => undefined);
  refused.resume();
  await once(refused, 'close');
}

/** What a proxy logged by its form and case; ports are those of the one or of the other proxy. */
async function linesOf(read: () => Promise<string>, ports: OperatorPorts): Promise<ReadonlyMap<string, Line>> {
  const lines = await until('the access log', async () => {
    const found = (await read()).split('\n').filter((line) => line.includes('"mark":'));
    return found.length >= 2 * LINES.length ? found : undefined;
  });
  const byName = new Map<string, Line>();
  for (const line of lines) {
    const parsed = JSON.parse(line.replace(/(?<=<)\{.*?\}(?=>)/g, (json) => json.replaceAll('"', "'"))) as Line;
    const isText = parsed['mark'] === 'text';
    const masked = Object.fromEntries(
      ALL.map((operator, index) => [operator, mask(operator, isText ? parsed[index] : parsed[operator], ports)]),
    );
    const path = String(masked['REQ(X-NONE?X-CASE)']).replace(/^<|>$/g, '');
    const cluster = String(masked['UPSTREAM_CLUSTER_RAW']).replace(/^<|>$/g, '');
    const name = path !== 'null' && path !== '-' ? path : cluster === 'echo' ? 'tcp' : 'tcp-dead';
    byName.set(`${String(parsed['mark'])} ${name}`, masked);
  }
  return byName;
}

const ALL: readonly string[] = [...OPERATORS.values, ...OPERATORS.kinds];
const KINDS: ReadonlySet<string> = new Set(OPERATORS.kinds);

function mask(operator: string, value: unknown, ports: OperatorPorts): unknown {
  if (KINDS.has(operator)) return kindOf(value);
  let text = JSON.stringify(value) ?? 'absent';
  for (const [name, port] of Object.entries(ports)) text = text.replace(new RegExp(`\\b${port}\\b`, 'g'), `"port of ${name}"`);
  return text.replace(/^"(.*)"$/, '$1');
}

function kindOf(value: unknown): string {
  if (value === '<->') return '<->';
  return value === null ? 'null' : typeof value;
}

describeWithEnvoy('needs envoy: every operator of the access logs of our proxy and of Envoy', () => {
  let servers: readonly Server[] = [];
  let envoy: Envoy | undefined;
  let proxy: MeshProxy | undefined;
  let theirs: ReadonlyMap<string, Line>;
  let ours: ReadonlyMap<string, Line>;

  beforeAll(async () => {
    servers = await startServers();
    const [app, echo] = servers.map((server) => (server.address() as AddressInfo).port) as [number, number];
    const certificates = await issueCertificates();
    const dead = await freePort();
    const portsOfOne = async (): Promise<OperatorPorts> => {
      const [http, mtls, inner, tcp, tcpDead] = [await freePort(), await freePort(), await freePort(), await freePort(), await freePort()];
      return { http, mtls, inner, tcp, tcpDead, app, dead, echo };
    };
    const [envoys, mine] = [await portsOfOne(), await portsOfOne()];
    const started = await startEnvoy(operatorsBootstrap(envoys, certificates));
    envoy = started;
    let log = '';
    proxy = await startOurProxy(operatorsBootstrap(mine, certificates), (text) => {
      log += text;
    });
    await sendAll(envoys, certificates);
    await sendAll(mine, certificates);
    theirs = await linesOf(() => started.output(), envoys);
    ours = await linesOf(() => Promise.resolve(log), mine);
  });
  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    for (const server of servers) server.close();
  });

  describe.each(['json', 'text'])('as %s they print the same:', (form) => {
    it.each(LINES)('%s', (name) => {
      const line = theirs.get(`${form} ${name}`);
      expect(line).toBeDefined();
      expect(ours.get(`${form} ${name}`)).toEqual(line);
    });
  });

  it('what is known of mTLS is printed', () => {
    const { UPSTREAM_PEER_URI_SAN, DOWNSTREAM_PEER_URI_SAN, UPSTREAM_SERVER_NAME } = ours.get('json mtls') ?? {};
    expect([UPSTREAM_PEER_URI_SAN, DOWNSTREAM_PEER_URI_SAN, UPSTREAM_SERVER_NAME]).toEqual([
      'spiffe://cluster.local/ns/a/sa/server',
      'spiffe://cluster.local/ns/a/sa/client',
      'inner.example',
    ]);
  });
});

describe('operators that a proxy does not have', () => {
  const withFormat = (format: string): Record<string, unknown> => {
    const stdout = 'type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog';
    const log_format = { text_format_source: { inline_string: format } };
    const filter = {
      name: 'tcp',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
        stat_prefix: 's',
        cluster: 'c',
        access_log: [{ name: 'stdout', typed_config: { '@type': stdout, log_format } }],
      },
    };
    const address = { socket_address: { address: '127.0.0.1', port_value: 0 } };
    return { static_resources: { clusters: [{ name: 'c' }], listeners: [{ name: 'l', address, filter_chains: [{ filters: [filter] }] }] } };
  };

  it.each(REFUSED_OPERATORS)('%s is refused by its name', async (operator) => {
    await expect(startOurProxy(withFormat(`%${operator}%`))).rejects.toThrow(/%[A-Z0-9_]+% is not supported by this proxy; remove it/);
  });

  it('one that Envoy has not either is unknown', async () => {
    await expect(startOurProxy(withFormat('%NO_SUCH_THING%'))).rejects.toThrow('unknown operator %NO_SUCH_THING%');
  });
});
