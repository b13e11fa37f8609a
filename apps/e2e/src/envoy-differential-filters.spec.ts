import { brotliDecompressSync, gunzipSync, gzipSync, zstdDecompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { freePort } from '@mizzen/testing';
import { exchange } from './envoy-differential.ts';
import { FILTER_LISTENERS, filterBootstrap } from './envoy-differential-filters-bootstrap.ts';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';
import { framed, type GrpcBackend, startGrpcBackend } from './peers/grpc-backend.ts';
import { type AnswerScript, type ScriptedBackend, startScriptedBackend } from './peers/scripted-backend.ts';

interface Case {
  readonly name: string;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: readonly string[];
  readonly body?: string;
  readonly isChunked?: boolean;
  readonly script?: AnswerScript;
}

const TEXT = 'many words, and many words again, and the same many words a third time';
const gzipped = gzipSync(TEXT).toString('base64');
const text = (headers: Record<string, string> = {}, body = TEXT): AnswerScript => ({
  headers: { 'content-type': 'text/plain', ...headers },
  body,
});
const accepts = (codings: string): readonly string[] => [`accept-encoding: ${codings}`];

const TWO_MESSAGES = Buffer.concat([framed(Buffer.from('hello')), framed(Buffer.from('world'))]);

function preflight(origin: string): readonly string[] {
  return [`origin: ${origin}`, 'access-control-request-method: GET'];
}

function webCall(type: string, body: string, path = '/echo.Echo/Say'): Omit<Case, 'name'> {
  return { method: 'POST', path, headers: [`content-type: ${type}`, `accept: ${type}`], body };
}

const CASES: Readonly<Record<string, readonly Case[]>> = {
  buffer: [
    { name: 'a request without a body' },
    { name: 'a body of the largest size', method: 'POST', body: '0123456789' },
    { name: 'a body that is too large', method: 'POST', body: '0123456789a' },
    { name: 'chunks, which get a length', method: 'POST', body: '01234', isChunked: true },
    { name: 'chunks that are too many', method: 'POST', body: '0123456789abcdef', isChunked: true },
    { name: 'a route without a limit', method: 'POST', path: '/disabled', body: '0123456789abcdef', isChunked: true },
    { name: 'a route where the filter is off', method: 'POST', path: '/off', body: '0123456789abcdef', isChunked: true },
    { name: 'a route with a limit of its own', method: 'POST', path: '/more', body: '0123456789abcdef', isChunked: true },
    { name: 'a body too large for the route', method: 'POST', path: '/more', body: '0123456789abcdef01234' },
  ],
  compressor: [
    { name: 'no accept-encoding', script: text() },
    { name: 'gzip', headers: accepts('gzip'), script: text() },
    { name: 'brotli', headers: accepts('br'), script: text() },
    { name: 'both alike: the first that is named', headers: accepts('br, gzip'), script: text() },
    { name: 'the better quality', headers: accepts('gzip;q=0.5, br;q=0.8'), script: text() },
    { name: 'identity', headers: accepts('identity, gzip;q=0.1'), script: text() },
    { name: 'any', headers: accepts('*'), script: text() },
    { name: 'none of ours', headers: accepts('deflate'), script: text() },
    { name: 'a quality of zero', headers: accepts('gzip;q=0'), script: text() },
    { name: 'a quality that is none', headers: accepts('gzip;q=x'), script: text() },
    { name: 'a short body', headers: accepts('gzip'), script: text({}, 'short') },
    { name: 'chunks', headers: accepts('gzip'), script: { ...text(), isChunked: true } },
    { name: 'a content type that is not compressed', headers: accepts('gzip'), script: text({ 'content-type': 'image/png' }) },
    { name: 'a content type with a parameter', headers: accepts('gzip'), script: text({ 'content-type': 'text/html; charset=utf-8' }) },
    { name: 'no content type', headers: accepts('gzip'), script: { body: TEXT } },
    { name: 'a strong etag', headers: accepts('gzip'), script: text({ etag: '"abc"' }) },
    { name: 'a weak etag', headers: accepts('gzip'), script: text({ etag: 'W/"abc"' }) },
    { name: 'an etag where the filter leaves it', headers: accepts('br'), script: text({ etag: 'W/"abc"' }) },
    { name: 'no-transform', headers: accepts('gzip'), script: text({ 'cache-control': 'public, no-transform' }) },
    { name: 'vary', headers: accepts('gzip'), script: text({ vary: 'Origin' }) },
    { name: 'vary that says it', headers: accepts('gzip'), script: text({ vary: 'Origin, Accept-Encoding' }) },
    { name: 'what is compressed already', headers: accepts('gzip'), script: { ...text({ 'content-encoding': 'gzip' }), bytes: gzipped } },
    { name: 'HEAD', method: 'HEAD', headers: accepts('gzip'), script: text() },
    { name: 'a route that switches it off', path: '/none', headers: accepts('gzip'), script: text() },
  ],
  zstd: [
    { name: 'a request body', method: 'POST', headers: ['content-type: text/plain'], body: TEXT },
    { name: 'a request body in chunks', method: 'POST', headers: ['content-type: text/plain'], body: TEXT, isChunked: true },
    { name: 'a short request body', method: 'POST', headers: ['content-type: text/plain'], body: 'four' },
    { name: 'a request body of another type', method: 'POST', headers: ['content-type: image/png'], body: TEXT },
    { name: 'an answer', headers: accepts('zstd'), script: text({ 'content-type': 'text/html' }, TEXT.repeat(3)) },
    { name: 'an answer that is too short', headers: accepts('zstd'), script: text({ 'content-type': 'text/html' }) },
    { name: 'accept-encoding, which goes', headers: accepts('zstd') },
  ],
  decompressor: [
    { name: 'accept-encoding, which is made' },
    { name: 'accept-encoding, which grows', headers: accepts('br') },
    { name: 'accept-encoding, where the quality goes', headers: accepts('gzip;q=0.3, br') },
    { name: 'a compressed answer', script: { ...text({ 'content-encoding': 'gzip' }), bytes: gzipped } },
    { name: 'a compressed answer in chunks', script: { ...text({ 'content-encoding': 'gzip' }), bytes: gzipped, isChunked: true } },
    { name: 'an answer with two codings', script: { ...text({ 'content-encoding': 'gzip, br' }), bytes: gzipped } },
    { name: 'an answer in another coding', script: text({ 'content-encoding': 'br' }) },
    { name: 'no-transform', script: { ...text({ 'content-encoding': 'gzip', 'cache-control': 'no-transform' }), bytes: gzipped } },
    {
      name: 'a compressed request',
      method: 'POST',
      headers: ['content-encoding: gzip'],
      body: Buffer.from(gzipped, 'base64').toString('latin1'),
    },
  ],
  fault: [
    { name: 'no header', headers: ['x-envoy-downstream-service-node: node-a'] },
    { name: 'an abort', headers: ['x-envoy-downstream-service-node: node-a', 'x-envoy-fault-abort-request: 418'] },
    { name: 'an abort from another node', headers: ['x-envoy-downstream-service-node: node-b', 'x-envoy-fault-abort-request: 418'] },
    { name: 'a status that is none', headers: ['x-envoy-downstream-service-node: node-a', 'x-envoy-fault-abort-request: 999'] },
    {
      name: 'an abort with a share of zero',
      headers: ['x-envoy-downstream-service-node: node-a', 'x-envoy-fault-abort-request: 418', 'x-envoy-fault-abort-request-percentage: 0'],
    },
    { name: 'a gRPC abort', headers: ['x-envoy-downstream-service-node: node-a', 'x-envoy-fault-abort-grpc-request: 7'] },
    {
      name: 'a gRPC abort of a gRPC call',
      headers: ['x-envoy-downstream-service-node: node-a', 'x-envoy-fault-abort-grpc-request: 7', 'content-type: application/grpc'],
    },
    { name: 'a gRPC status of the route', path: '/grpc', headers: ['content-type: application/grpc'] },
    { name: 'no more faults at a time', path: '/full' },
    { name: 'a delay', headers: ['x-envoy-downstream-service-node: node-a', 'x-envoy-fault-delay-request: 20'] },
    {
      name: 'a slow answer',
      headers: ['x-envoy-downstream-service-node: node-a', 'x-envoy-fault-throughput-response: 16'],
      script: text({}, 'x'.repeat(4000)),
    },
  ],
  limited: [
    { name: 'no limit' },
    { name: 'the first of two', path: '/two' },
    { name: 'the second of two', path: '/two' },
    { name: 'the third of two', path: '/two' },
    { name: 'the third of two, again', path: '/two' },
    { name: 'the third of two, of gRPC', path: '/two', headers: ['content-type: application/grpc'] },
    { name: 'a first that is only watched', path: '/shadow' },
    { name: 'a second that is only watched', path: '/shadow' },
    { name: 'a third that is only watched', path: '/shadow' },
    { name: 'a descriptor of two entries', path: '/described', headers: ['x-user: a'] },
    { name: 'the second of a descriptor of two entries', path: '/described', headers: ['x-user: a'] },
    { name: 'another user', path: '/described', headers: ['x-user: b'] },
    { name: 'a header', path: '/described', headers: ['x-paid: 1'] },
    { name: 'a query parameter', path: '/described?q' },
    { name: 'the slower of two', path: '/described?q', headers: ['x-paid: 1'] },
    { name: 'an address that was masked', path: '/described', headers: ['x-forwarded-for: 10.9.8.7'] },
  ],
  mutation: [
    { name: 'the mutations of filter and host', headers: ['x-gone: 1'], script: text({ 'x-answer': 'own', 'x-unwanted': '1' }) },
    { name: 'what the upstream sees', headers: ['x-gone: 1', 'x-second: mine'] },
    { name: 'the mutations of all levels', path: '/levels' },
    { name: 'a header in the metadata', headers: ['x-version: two'] },
    { name: 'another value, and the header goes', headers: ['x-version: one'] },
    { name: 'a rewritten value', headers: ['x-rewritten: /api/v1'] },
    { name: 'a cookie', headers: ['cookie: a=b; session=abc'] },
    { name: 'another cookie', headers: ['cookie: a=abc'] },
  ],
  preferred: [
    { name: 'both alike', headers: accepts('gzip, br'), script: text() },
    { name: 'both alike, the preferred one first', headers: accepts('br, gzip'), script: text() },
    { name: 'the other one better', headers: accepts('gzip, br;q=0.9'), script: text() },
    { name: 'any', headers: accepts('*'), script: text() },
  ],
  cors: [
    {
      name: 'a preflight for a private network',
      method: 'OPTIONS',
      headers: [...preflight('https://a.example'), 'access-control-request-private-network: true'],
    },
    { name: 'a preflight', method: 'OPTIONS', headers: preflight('https://a.example') },
    { name: 'a preflight from elsewhere', method: 'OPTIONS', headers: preflight('https://b.example') },
    { name: 'a request from elsewhere', headers: ['origin: https://b.example'] },
    { name: 'a preflight where route and host have a policy', path: '/merged', method: 'OPTIONS', headers: preflight('https://a.example') },
    { name: 'a request where route and host have a policy', path: '/merged', headers: ['origin: https://a.example'] },
    { name: 'a policy that is only watched', path: '/shadow', method: 'OPTIONS', headers: preflight('https://a.example') },
  ],
  csrf: [
    { name: 'GET from anywhere', headers: ['origin: https://evil.example'] },
    { name: 'POST from nowhere', method: 'POST', body: '1' },
    { name: 'POST from the same origin', method: 'POST', body: '1', headers: ['origin: http://a.example'] },
    { name: 'POST from another port', method: 'POST', body: '1', headers: ['origin: http://a.example:8080'] },
    { name: 'POST from elsewhere', method: 'POST', body: '1', headers: ['origin: https://evil.example'] },
    { name: 'POST from a friend', method: 'POST', body: '1', headers: ['origin: https://x.friend.example'] },
    { name: 'POST with a referer', method: 'POST', body: '1', headers: ['referer: https://a.example/page?x'] },
    { name: 'POST with a null origin', method: 'POST', body: '1', headers: ['origin: null'] },
  ],
  grpcWeb: [
    { name: 'a binary call', ...webCall('application/grpc-web+proto', framed(Buffer.from('hello')).toString('latin1')) },
    { name: 'two messages', ...webCall('application/grpc-web', TWO_MESSAGES.toString('latin1')) },
    { name: 'a text call', ...webCall('application/grpc-web-text', TWO_MESSAGES.toString('base64')) },
    { name: 'a text call with half a group', ...webCall('application/grpc-web-text', 'AAAAA') },
    { name: 'a text call that is no base64', ...webCall('application/grpc-web-text', '!!!!') },
    { name: 'a call that fails', ...webCall('application/grpc-web+proto', framed(Buffer.from('x')).toString('latin1'), '/echo.Echo/Fail') },
    { name: 'a call of nothing that is there', ...webCall('application/grpc-web+proto', '', '/echo.Echo/None') },
    { name: 'an answer of the proxy', ...webCall('application/grpc-web+proto', '', '/direct') },
    { name: 'what is no gRPC', path: '/other' },
  ],
  asked: [
    { name: 'nothing to ask for' },
    { name: 'the limit of the host', headers: ['x-host: free'] },
    { name: 'the limit of the host, reached', headers: ['x-host: limited'] },
    { name: 'the limit of the host, reached, for gRPC', headers: ['x-host: limited', 'content-type: application/grpc'] },
    { name: 'a service that fails', headers: ['x-host: error'] },
    { name: 'the limit of the route', path: '/own', headers: ['x-host: limited', 'x-route: free'] },
    { name: 'a route that has a limit, without what it is by', path: '/own', headers: ['x-host: limited'] },
    { name: 'both limits', path: '/both', headers: ['x-host: limited', 'x-route: free'] },
    { name: 'a route that ignores the host', path: '/ignored', headers: ['x-host: limited'] },
    { name: 'a domain of the route', path: '/domain', headers: ['x-host: free'] },
    { name: 'the clusters', path: '/clusters', headers: ['x-route: free'] },
    { name: 'another stage', path: '/stage', headers: ['x-route: limited'] },
    { name: 'a body that waits', method: 'POST', headers: ['x-host: free'], body: 'the body', isChunked: true },
  ],
  askedIfThere: [
    { name: 'the limit reached, with a status of its own', headers: ['x-host: limited'] },
    { name: 'a service that fails, and the request goes on', headers: ['x-host: error'] },
  ],
  healthThrough: [{ name: 'a health check that the application answers', path: '/health' }, { name: 'another path' }],
  health: [{ name: 'a health check', path: '/health' }, { name: 'another path' }],
};

function bytesOf({ method = 'GET', path = '/', headers = [], body, isChunked, script }: Case): string {
  const lines = [`${method} ${path} HTTP/1.1`, 'host: a.example', 'connection: close', ...headers];
  if (script !== undefined) lines.push(`x-script: ${JSON.stringify(script)}`);
  if (body !== undefined) lines.push(isChunked ? 'transfer-encoding: chunked' : `content-length: ${body.length}`);
  const chunk = (part: string): string => `${part.length.toString(16)}\r\n${part}\r\n`;
  const half = (body?.length ?? 0) >> 1;
  const content = body === undefined ? '' : isChunked ? `${chunk(body.slice(0, half))}${chunk(body.slice(half))}0\r\n\r\n` : body;
  return `${lines.join('\r\n')}\r\n\r\n${content}`;
}

const VARYING: ReadonlySet<string> = new Set(['date', 'x-envoy-upstream-service-time', 'keep-alive', 'connection']);

/** Status, headers that are the same twice, and the body as it was before it was compressed. */
function essenceOf(received: string): unknown {
  const end = received.indexOf('\r\n\r\n');
  const [status = '', ...lines] = received.slice(0, end).split('\r\n');
  const headers = lines
    .map((line): readonly [string, string] => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()])
    .filter(([name]) => !VARYING.has(name));
  const isChunked = headers.some(([name]) => name === 'transfer-encoding');
  const raw = Buffer.from(isChunked ? withoutChunks(received.slice(end + 4)) : received.slice(end + 4), 'latin1');
  const coding = headers.find(([name]) => name === 'content-encoding')?.[1];
  const isText = headers.some(([name, value]) => name === 'content-type' && value.includes('grpc-web-text'));
  const body = isText ? decodePieces(raw.toString()) : decode(raw, coding);
  const isEcho = headers.some(([, value]) => value === 'application/octet-stream');
  return {
    status: status.split(' ')[1],
    // The length of an echo depends on what is masked in it.
    headers: headers
      .filter(([name]) => !isEcho || name !== 'content-length')
      // Ours tells caches that a CORS answer depends on the origin.
      .filter(([name, value]) => name !== 'vary' || value !== 'origin')
      .map(([name, value]) => `${name}: ${value}`)
      .sort(),
    body: isEcho ? echoEssence(body) : body,
  };
}

function echoEssence(body: string): unknown {
  const { headers, body: sent, ...rest } = JSON.parse(body) as { headers: Record<string, string>; body: string };
  const { 'content-encoding': coding, 'content-length': length } = headers;
  const kept = Object.entries(headers).filter(([name]) => !VARYING.has(name) && name !== 'content-length');
  return {
    ...rest,
    hasLength: length !== undefined,
    headers: Object.fromEntries(kept.sort()),
    body: decode(Buffer.from(sent, 'base64'), coding),
  };
}

/** Base64 of pieces, each with its padding. */
function decodePieces(text: string): string {
  return (text.match(/.{4}/g) ?? []).map((group) => Buffer.from(group, 'base64').toString('latin1')).join('');
}

function decode(raw: Buffer, coding: string | undefined): string {
  if (raw.length === 0) return '';
  if (coding === 'gzip') return gunzipSync(raw).toString();
  if (coding === 'zstd') return zstdDecompressSync(raw).toString();
  if (coding === 'br' && raw.toString() !== TEXT) return brotliDecompressSync(raw).toString();
  return raw.toString();
}

function withoutChunks(body: string): string {
  let rest = body;
  let joined = '';
  for (;;) {
    const size = Number.parseInt(rest, 16);
    const lineEnd = rest.indexOf('\r\n');
    if (lineEnd < 0 || !(size > 0)) return joined;
    joined += rest.slice(lineEnd + 2, lineEnd + 2 + size);
    rest = rest.slice(lineEnd + 4 + size);
  }
}

async function choosePorts(): Promise<Record<string, number>> {
  const ports: Record<string, number> = {};
  for (const name of Object.keys(FILTER_LISTENERS)) ports[name] = await freePort();
  return ports;
}

describeWithEnvoy('needs envoy: HTTP filters of our proxy and of Envoy on the same bootstrap', () => {
  let backend: ScriptedBackend;
  let grpc: GrpcBackend;
  let envoy: Envoy;
  let proxy: MeshProxy;
  let envoys: Record<string, number>;
  let ours: Record<string, number>;
  let admin: number;

  beforeAll(async () => {
    backend = await startScriptedBackend();
    grpc = await startGrpcBackend();
    envoys = await choosePorts();
    ours = await choosePorts();
    admin = await freePort();
    envoy = await startEnvoy(filterBootstrap({ listeners: envoys, backend: backend.port, grpc: grpc.port }));
    const own = {
      ...filterBootstrap({ listeners: ours, backend: backend.port, grpc: grpc.port }),
      admin: { address: { socket_address: { address: '127.0.0.1', port_value: admin } } },
    };
    proxy = await startOurProxy(own);
  });
  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    await backend?.close();
    await grpc?.close();
  });

  describe.each(Object.keys(CASES))('%s:', (name) => {
    it.each(CASES[name] as Case[])('$name', async (each) => {
      const bytes = bytesOf(each);
      const [fromEnvoy, fromOurs] = await Promise.all([exchange(envoys[name] as number, bytes), exchange(ours[name] as number, bytes)]);
      expect(essenceOf(fromOurs)).toEqual(essenceOf(fromEnvoy));
    });
  });

  it.each([
    ['compressor', 'http.compressor.compressor'],
    ['zstd', 'http.zstd.compressor'],
    ['decompressor', 'http.decompressor.decompressor'],
    ['fault', 'http.fault.fault'],
    ['limited', '.http_local_rate_limit'],
    ['cors', 'http.cors.cors'],
    ['csrf', 'http.csrf.csrf'],
    ['preferred', 'http.preferred.compressor'],
    ['mutation', 'http.mutation.set_metadata'],
    ['asked', 'cluster.backend.ratelimit'],
    ['grpcWeb', 'cluster.grpc.grpc.'],
  ])('count alike: %s', async (_name, prefix) => {
    const fromEnvoy = await envoy.stats(prefix.replaceAll('.', '\\.'));
    const text = await (await fetch(`http://127.0.0.1:${admin}/stats`, { headers: { connection: 'close' } })).text();
    const fromOurs = Object.fromEntries(
      text
        .split('\n')
        .map((line) => line.split(': ') as [string, string])
        .filter(([name]) => name.includes(prefix))
        .map(([name, value]) => [name, Number(value)]),
    );
    // What a body becomes depends on the version of the library.
    const known = Object.keys(fromEnvoy).filter((name) => name in fromOurs && !name.endsWith('total_compressed_bytes'));
    // Some of Envoy's come with their first count.
    expect(Object.entries(fromOurs).filter(([name, value]) => value !== 0 && !(name in fromEnvoy))).toEqual([]);
    expect(known.length).toBeGreaterThan(0);
    expect(Object.fromEntries(known.map((name) => [name, fromOurs[name]]))).toEqual(
      Object.fromEntries(known.map((name) => [name, fromEnvoy[name]])),
    );
  });
});
