import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { freePort } from '@mizzen/testing';
import { OBSERVED_MARK, observationBootstrap } from './envoy-differential-observation-bootstrap.ts';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';
import { until } from './until.ts';

interface Span {
  readonly id: string;
  readonly traceId: string;
  readonly parentId?: string;
  readonly name: string;
  readonly kind: string;
  readonly localEndpoint: { readonly serviceName: string };
  readonly tags: Readonly<Record<string, string>>;
}

/** An application and a collector in one: keeps the spans and the headers that it was sent. */
class Recorder {
  readonly spans: Span[] = [];
  readonly requests = new Map<string, IncomingHttpHeaders>();
  readonly server: Server;

  constructor() {
    this.server = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += String(chunk);
      if (request.url === '/api/v2/spans') this.spans.push(...(JSON.parse(body) as Span[]));
      else this.requests.set(String(request.headers['x-case']), request.headers);
      response.writeHead(200, { 'content-type': 'text/plain' }).end('answer');
    });
  }

  async listen(): Promise<number> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    return (this.server.address() as AddressInfo).port;
  }

  spanOf(name: string): Promise<Span> {
    return until(`the span of ${name}`, async () => this.spans.find(({ tags }) => tags['header'] === name));
  }
}

interface Side {
  readonly port: number;
  readonly recorder: Recorder;
  readonly log: () => Promise<string>;
  readonly admin: (path: string, method?: string) => Promise<{ status: number; type: string; body: string }>;
}

const TRACE = '463ac35c9f6413ad48485a3953bb6124';
const PARENT = 'a2fb4a1d1a96d312';

interface ObservedCase {
  readonly name: string;
  readonly path: string;
  readonly method?: string;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const CASES: readonly ObservedCase[] = [
  { name: 'plain', path: '/plain?a=1&b=2' },
  { name: 'post', path: '/post', method: 'POST', body: 'x'.repeat(1000) },
  { name: 'named', path: '/named/1' },
  { name: 'rewritten', path: '/before/1?a=%20' },
  { name: 'direct', path: '/direct' },
  { name: 'dead', path: '/dead' },
  { name: 'filtered', path: '/filtered', headers: { 'x-log': 'yes' } },
  { name: 'b3', path: '/b3', headers: { 'x-b3-traceid': TRACE, 'x-b3-spanid': PARENT, 'x-b3-sampled': '1' } },
  { name: 'b3-single', path: '/b3-single', headers: { b3: `${TRACE}-${PARENT}-1` } },
];

describeWithEnvoy('needs envoy: what our proxy and Envoy tell of the same requests', () => {
  let envoy: Envoy;
  let proxy: MeshProxy;
  let sides: { readonly envoy: Side; readonly ours: Side };

  beforeAll(async () => {
    const recorders = [new Recorder(), new Recorder()] as const;
    const [theirApp, ourApp] = await Promise.all(recorders.map((recorder) => recorder.listen()) as [Promise<number>, Promise<number>]);
    const [theirs, ours, dead] = [await freePort(), await freePort(), await freePort()];
    envoy = await startEnvoy(observationBootstrap({ listener: theirs, app: theirApp, zipkin: theirApp, dead }));
    const bootstrap = observationBootstrap({ listener: ours, app: ourApp, zipkin: ourApp, dead });
    const admin = { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } };
    let ourLog = '';
    proxy = await startOurProxy({ ...bootstrap, admin }, (line) => {
      ourLog += line;
    });
    const address = proxy.adminAddress();
    if (address?.kind !== 'ip') throw new Error('our proxy has no admin port');
    sides = {
      envoy: { port: theirs, recorder: recorders[0], log: () => envoy.output(), admin: adminOf(envoy.adminAddress) },
      ours: { port: ours, recorder: recorders[1], log: () => Promise.resolve(ourLog), admin: adminOf(`127.0.0.1:${address.port}`) },
    };
    for (const each of CASES) for (const side of [sides.envoy, sides.ours]) await send(side, each);
  });
  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    for (const side of Object.values(sides ?? {}) as Side[]) {
      side.recorder.server.closeAllConnections();
      side.recorder.server.close();
    }
  });

  describe('spans are alike:', () => {
    it.each(CASES.map(({ name }) => name))('%s', async (name) => {
      const [theirs, ours] = await Promise.all([sides.envoy.recorder.spanOf(name), sides.ours.recorder.spanOf(name)]);
      expect(comparableSpan(ours, sides.ours.port)).toEqual(comparableSpan(theirs, sides.envoy.port));
    });

    it.each(['plain', 'b3', 'b3-single'])('headers of %s go on', (name) => {
      expect(traceHeaders(sides.ours, name)).toEqual(traceHeaders(sides.envoy, name));
    });
  });

  it('access logs are alike, by every operator that can be compared', async () => {
    const theirs = await logOf(sides.envoy);
    const ours = await logOf(sides.ours);
    expect(ours).toEqual(theirs);
    expect(ours.length).toBeGreaterThan(2 * CASES.length);
  });

  it('statistics are alike', async () => {
    const names =
      '^(http\\.ingress\\.(downstream_rq_(total|completed|.xx|http1_total|http2_total|tx_reset)|rq_(total|direct_response|redirect)|no_route)|' +
      'vhost\\.v\\..*(total|completed|.xx|200)|cluster\\.app\\.upstream_cx_(rx|tx)_bytes_total|' +
      'cluster\\.(app|dead)\\.(upstream_rq_(total|completed|.xx|200|cancelled)|upstream_cx_(connect_fail|none_healthy)|membership_(change|total|healthy)))$';
    const query = `filter=${encodeURIComponent(names)}&usedonly`;
    expect((await sides.ours.admin(`/stats?${query}`)).body).toBe((await sides.envoy.admin(`/stats?${query}`)).body);
    const prometheus = async (side: Side): Promise<readonly string[]> =>
      (await side.admin(`/stats/prometheus?${query}`)).body
        .split('\n')
        .filter((line) => line !== '')
        .map(sortLabels)
        .sort();
    expect(await prometheus(sides.ours)).toEqual(await prometheus(sides.envoy));
  });

  it('histograms are read alike', async () => {
    const names = async (side: Side): Promise<readonly string[]> =>
      (
        await side.admin(
          `/stats/prometheus?filter=${encodeURIComponent('^(cluster.app.upstream_rq_time|http.ingress.downstream_rq_time)$')}`,
        )
      ).body
        .split('\n')
        .filter((line) => /_(count|bucket)/.test(line))
        // Envoy merges its threads' histograms every five seconds.
        .map((line) => sortLabels(line).replace(/ \d+$/, ''));
    expect(await names(sides.ours)).toEqual(await names(sides.envoy));
  });

  describe('the admin interface answers alike:', () => {
    it.each<readonly [path: string, method: string]>([
      ['/ready', 'GET'],
      ['/nope', 'GET'],
      ['/logging', 'GET'],
      ['/logging?level=loud', 'POST'],
      ['/drain_listeners', 'GET'],
      ['/healthcheck/fail', 'GET'],
      ['/stats?type=bad', 'GET'],
      ['/stats?histogram_buckets=bad', 'GET'],
      ['/stats?histogram_buckets=detailed', 'GET'],
      ['/stats?format=json&histogram_buckets=detailed', 'GET'],
      ['/stats/prometheus?histogram_buckets=summary', 'GET'],
      ['/stats?filter=((', 'GET'],
      ['/config_dump?resource=nope', 'GET'],
      ['/clusters?filter=((', 'GET'],
      ['/runtime_modify', 'POST'],
      ['/reset_counters', 'GET'],
      ['/reopen_logs', 'POST'],
      ['/quitquitquit', 'GET'],
      ['/memory', 'GET'],
      ['/server_info', 'GET'],
      ['/certs', 'GET'],
      ['/init_dump', 'GET'],
      ['/listeners?format=json', 'GET'],
      ['/clusters?format=json', 'GET'],
      ['/hot_restart_version', 'GET'],
    ])('%s', async (path, method) => {
      const [theirs, ours] = await Promise.all([sides.envoy.admin(path, method), sides.ours.admin(path, method)]);
      expect([ours.status, ours.type.split(';')[0]]).toEqual([theirs.status, theirs.type.split(';')[0]]);
    });

    it.each(['/runtime', '/config_dump?mask=bootstrap.node.id', '/config_dump?resource=static_clusters&mask=cluster.name', '/init_dump'])(
      '%s, word for word',
      async (path) => {
        const [theirs, ours] = await Promise.all([sides.envoy.admin(path), sides.ours.admin(path)]);
        expect(JSON.parse(ours.body)).toEqual(JSON.parse(theirs.body));
      },
    );

    it('/clusters, fact by fact', async () => {
      const facts = async (side: Side): Promise<ReadonlySet<string>> =>
        new Set(
          (await side.admin('/clusters?filter=^app$')).body
            .split('\n')
            .map((line) => line.replace(/::\d[^:]*:\d+::/, '::').replace(/::[^:]*$/, '')),
        );
      const theirs = await facts(sides.envoy);
      for (const fact of await facts(sides.ours)) expect(theirs).toContain(fact);
    });
  });
});

function adminOf(address: string): Side['admin'] {
  return async (path, method = 'GET') => {
    const response = await fetch(`http://${address}${path}`, { method, headers: { connection: 'close' } });
    return { status: response.status, type: response.headers.get('content-type') ?? '', body: await response.text() };
  };
}

async function send(side: Side, { name, path, method = 'GET', body, headers }: ObservedCase): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${side.port}${path}`, {
    method,
    headers: { 'user-agent': 'tester', connection: 'close', 'x-case': name, 'x-h': name, ...headers },
    ...(body === undefined ? {} : { body }),
  });
  await response.text();
}

function comparableSpan({ id: _, tags, traceId, name, kind, parentId, localEndpoint }: Span, port: number): object {
  const masked = Object.fromEntries(Object.entries(tags).map(([tag, value]) => [tag, value.replaceAll(String(port), 'PORT')]));
  return {
    name: name.replaceAll(String(port), 'PORT'),
    kind,
    parentId,
    traceId: parentId === undefined ? traceId.length : traceId,
    service: localEndpoint.serviceName,
    tags: { ...masked, 'guid:x-request-id': masked['guid:x-request-id']?.length },
  };
}

/** Names of the headers and what of them is given by the caller. */
function traceHeaders({ recorder }: Side, name: string): object {
  const headers = recorder.requests.get(name) ?? {};
  const found = Object.entries(headers).filter(([header]) => /^(x-b3-.*|b3|traceparent)$/.test(header));
  return Object.fromEntries(
    found.map(([header, value]) => [
      header,
      String(value)
        .replaceAll(TRACE, 'TRACE')
        .replaceAll(PARENT, 'PARENT')
        .replace(/\b[0-9a-f]{16,32}\b/g, 'ID'),
    ]),
  );
}

async function logOf(side: Side): Promise<readonly string[]> {
  const wanted = CASES.length * 2;
  const lines = await until('the access log', async () => {
    const found = (await side.log()).split('\n').filter((line) => line.includes(OBSERVED_MARK));
    return found.filter((line) => line.includes(`${OBSERVED_MARK}text`) || line.includes(`${OBSERVED_MARK}json`)).length >= wanted
      ? found
      : undefined;
  });
  // Ports are the listeners' and the applications' own.
  return lines.map((line) => line.replace(/127\.0\.0\.1:\d+/g, '127.0.0.1:PORT')).sort();
}

function sortLabels(line: string): string {
  return line.replace(/\{(.*)\}/, (_, labels: string) => `{${labels.split(',').sort().join(',')}}`);
}
