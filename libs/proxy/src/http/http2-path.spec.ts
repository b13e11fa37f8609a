import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttp2Server, type Http2ServerRequest, type Http2ServerResponse, type ServerHttp2Stream } from 'node:http2';
import { connect as connectTcp, type Server } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import {
  type Answer,
  type Call,
  closeLater,
  closePeers,
  http1Backend,
  http1Call,
  http2Backend,
  listening,
  proxyTo,
  session,
  streamCall,
} from './testing-http2.ts';

afterEach(closePeers);

const DIRECTIONS: readonly (readonly [client: '1' | '2', upstream: '1' | '2'])[] = [
  ['1', '1'],
  ['1', '2'],
  ['2', '1'],
  ['2', '2'],
];

describe.each(DIRECTIONS)('HTTP/%s to HTTP/%s', (client, upstream) => {
  const backend = upstream === '1' ? http1Backend : http2Backend;
  const call = (port: number, options: Call): Promise<Answer> =>
    client === '1' ? http1Call(port, options) : streamCall(session(port), options);

  async function setUp() {
    return proxyTo(upstream === '1' ? 'http1' : 'http2', await backend());
  }

  it('carries a request without a body, its host and its headers', async () => {
    const { proxy } = await setUp();
    const host: Record<string, string> = client === '1' ? { host: 'reviews:9080' } : { ':authority': 'reviews:9080' };
    const answer = await call(proxy.port, { path: '/a?b=c', headers: { ...host, 'x-custom': 'V' } });
    const seen = JSON.parse(answer.body);
    expect(answer.status).toBe(200);
    expect(seen).toMatchObject({ method: 'GET', url: '/a?b=c', body: '', version: upstream === '1' ? '1.1' : '2.0' });
    expect(seen.headers[upstream === '1' ? 'host' : ':authority']).toBe('reviews:9080');
    expect(seen.headers['x-custom']).toBe('V');
    expect(seen.headers).not.toHaveProperty('transfer-encoding');
    if (upstream === '2') expect(seen.headers).not.toHaveProperty('host');
    expect(proxy.ended[0]).toMatchObject({
      protocol: client === '1' ? 'HTTP/1.1' : 'HTTP/2',
      responseCode: 200,
      authority: 'reviews:9080',
    });
  });

  it('carries bodies and trailers both ways', async () => {
    const { proxy } = await setUp();
    const answer = await call(proxy.port, {
      method: 'POST',
      headers: { te: 'trailers', ...(client === '1' ? { trailer: 'x-behind', 'transfer-encoding': 'chunked' } : {}) },
      body: 'abc',
      trailers: { 'x-behind': 'the request' },
    });
    const seen = JSON.parse(answer.body);
    expect(seen).toMatchObject({ method: 'POST', body: 'abc', trailers: { 'x-behind': 'the request' } });
    expect(seen.headers.te).toBe('trailers');
    expect(answer.trailers).toMatchObject({ 'x-after': 'the body' });
  });

  it('keeps the length of a body that is known', async () => {
    const { proxy } = await setUp();
    const answer = await call(proxy.port, { method: 'PUT', headers: { 'content-length': '3' }, body: 'abc' });
    expect(JSON.parse(answer.body)).toMatchObject({ body: 'abc', headers: { 'content-length': '3' } });
  });

  it('carries 4 MiB both ways', async () => {
    const { proxy } = await setUp();
    const body = 'x'.repeat(4 * 1024 * 1024);
    const answer = await call(proxy.port, { method: 'POST', body });
    expect(JSON.parse(answer.body).body.length).toBe(body.length);
  });
});

describe('answers', () => {
  it.each(DIRECTIONS)('to HEAD, 204 and 304 have no body: HTTP/%s to HTTP/%s', async (client, upstream) => {
    const answerBare = (request: IncomingMessage | Http2ServerRequest, out: ServerResponse | Http2ServerResponse): void => {
      const response = out as ServerResponse;
      const status = Number((request.url ?? '').slice(1));
      response.writeHead(status, request.method === 'HEAD' ? { 'content-length': '5' } : {});
      response.end();
    };
    const port = await listening(upstream === '1' ? createServer(answerBare) : createHttp2Server(answerBare));
    const { proxy } = await proxyTo(upstream === '1' ? 'http1' : 'http2', port);
    const call = (options: Call): Promise<Answer> =>
      client === '1' ? http1Call(proxy.port, options) : streamCall(session(proxy.port), options);
    expect(await call({ method: 'HEAD', path: '/200' })).toMatchObject({ status: 200, body: '', headers: { 'content-length': '5' } });
    expect(await call({ path: '/204' })).toMatchObject({ status: 204, body: '' });
    expect(await call({ path: '/304' })).toMatchObject({ status: 304, body: '' });
  });

  it('that end with their head have a length of 0 in HTTP/1.1, whose connection goes on', async () => {
    const server = createHttp2Server();
    server.on('stream', (stream: ServerHttp2Stream) => stream.respond({ ':status': 200 }, { endStream: true }));
    const { proxy } = await proxyTo('http2', await listening(server as unknown as Server));
    const socket = connectTcp(proxy.port, '127.0.0.1');
    closeLater(() => socket.destroy());
    let text = '';
    const answers = new Promise<void>((resolve) => {
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1');
        const count = text.split('\r\n\r\n').length - 1;
        if (count === 1) socket.write('GET /second HTTP/1.1\r\nhost: a\r\n\r\n');
        if (count === 2) resolve();
      });
    });
    socket.write('GET /first HTTP/1.1\r\nhost: a\r\n\r\n');
    await answers;
    expect(text.match(/content-length: 0\r\n/g)).toHaveLength(2);
  });
});
