import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { create, type JsonValue } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { HeaderValueOptionSchema, HeaderValueSchema } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { HeaderMap } from '../../http/headers.ts';
import { ROUTER, StaticCluster, TestProxy } from '../../http/testing.ts';
import { applyChanges, isValidChange, plainChange, responseChange } from './authz-decision.ts';

type Json = { readonly [field: string]: JsonValue };

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function serve(handler: RequestListener): Promise<number> {
  const server = createServer(handler);
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

interface Setup {
  readonly filter?: Json;
  readonly hcm?: Json;
  readonly response?: Json;
  readonly authorize: RequestListener;
}

/** A proxy before an upstream that answers `up` and what it was asked, with an HTTP authorization server. */
async function start({ filter = {}, hcm = {}, response = {}, authorize }: Setup): Promise<{ proxy: TestProxy; port: number }> {
  const upstream = await serve((request, answer) => answer.end(`up ${request.url} ${JSON.stringify(request.headers)}`));
  const proxy = new TestProxy({
    clusters: [new StaticCluster('up', [upstream]), new StaticCluster('authz', [await serve(authorize)])],
    hcm: {
      statPrefix: 'test',
      routeConfig: {
        name: 'r',
        virtualHosts: [
          {
            name: 'v',
            domains: ['*'],
            routes: [
              { match: { prefix: '/routed' }, directResponse: { status: 200, body: { inlineString: 'routed anew' } } },
              { match: { prefix: '/' }, route: { cluster: 'up' } },
              { match: { connectMatcher: {} }, route: { cluster: 'up', upgradeConfigs: [{ upgradeType: 'CONNECT', connectConfig: {} }] } },
            ],
          },
        ],
      },
      httpFilters: [
        {
          name: 'envoy.filters.http.ext_authz',
          typedConfig: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz',
            transportApiVersion: 'V3',
            httpService: {
              serverUri: { uri: 'http://authz.example', cluster: 'authz', timeout: '5s' },
              authorizationResponse: { allowedUpstreamHeaders: { patterns: [{ prefix: 'x-' }, { exact: ':path' }] }, ...response },
            },
            ...filter,
          },
        },
        ROUTER,
      ],
      ...hcm,
    },
  });
  closers.push(() => proxy.close());
  return { proxy, port: await proxy.listen() };
}

function send(port: number, head: string): { readonly socket: Socket; readonly answer: Promise<string> } {
  const socket = connect(port, '127.0.0.1');
  let received = '';
  socket.on('data', (chunk) => {
    received += chunk.toString('latin1');
  });
  socket.on('error', () => undefined);
  const answer = new Promise<string>((resolve) => socket.on('close', () => resolve(received)));
  socket.write(`${head}\r\n\r\n`);
  return { socket, answer };
}

const GET = 'GET /x HTTP/1.1\r\nhost: a\r\nconnection: close';

describe('external authorization', () => {
  it('gives up to ask when the client is gone', async () => {
    const asked = Promise.withResolvers<void>();
    const givenUp = Promise.withResolvers<void>();
    const { port, proxy } = await start({
      authorize(_request, response) {
        asked.resolve();
        response.on('close', () => givenUp.resolve());
      },
    });
    const { socket } = send(port, GET);
    await asked.promise;
    socket.destroy();
    await givenUp.promise;
    await proxy.untilEnded(1);
    expect(proxy.ended[0]?.responseCode).toBe(0);
  });

  it('refuses CONNECT without asking an HTTP server', async () => {
    let asked = 0;
    const { port } = await start({
      hcm: { upgradeConfigs: [{ upgradeType: 'CONNECT' }] },
      authorize(_request, response) {
        asked++;
        response.end();
      },
    });
    const { answer, socket } = send(port, 'CONNECT a:80 HTTP/1.1\r\nhost: a:80');
    socket.end();
    expect(await answer).toContain('HTTP/1.1 403');
    expect(asked).toBe(0);
  });

  it('tells the access log what it decided', async () => {
    const { port, proxy } = await start({ authorize: (_request, response) => response.writeHead(401).end() });
    expect(await send(port, GET).answer).toContain('HTTP/1.1 401');
    await proxy.untilEnded(1);
    expect(proxy.ended[0]).toMatchObject({ responseCodeDetails: 'ext_authz_denied', flags: ['unauthorizedExternalService'] });
  });

  it('keeps what an authorization server says in dynamic metadata', async () => {
    const { port, proxy } = await start({
      response: { dynamicMetadataFromHeaders: { patterns: [{ exact: 'x-user' }] } },
      authorize: (_request, response) => response.writeHead(200, { 'x-user': 'jane' }).end(),
    });
    expect(await send(port, GET).answer).toContain('up /x');
    await proxy.untilEnded(1);
    const { dynamicMetadata } = proxy.ended[0] as unknown as { dynamicMetadata: Map<string, Record<string, unknown>> };
    expect(dynamicMetadata.get('envoy.filters.http.ext_authz')).toEqual({ 'x-user': 'jane', ext_authz_duration: expect.any(Number) });
  });

  it('lets no header through that would frame the message anew', async () => {
    const { port } = await start({
      response: { allowedUpstreamHeaders: { patterns: [{ safeRegex: { regex: '.*' } }] } },
      authorize: (_request, response) => response.writeHead(200, { 'content-length': '3', 'x-ok': 'yes' }).end('abc'),
    });
    const answer = await send(port, GET).answer;
    expect(answer).toContain('"x-ok":"yes"');
    expect(answer).not.toContain('"content-length"');
  });
});

describe('changes of headers', () => {
  const option = (append?: boolean) => {
    const header = create(HeaderValueSchema, { key: 'X-A', value: 'größe' });
    return create(HeaderValueOptionSchema, append === undefined ? { header } : { header, append });
  };
  const wire = Buffer.from('größe').toString('latin1');

  it('are written as bytes, by lower-cased name', () => {
    expect(plainChange(option(), 'join')).toEqual({ name: 'x-a', value: wire, action: 'set' });
    expect(plainChange(option(true), 'join')).toEqual({ name: 'x-a', value: wire, action: 'join' });
    expect(responseChange(option())).toEqual({ name: 'x-a', value: wire, action: 'add' });
    expect(responseChange(option(false))).toEqual({ name: 'x-a', value: wire, action: 'set' });
  });

  it.each([
    { action: 'add', before: ['1'], after: ['1', 'n'] },
    { action: 'join', before: ['1', '2'], after: ['1,2,n'] },
    { action: 'join', before: [], after: [] },
    { action: 'add-if-absent', before: ['1'], after: ['1'] },
    { action: 'add-if-absent', before: [], after: ['n'] },
    { action: 'set', before: ['1', '2'], after: ['n'] },
    { action: 'set-if-present', before: [], after: [] },
    { action: 'set-if-present', before: ['1'], after: ['n'] },
  ] as const)('by $action to $before make $after', ({ action, before, after }) => {
    const headers = new HeaderMap();
    for (const value of before) headers.push('x', value);
    applyChanges([{ name: 'x', value: 'n', action }], headers);
    expect(headers.values).toEqual(after);
  });

  it.each([
    { name: 'x a', value: 'v' },
    { name: '', value: 'v' },
    { name: ':status', value: '200' },
    { name: 'x', value: 'a\r\nb: c' },
    { name: 'x', value: 'a\0' },
  ])('are not made for $name: $value', ({ name, value }) => {
    const change = { name, value, action: 'set' } as const;
    const headers = new HeaderMap();
    applyChanges([change], headers);
    expect([isValidChange(change), headers.names]).toEqual([false, []]);
  });

  it.each(['content-length', 'transfer-encoding', 'connection', 'upgrade', ':path'])('leave %s to the proxy', (name) => {
    const headers = new HeaderMap();
    applyChanges([{ name, value: '1', action: 'set' }], headers);
    expect(headers.names).toEqual([]);
  });
});
