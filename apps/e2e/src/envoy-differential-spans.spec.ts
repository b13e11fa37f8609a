import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { freePort } from '@mizzen/testing';
import { type SpanPorts, spansBootstrap } from './envoy-differential-spans-bootstrap.ts';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';
import { until } from './until.ts';

interface Span {
  readonly id: string;
  readonly traceId: string;
  readonly parentId?: string;
  readonly name: string;
  readonly kind: string;
  readonly tags: Readonly<Record<string, string>>;
}

/** Every request is one trace; how many spans of it are recorded. */
const CASES = [
  { name: 'retried', path: '/retried/and-a-long-path', spans: 3 },
  { name: 'dead', path: '/dead', spans: 3 },
  { name: 'off', path: '/off', spans: 0 },
  { name: 'tags', path: '/tags', spans: 2 },
  { name: 'direct', path: '/direct', spans: 1 },
  { name: 'named', path: '/named', spans: 2 },
] as const;

/** An application that fails the first try of a request, and the collector of spans. */
class Collector {
  readonly spans: Span[] = [];
  readonly requests = new Map<string, IncomingHttpHeaders[]>();
  readonly server: Server;

  constructor() {
    this.server = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += String(chunk);
      const path = String(request.url);
      if (path === '/api/v2/spans') this.spans.push(...(JSON.parse(body) as Span[]));
      const tries = this.requests.get(path) ?? [];
      this.requests.set(path, [...tries, request.headers]);
      response.writeHead(path.startsWith('/retried') && tries.length === 0 ? 503 : 200).end('answer');
    });
  }

  async listen(): Promise<number> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    return (this.server.address() as AddressInfo).port;
  }

  /** What came of all requests, once it is all there. */
  async traces(ports: SpanPorts): Promise<Record<string, unknown>> {
    const wanted = CASES.reduce((sum, { spans }) => sum + spans, 0);
    await until('the spans', async () => (this.spans.length >= wanted ? true : undefined));
    return Object.fromEntries(
      CASES.map(({ name, path }) => {
        const spans = this.spans.filter(({ tags }) => tags['case'] === name);
        const root = spans.find(({ parentId }) => parentId === undefined);
        const children = spans.filter((span) => span !== root).sort((a, b) => (retryOf(a) < retryOf(b) ? -1 : 1));
        const told = (this.requests.get(path) ?? []).map((headers, index) => ({
          isTrace: headers['x-b3-traceid'] === root?.traceId,
          isParent: headers['x-b3-parentspanid'] === root?.id,
          isTry: headers['x-b3-spanid'] === children[index]?.id,
          sampled: headers['x-b3-sampled'],
          operation: headers['x-envoy-decorator-operation'],
        }));
        const below = children.every(({ parentId, traceId }) => parentId === root?.id && traceId === root?.traceId);
        return [name, { root: shown(root, ports), tries: children.map((child) => shown(child, ports)), below, told }];
      }),
    );
  }
}

function retryOf({ tags }: Span): string {
  return tags['retry.count'] ?? '';
}

function shown(span: Span | undefined, ports: SpanPorts): unknown {
  if (span === undefined) return undefined;
  let text = JSON.stringify({ name: span.name, kind: span.kind, tags: { ...span.tags, 'guid:x-request-id': undefined } });
  for (const [name, port] of Object.entries(ports)) text = text.replaceAll(String(port), `port of ${name}`);
  return JSON.parse(text);
}

describeWithEnvoy('needs envoy: the spans of tries, and what routes say of spans', () => {
  const collectors = [new Collector(), new Collector()] as const;
  let envoy: Envoy | undefined;
  let proxy: MeshProxy | undefined;
  let theirs: Record<string, unknown>;
  let ours: Record<string, unknown>;

  beforeAll(async () => {
    const dead = await freePort();
    const portsOf = async (collector: Collector): Promise<SpanPorts> => ({
      listener: await freePort(),
      app: await collector.listen(),
      dead,
    });
    const [envoys, mine] = [await portsOf(collectors[0]), await portsOf(collectors[1])];
    envoy = await startEnvoy(spansBootstrap(envoys));
    proxy = await startOurProxy(spansBootstrap(mine));
    for (const { listener } of [envoys, mine]) {
      for (const { name, path } of CASES) {
        const headers = { 'user-agent': 'tester', 'x-case': name, 'x-client-trace-id': 'asked' };
        await (await fetch(`http://127.0.0.1:${listener}${path}`, { headers })).text();
      }
    }
    theirs = await collectors[0].traces(envoys);
    ours = await collectors[1].traces(mine);
  });
  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    for (const { server } of collectors) {
      server.closeAllConnections();
      server.close();
    }
  });

  it.each(CASES)('$name: $spans spans', ({ name, spans }) => {
    expect(ours[name]).toEqual(theirs[name]);
    expect(collectors[1].spans.filter(({ tags }) => tags['case'] === name)).toHaveLength(spans);
  });
});
