import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server as NetServer } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { silentLogger } from '@mizzen/core';
import { createSelfSignedRoot } from '@mizzen/identity';
import { createAgentMetrics } from './agent-metrics.ts';
import { parseAppProbes } from './app-probe-config.ts';
import { AppProber } from './app-prober.ts';
import { MergedMetrics } from './merged-metrics.ts';
import type { PrometheusTarget } from './options.ts';
import { serveReadiness, serveStatus } from './status-server.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function listening(server: NetServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => new Promise((resolve) => server.close(resolve)));
  return (server.address() as AddressInfo).port;
}

interface Answer {
  readonly code: number;
  readonly body: string;
  readonly type: string;
}

function call(
  port: number,
  path: string,
  options: { method?: string; headers?: Record<string, string>; host?: string; localAddress?: string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path, agent: false, ...options }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => resolve({ code: response.statusCode ?? 0, body, type: response.headers['content-type'] ?? '' }));
    });
    sent.on('error', reject);
    sent.end();
  });
}

async function status(given: { probes?: object; admin?: number; app?: PrometheusTarget; host?: string | undefined } = {}) {
  const calls: string[] = [];
  const { probes = {}, admin = 1, app } = given;
  const server = await serveStatus({
    host: 'host' in given ? given.host : '127.0.0.1',
    port: 0,
    notReadyReason: () => undefined,
    metrics: new MergedMetrics({ admin: { host: '127.0.0.1', port: admin }, metrics: createAgentMetrics(Date.now), app }),
    prober: new AppProber({
      probes: parseAppProbes(JSON.stringify(probes)),
      address: '127.0.0.1',
      sourceAddress: process.platform === 'linux' ? '127.0.0.6' : undefined,
      logger: silentLogger,
    }),
    nameTable: () => '{"table":{}}',
    onDrain: () => calls.push('drain'),
    onQuit: () => calls.push('quit'),
  });
  closers.push(() => server.close());
  return { port: server.port, calls };
}

/** A program that says what it was asked. */
async function program(answer: (request: IncomingMessage) => { code: number; headers?: Record<string, string>; body?: string }): Promise<{
  port: number;
  requests: IncomingMessage[];
  sources: (string | undefined)[];
}> {
  const requests: IncomingMessage[] = [];
  const sources: (string | undefined)[] = [];
  const server: Server = createServer((received, response) => {
    requests.push(received);
    sources.push(received.socket.remoteAddress);
    const { code, headers = {}, body = '' } = answer(received);
    response.writeHead(code, headers).end(body);
  });
  return { port: await listening(server), requests, sources };
}

describe('a probe that was led to the status port', () => {
  it('is carried out with the headers of the kubelet, from the address that iptables leaves alone', async () => {
    const { port, requests, sources } = await program(() => ({ code: 218, body: 'this is fine' }));
    const path = '/app-health/reviews/livez';
    const { port: statusPort } = await status({ probes: { [path]: { httpGet: { path: 'health?deep=1', port }, timeoutSeconds: 20 } } });
    const answer = await call(statusPort, path, { headers: { 'x-probe': 'yes', host: `10.0.0.1:${statusPort}` } });
    expect([answer.code, answer.body]).toEqual([218, 'this is fine']);
    const [received] = requests;
    expect(received?.url).toBe('/health?deep=1');
    expect(received?.headers).toMatchObject({ 'x-probe': 'yes', host: `10.0.0.1:${port}` });
    expect(sources).toEqual([process.platform === 'linux' ? '127.0.0.6' : '127.0.0.1']);
  });

  it('follows redirects within the program, takes one to elsewhere as success, and stops after ten', async () => {
    const { port } = await program(({ url }) => {
      if (url === '/start') return { code: 302, headers: { location: '/end' } };
      if (url === '/away') return { code: 301, headers: { location: 'http://example.com/' } };
      return url === '/loop' ? { code: 307, headers: { location: '/loop' } } : { code: 404, body: 'the end' };
    });
    const probes = Object.fromEntries(
      ['start', 'away', 'loop'].map((name) => [`/app-health/${name}/readyz`, { httpGet: { path: `/${name}`, port } }]),
    );
    const { port: statusPort } = await status({ probes });
    const codes = await Promise.all(
      ['start', 'away', 'loop'].map(async (name) => (await call(statusPort, `/app-health/${name}/readyz`)).code),
    );
    expect(codes).toEqual([404, 200, 500]);
  });

  it('does not verify the certificate of a program that speaks HTTPS, as the kubelet does not', async () => {
    const { privateKeyPem, certificatePem } = await createSelfSignedRoot({ trustDomain: 'example', now: Date.now() });
    const server = createHttpsServer({ key: privateKeyPem, cert: certificatePem }, (_, response) => response.end('secret'));
    const port = await listening(server);
    const path = '/app-health/reviews/startupz';
    const { port: statusPort } = await status({ probes: { [path]: { httpGet: { path: '/', port, scheme: 'HTTPS' } } } });
    expect(await call(statusPort, path)).toMatchObject({ code: 200, body: 'secret' });
  });

  it('fails when the program is away, does not answer in time or is not there at all', async () => {
    const silent = await listening(createTcpServer((socket) => socket.on('error', () => undefined).resume()));
    const gone = createTcpServer();
    const gonePort = await listening(gone);
    await new Promise((resolve) => gone.close(resolve));
    const { port } = await status({
      probes: {
        '/app-health/slow/livez': { httpGet: { path: '/', port: silent }, timeoutSeconds: 0.1 },
        '/app-health/slow-grpc/livez': { grpc: { port: silent }, timeoutSeconds: 0.1 },
        '/app-health/gone/livez': { httpGet: { path: '/', port: gonePort } },
        '/app-health/gone/readyz': { tcpSocket: { port: gonePort } },
        '/app-health/gone/startupz': { grpc: { port: gonePort } },
      },
    });
    const codes = await Promise.all(
      ['slow/livez', 'slow-grpc/livez', 'gone/livez', 'gone/readyz', 'gone/startupz', 'other/livez'].map(
        async (name) => (await call(port, `/app-health/${name}`)).code,
      ),
    );
    expect(codes).toEqual([500, 500, 500, 500, 500, 400]);
  });

  it('by TCP succeeds when the program accepts, also as a hook of its life', async () => {
    const port = await listening(createTcpServer((socket) => socket.end()));
    const path = '/app-lifecycle/reviews/poststartz';
    const { port: statusPort } = await status({ probes: { [path]: { tcpSocket: { port } } } });
    expect((await call(statusPort, path)).code).toBe(200);
  });

  it.each([
    ['', [0x08, 0x01], '0', 200],
    ['reviews', [0x08, 0x01], '0', 200],
    ['reviews', [0x08, 0x02], '0', 500],
    ['', [], '0', 500],
    ['', [], '12', 500],
  ] as const)('by gRPC asks for %j and takes %j with status %s as %d', async (service, message, grpcStatus, expected) => {
    const asked: string[] = [];
    const server = createHttp2Server();
    server.on('stream', (stream, headers) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        asked.push(`${headers[':path']} ${Buffer.concat(chunks).subarray(7).toString()}`);
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': grpcStatus }));
        stream.end(grpcStatus === '0' ? Buffer.from([0, 0, 0, 0, message.length, ...message]) : undefined);
      });
    });
    const port = await listening(server);
    const path = '/app-health/reviews/readyz';
    const { port: statusPort } = await status({ probes: { [path]: { grpc: { port, service } } } });
    expect((await call(statusPort, path)).code).toBe(expected);
    expect(asked).toEqual([`/grpc.health.v1.Health/Check ${service}`]);
  });
});

describe('the probes of a pod', () => {
  it.each([
    ['[]', 'must be a JSON object'],
    ['{"/livez":{"tcpSocket":{"port":1}}}', '/livez: the path must match'],
    ['{"/app-health/a/livez":{}}', 'must have one of httpGet, tcpSocket and grpc'],
    ['{"/app-health/a/livez":{"httpGet":{"port":1},"tcpSocket":{"port":1}}}', 'must have one of'],
    ['{"/app-health/a/livez":{"httpGet":{"port":"http"}}}', 'port must be a number'],
    ['{"/app-health/a/livez":{"grpc":{"port":1},"timeoutSeconds":-1}}', 'timeoutSeconds must be'],
    ['{', '--app-probes must be JSON'],
  ])('%s are refused: %s', (text, reason) => {
    expect(() => parseAppProbes(text)).toThrow(reason);
  });
});

describe('merged metrics', () => {
  const PROXY = 'envoy_server_live 1\n';

  it('are those of agent, proxy and program, the program last and in its format', async () => {
    const admin = await program(() => ({ code: 200, body: PROXY }));
    const app = await program(() => ({
      code: 200,
      headers: { 'content-type': 'application/openmetrics-text; version=1.0.0; charset=utf-8' },
      body: 'orders_total 3\n# EOF',
    }));
    const { port } = await status({ admin: admin.port, app: { port: app.port, path: '/m' } });
    const { body, type } = await call(port, '/stats/prometheus?usedonly', { headers: { accept: 'application/openmetrics-text' } });
    expect(body).toContain('istio_agent_scrapes_total 1\n');
    expect(body.endsWith(`${PROXY}orders_total 3\n# EOF\n`)).toBe(true);
    expect(type).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8');
    expect([admin.requests[0]?.url, app.requests[0]?.url, app.requests[0]?.headers.accept]).toEqual([
      '/stats/prometheus?usedonly',
      '/m',
      'application/openmetrics-text',
    ]);
  });

  it('are the rest when the program or the proxy is away, which is counted', async () => {
    const admin = await program(() => ({ code: 200, body: PROXY }));
    const failing = await program(() => ({ code: 500, body: 'nonsense' }));
    const { port } = await status({ admin: admin.port, app: { port: failing.port, path: '/metrics' } });
    const first = await call(port, '/metrics');
    expect([first.code, first.body.includes(PROXY), first.body.includes('nonsense')]).toEqual([200, true, false]);
    expect(first.body).toContain('istio_agent_scrape_failures_total{type="application"} 1\n');
    const without = await status({ admin: 1 });
    expect((await call(without.port, '/metrics')).body).toContain('istio_agent_scrape_failures_total{type="envoy"} 1\n');
  });
});

describe('the status port', () => {
  it('takes drain and quit by POST', async () => {
    const { port, calls } = await status();
    const codes = [];
    for (const path of ['/drain', '/quitquitquit'])
      for (const method of ['GET', 'POST']) codes.push((await call(port, path, { method })).code);
    expect(codes).toEqual([405, 200, 405, 200]);
    expect(calls).toEqual(['drain', 'quit']);
    const handedOn = await call(port, '/drain', { method: 'POST', localAddress: process.platform === 'linux' ? '127.0.0.6' : '127.0.0.1' });
    expect(handedOn.code).toBe(process.platform === 'linux' ? 403 : 200);
    expect(await call(port, '/debug/ndsz')).toMatchObject({ code: 200, body: '{"table":{}}', type: 'application/json' });
  });

  it('of a pod listens on every address, IPv4 and IPv6 where there is one', async () => {
    const { port } = await status({ host: undefined });
    expect((await call(port, '/healthz/ready')).code).toBe(200);
    const overIpv6 = await call(port, '/healthz/ready', { host: '::1' }).catch((thrown: { code: string }) => thrown.code);
    expect([200, 'EADDRNOTAVAIL', 'EAFNOSUPPORT']).toContain(typeof overIpv6 === 'string' ? overIpv6 : overIpv6.code);
  });

  it('has a neighbour that tells readiness and nothing else', async () => {
    let reason: string | undefined = 'starting: nothing yet';
    const server = await serveReadiness({ host: '127.0.0.1', port: 0, notReadyReason: () => reason });
    closers.push(() => server.close());
    expect(await call(server.port, '/healthz/ready')).toMatchObject({ code: 503, body: 'starting: nothing yet\n' });
    reason = undefined;
    expect((await call(server.port, '/healthz/ready')).code).toBe(200);
    expect((await call(server.port, '/quitquitquit', { method: 'POST' })).code).toBe(404);
  });
});
