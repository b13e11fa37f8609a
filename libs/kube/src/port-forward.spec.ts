import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { afterEach, describe, expect, it } from '@jest/globals';
import { openPortForward } from './port-forward.ts';
import { Transport } from './transport.ts';

const POD = { name: 'app', namespace: 'shop' };

/** What the kubelet does, as far as a test wants it: `serve` is given what the client sends on the data channel, and a way to answer. */
interface Kubelet {
  readonly onData: (data: Buffer, send: (channel: number, content: string | Buffer) => void, socket: Duplex) => void;
}

let server: Server | undefined;
let transport: Transport | undefined;
const upgraded = new Set<Duplex>();
afterEach(async () => {
  await transport?.close();
  server?.closeAllConnections();
  for (const socket of upgraded) socket.destroy();
  upgraded.clear();
  await new Promise((resolve) => server?.close(resolve) ?? resolve(undefined));
});

function frame(opcode: number, payload: Buffer, isFinal = true): Buffer {
  const head = Buffer.alloc(payload.length < 126 ? 2 : 4);
  head[0] = (isFinal ? 0x80 : 0) | opcode;
  head[1] = payload.length < 126 ? payload.length : 126;
  if (payload.length >= 126) head.writeUInt16BE(payload.length, 2);
  return Buffer.concat([head, payload]);
}

/** One masked frame of a client, with what is left. */
function unmask(bytes: Buffer): { opcode: number; payload: Buffer } {
  const short = (bytes[1] as number) & 0x7f;
  const at = short === 126 ? 4 : 2;
  const size = short === 126 ? bytes.readUInt16BE(2) : short;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4, at + 4 + size)).map((byte, index) => byte ^ (mask[index & 3] as number));
  return { opcode: (bytes[0] as number) & 0x0f, payload: Buffer.from(payload) };
}

async function connect(kubelet: Kubelet): Promise<Duplex> {
  server = createServer((_, response) => response.writeHead(403, { 'content-type': 'application/json' }).end('{"message":"not yours"}'));
  server.on('upgrade', (request, socket) => {
    upgraded.add(socket);
    if (request.url !== '/api/v1/namespaces/shop/pods/app/portforward?ports=15000') return void socket.destroy();
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-protocol: v4.channel.k8s.io\r\n\r\n',
    );
    const send = (channel: number, content: string | Buffer): void =>
      void socket.write(frame(2, Buffer.concat([Buffer.of(channel), Buffer.from(content)])));
    for (const channel of [0, 1]) send(channel, Buffer.of(15_000 & 0xff, 15_000 >> 8));
    socket.on('data', (chunk: Buffer) => {
      const { opcode, payload } = unmask(chunk);
      if (opcode === 2) kubelet.onData(payload.subarray(1), send, socket);
    });
  });
  transport = await transportTo(server);
  return openPortForward(transport, POD, 15_000);
}

async function transportTo(listening: Server): Promise<Transport> {
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  const { port } = listening.address() as AddressInfo;
  return new Transport({
    server: new URL(`http://127.0.0.1:${port}`),
    namespace: 'default',
    access: async () => ({ headers: {}, isVerified: true }),
    renew: () => {},
  });
}

async function readAll(connection: Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of connection as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

describe('a port-forward', () => {
  it('carries both ways what is said', async () => {
    const connection = await connect({
      onData(data, send, socket) {
        send(0, `heard ${data.toString('utf8')}`);
        socket.end(frame(8, Buffer.alloc(0)));
      },
    });
    connection.write('a'.repeat(300));
    expect(await readAll(connection)).toBe(`heard ${'a'.repeat(300)}`);
  });

  it('puts together a message in fragments, whatever pieces they arrive in, and answers a ping between them', async () => {
    const whole = Buffer.concat([
      frame(2, Buffer.from([0, ...Buffer.from('one ')]), false),
      frame(9, Buffer.from('still there?')),
      frame(0, Buffer.from('two'), true),
      frame(8, Buffer.alloc(0)),
    ]);
    const connection = await connect({
      onData(_, __, socket) {
        for (const byte of whole) socket.write(Buffer.of(byte));
      },
    });
    connection.write('go');
    expect(await readAll(connection)).toBe('one two');
  });

  it('ends with what the kubelet says where nothing listens', async () => {
    const connection = await connect({ onData: (_, send) => send(1, 'connection refused') });
    const failure = new Promise<Error>((resolve) => connection.on('error', resolve));
    connection.write('x');
    expect((await failure).message).toBe('port 15000 of pod shop/app: connection refused');
  });

  it('is refused with what the API server says', async () => {
    server = createServer((_, response) => response.writeHead(403, { 'content-type': 'application/json' }).end('{"message":"not yours"}'));
    transport = await transportTo(server);
    await expect(openPortForward(transport, POD, 15_000)).rejects.toThrow(/portforward: not yours/);
  });
});
