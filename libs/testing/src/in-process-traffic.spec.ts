import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { exchangeBytes, freePort, type Mesh, Recorder, readAnswer, startMesh, startRequest } from './index.ts';

const LDS = 'type.googleapis.com/envoy.config.listener.v3.Listener';

/** The sum of a metric's series that carry all these labels. */
function sumOf(metrics: string, name: string, labels: Readonly<Record<string, string>>): number {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return metrics
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) && wanted.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

/** The value once it has not changed for 1,000 turns of the event loop. */
async function untilSteady(read: () => number): Promise<number> {
  let last = read();
  for (let turns = 0; turns < 1_000; turns++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (read() !== last) turns = 0;
    last = read();
  }
  return last;
}

function untilData(socket: Socket, wanted: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = '';
    const onData = (chunk: Buffer): void => {
      received += chunk.toString('latin1');
      if (!received.includes(wanted)) return;
      socket.off('data', onData);
      socket.off('close', onClose);
      resolve(received);
    };
    const onClose = (): void => reject(new Error(`closed before ${JSON.stringify(wanted)}, after ${JSON.stringify(received)}`));
    socket.on('data', onData);
    socket.once('close', onClose);
  });
}

describe('traffic through two sidecars', () => {
  let mesh: Mesh;
  let egressPort: number;
  beforeAll(async () => {
    egressPort = await freePort();
    mesh = await startMesh({
      meshConfig: 'accessLogFile: /dev/stdout',
      services: {
        client: {},
        reviews: {},
        mysql: { protocol: 'TCP', port: 3306 },
        sink: {
          handler: ({ request, response }) => {
            // Reads nothing until it is told to, so that whoever sends is held up.
            let bytes = 0;
            request.on('data', (chunk: Buffer) => {
              bytes += chunk.length;
            });
            request.on('end', () => response.end(String(bytes)));
            request.pause();
            held.add(request);
          },
        },
      },
      config: `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client}
spec:
  workloadSelector: {labels: {app: client}}
  egress:
  - {port: {number: ${egressPort}, name: tcp-mysql, protocol: TCP}, bind: 127.0.0.1, captureMode: NONE, hosts: ["./mysql.default.svc.cluster.local"]}
  - {hosts: ["*/*"]}
`,
    });
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());
  const held = new Recorder<IncomingMessage>('request at sink');
  const proxyPort = (): number => mesh.workload('client').httpProxyPort;

  it('upgrades to WebSocket and carries frames both ways', async () => {
    const request = startRequest({
      port: proxyPort(),
      path: 'http://reviews:9080/socket',
      headers: { host: 'reviews:9080', connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-key': 'a2V5' },
    });
    request.end();
    const [response, socket] = (await once(request, 'upgrade')) as [IncomingMessage, Socket];
    expect([response.statusCode, response.headers.upgrade]).toEqual([101, 'websocket']);
    const frames = untilData(socket, 'frame two');
    socket.write('frame one, ');
    socket.write('frame two');
    expect(await frames).toBe('frame one, frame two');
    socket.destroy();
  });

  it('carries a chunked request whose length nobody knows', async () => {
    const request = startRequest({ port: proxyPort(), path: 'http://reviews:9080/c', method: 'POST', headers: { host: 'reviews:9080' } });
    request.write('one ');
    request.write('two ');
    request.end('three');
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    const { echo } = await readAnswer(response);
    expect([echo.body, echo.headers['transfer-encoding'], echo.headers['content-length']]).toEqual(['one two three', 'chunked', undefined]);
  });

  it('lets a client wait for 100 Continue', async () => {
    const headers = { host: 'reviews:9080', expect: '100-continue', 'content-length': '4' };
    const request = startRequest({ port: proxyPort(), path: 'http://reviews:9080/e', method: 'PUT', headers });
    request.flushHeaders();
    await once(request, 'continue');
    request.end('body');
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    expect((await readAnswer(response)).echo.body).toBe('body');
  });

  it('holds a sender up whose receiver does not read, and loses nothing', async () => {
    const size = 96 * 1024 * 1024;
    const headers = { host: 'sink:9080', 'content-length': String(size) };
    const request = startRequest({ port: proxyPort(), path: 'http://sink:9080/', method: 'POST', headers });
    const answered = once(request, 'response') as Promise<[IncomingMessage]>;
    const chunk = Buffer.alloc(64 * 1024, 'x');
    let sent = 0;
    const sending = (async () => {
      while (sent < size) {
        sent += chunk.length;
        if (!request.write(chunk)) await once(request, 'drain');
      }
      request.end();
    })();
    const receiver = await held.first();
    const sentWhileHeld = await untilSteady(() => sent);
    receiver.resume();
    await sending;
    const [response] = await answered;
    expect((await readAnswer(response)).body).toBe(String(size));
    // What the sockets of three hops and the proxies' own buffers hold.
    expect(sentWhileHeld).toBeLessThan(size / 2);
  });

  it('carries TCP by a port that a Sidecar binds, over mutual TLS', async () => {
    await mesh.with(
      'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: strict}\nspec: {mtls: {mode: STRICT}}',
      async () => expect(await exchangeBytes(egressPort, 'select 1')).toBe('mysql-v1\nselect 1'),
    );
  });

  it('carries TCP through a tunnel of the HTTP proxy', async () => {
    const tunnel = await mesh.workload('client').tunnel('mysql.default.svc.cluster.local:3306');
    const answer = untilData(tunnel, 'select 2');
    tunnel.write('select 2');
    expect(await answer).toBe('mysql-v1\nselect 2');
    tunnel.destroy();
  });

  it('gives a request an id, the same at both proxies and in both logs, and passes trace headers on', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const { echo } = await mesh.call({ from: 'client', host: 'reviews', path: '/traced', headers: { traceparent, b3: '0' } });
    const id = String(echo.headers['x-request-id']);
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/);
    expect(echo.headers).toMatchObject({ traceparent, b3: '0' });
    for (const name of ['client', 'reviews']) {
      expect(await mesh.workload(name).accessLog.first((line) => line.includes('/traced'))).toContain(`"${id}"`);
    }
    const kept = await mesh.call({ from: 'client', host: 'reviews', headers: { 'x-request-id': 'mine' } });
    expect(kept.echo.headers['x-request-id']).toBe('mine');
  });

  it("writes Istio's access log line on both sides", async () => {
    await mesh.call({
      from: 'client',
      host: 'reviews',
      path: '/logged',
      method: 'POST',
      body: 'four',
      headers: { 'user-agent': 'a test' },
    });
    const line = (name: string): Promise<string> => mesh.workload(name).accessLog.first((text) => text.includes('/logged'));
    const inboundPort = mesh.workload('reviews').inboundPort;
    expect(await line('client')).toMatch(
      new RegExp(
        `^\\[\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z\\] "POST /logged HTTP/1.1" 200 - via_upstream - "-" 4 \\d+ \\d+ \\d+ "-" "a test" "[0-9a-f-]{36}" ` +
          `"reviews:9080" "127.0.0.1:${inboundPort}" outbound\\|9080\\|\\|reviews.default.svc.cluster.local 127.0.0.1:\\d+ 127.0.0.1:${proxyPort()} 127.0.0.1:\\d+ - \\S+\\n$`,
      ),
    );
    expect(await line('reviews')).toMatch(
      /"POST \/logged HTTP\/1.1" 200 - via_upstream - "-" 4 \d+ \d+ \d+ "-" "a test" "[0-9a-f-]{36}" "reviews:9080" "127.0.0.1:\d+" inbound\|9080\|\| 127.0.0.1:\d+ 127.0.0.1:\d+ 127.0.0.1:\d+ outbound_.9080_._.reviews.default.svc.cluster.local \S+\n$/,
    );
  });

  it("counts requests with Istio's labels on both sides", async () => {
    const labels = {
      source_workload: 'client-v1',
      source_principal: 'spiffe://cluster.local/ns/default/sa/client',
      source_canonical_service: 'client',
      destination_workload: 'reviews-v1',
      destination_principal: 'spiffe://cluster.local/ns/default/sa/reviews',
      destination_service: 'reviews.default.svc.cluster.local',
      destination_service_name: 'reviews',
      destination_service_namespace: 'default',
      request_protocol: 'http',
      response_code: '200',
    };
    const count = (name: string, reporter: string): number =>
      sumOf(mesh.workload(name).metrics(), 'istio_requests_total', {
        ...labels,
        reporter,
        connection_security_policy: reporter === 'source' ? 'unknown' : 'mutual_tls',
      });
    const before = [count('client', 'source'), count('reviews', 'destination')];
    for (let call = 0; call < 3; call++) await mesh.call({ from: 'client', host: 'reviews', path: '/counted' });
    expect([count('client', 'source'), count('reviews', 'destination')]).toEqual(before.map((requests) => requests + 3));
    expect(
      sumOf(mesh.workload('reviews').metrics(), 'istio_request_duration_milliseconds_count', { ...labels, reporter: 'destination' }),
    ).toBe(count('reviews', 'destination'));
  });

  it('never shows the peer headers of the mesh to a program or to a caller', async () => {
    const { echo, headers } = await mesh.call({ from: 'client', host: 'reviews' });
    expect(Object.keys({ ...echo.headers, ...headers }).filter((name) => name.startsWith('x-envoy-peer-metadata'))).toEqual([]);
  });

  it('keeps serving everything else when one resource is refused, and says which and why', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const port = (taken.address() as AddressInfo).port;
    const sidecar = (ports: readonly number[]): string => `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client}
spec:
  workloadSelector: {labels: {app: client}}
  egress:
${ports.map((number) => `  - {port: {number: ${number}, name: tcp-${number}, protocol: TCP}, bind: 127.0.0.1, captureMode: NONE, hosts: ["./mysql.default.svc.cluster.local"]}`).join('\n')}
  - {hosts: ["*/*"]}
`;
    const added = await freePort();
    await mesh.apply(sidecar([egressPort, port, added]));
    const listeners = (): { state?: string; reason?: string } =>
      mesh.controlPlane.server
        .status()
        .find(({ node }) => node.id.includes('~client-v1.'))
        ?.types.get(LDS) ?? {};
    expect(listeners()).toMatchObject({ state: 'ERROR', reason: expect.stringContaining(`127.0.0.1_${port}`) });
    expect(listeners().reason).toContain('address already in use');
    expect(await exchangeBytes(added, 'still')).toBe('mysql-v1\nstill');
    expect(await exchangeBytes(egressPort, 'still')).toBe('mysql-v1\nstill');
    expect((await mesh.call({ from: 'client', host: 'reviews' })).status).toBe(200);
    taken.close();
    await once(taken, 'close');
    await mesh.apply(sidecar([egressPort]));
    expect(listeners().state).toBe('SYNCED');
  });
});
