import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { connect } from 'node:tls';
import { beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { inspectClientHello, inspectHttp } from './client-hello.ts';

let hello: Buffer;
beforeAll(async () => {
  const server = createServer((socket) => socket.on('error', () => {}));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const arrived = once(server, 'connection');
  const client = connect({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    servername: 'Reviews.Default.svc',
    ALPNProtocols: ['istio', 'h2'],
  });
  client.on('error', () => {});
  const [socket] = await arrived;
  [hello] = (await once(socket, 'data')) as [Buffer];
  client.destroy();
  socket.destroy();
  server.close();
});

const FOUND = { kind: 'found', value: { serverName: 'reviews.default.svc', applicationProtocols: ['istio', 'h2'] } };

describe('TLS inspector', () => {
  it('reads SNI and ALPN of a real ClientHello, however it is cut', () => {
    expect(inspectClientHello(hello)).toEqual(FOUND);
    for (let length = 0; length < hello.length; length++) expect(inspectClientHello(hello.subarray(0, length)).kind).toBe('incomplete');
    expect(inspectClientHello(Buffer.concat([hello, Buffer.from('more')]))).toEqual(FOUND);
  });

  it('reads one that is spread over several records', () => {
    const body = hello.subarray(5);
    const record = (part: Buffer): Buffer => Buffer.concat([Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part]);
    const split = Buffer.concat([record(body.subarray(0, 1)), record(body.subarray(1, 100)), record(body.subarray(100))]);
    expect(inspectClientHello(split)).toEqual(FOUND);
  });

  it.each(['GET / HTTP/1.1\r\n', '\u0000\u0000', 'SSH-2.0'])('tells %j from TLS at its first byte', (text) => {
    expect(inspectClientHello(Buffer.from(text)).kind).toBe('other');
  });

  it('takes any bytes without an error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(), fc.nat(255), (bytes, position, value) => {
        const mangled = Buffer.from(hello);
        mangled[position % mangled.length] = value;
        for (const input of [Buffer.from(bytes), Buffer.concat([Buffer.from([22, 3, 1]), bytes]), mangled]) {
          expect(['incomplete', 'other', 'found']).toContain(inspectClientHello(input).kind);
          expect(['incomplete', 'other', 'found']).toContain(inspectHttp(input).kind);
        }
      }),
    );
  });
});

describe('HTTP inspector', () => {
  it.each([
    ['GET / HTTP/1.1\r\nhost: a\r\n', 'http/1.1'],
    ['POST /x HTTP/1.0\n', 'http/1.0'],
    ['PRI * HTTP/2.0\r\n\r\nSM', 'h2c'],
  ])('finds the version of %j', (text, version) => {
    expect(inspectHttp(Buffer.from(text))).toEqual({ kind: 'found', value: version });
  });

  it.each([
    ['GE', 'incomplete'],
    ['GET /long', 'incomplete'],
    ['PRI * HT', 'incomplete'],
    ['hello\r\n', 'other'],
    ['\u0016\u0003', 'other'],
    ['GET / FTP/1.1\r\n', 'other'],
  ])('takes %j for %s', (text, kind) => {
    expect(inspectHttp(Buffer.from(text)).kind).toBe(kind);
  });
});
