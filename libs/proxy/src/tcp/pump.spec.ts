import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Cleanup } from '../testing/harness.ts';
import { Pump } from './pump.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

interface Piped {
  readonly client: Socket;
  readonly server: Socket;
  readonly forward: Pump;
  readonly paused: () => number;
}

/** client → pump → server and back, all over real sockets. */
async function pipe(early = ''): Promise<Piped> {
  const listen = async (): Promise<{ port: number; accepted: Promise<Socket> }> => {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanup.add(() => server.close());
    const accepted = once(server, 'connection').then(([socket]) => socket as Socket);
    return { port: (server.address() as AddressInfo).port, accepted };
  };
  const open = async ({ port, accepted }: Awaited<ReturnType<typeof listen>>): Promise<[Socket, Socket]> => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    await once(socket, 'connect');
    const other = await accepted;
    cleanup.add(() => {
      socket.destroy();
      other.destroy();
    });
    return [socket, other];
  };
  const [client, downstream] = await open(await listen());
  const [upstream, server] = await open(await listen());
  upstream.pause();
  if (early !== '') {
    client.write(early);
    const arrived = once(downstream, 'data');
    downstream.resume();
    const [chunk] = (await arrived) as [Buffer];
    downstream.pause();
    downstream.unshift(chunk);
  }
  let pauses = 0;
  const owner = { onBytes: () => {}, onPaused: () => pauses++, onResumed: () => {} };
  const forward = new Pump(downstream, upstream, owner);
  const back = new Pump(upstream, downstream, owner);
  forward.start();
  back.start();
  downstream.resume();
  upstream.resume();
  return { client, server, forward, paused: () => pauses };
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.resume();
  await once(socket, 'end');
  return Buffer.concat(chunks);
}

describe('Pump', () => {
  it('passes on what was read before it began, first and once', async () => {
    const { client, server } = await pipe('early ');
    const received = readAll(server);
    client.end('and late');
    expect((await received).toString()).toBe('early and late');
  });

  it('passes every byte in order, small pieces and large ones, both ways at once', async () => {
    const { client, server } = await pipe();
    const up = randomBytes(20 * 1024 * 1024);
    const down = randomBytes(9 * 1024 * 1024);
    const received = [readAll(server), readAll(client)] as const;
    for (let at = 0; at < 4000; at += 40) client.write(up.subarray(at, at + 40));
    client.end(up.subarray(4000));
    server.end(down);
    expect(digest(await received[0])).toBe(digest(up));
    expect(digest(await received[1])).toBe(digest(down));
  });

  it('stops reading while the other side does not read, and loses nothing when it goes on', async () => {
    const { client, server, paused } = await pipe();
    const sent = randomBytes(64 * 1024 * 1024);
    client.end(sent);
    // The kernel's buffers are full on all sides once the client's own writes stall.
    while (paused() === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(client.writableLength).toBeGreaterThan(0);
    expect(digest(await readAll(server))).toBe(digest(sent));
  });

  it('goes on with shared memory after its own was given back', async () => {
    const { client, server, forward } = await pipe();
    const first = randomBytes(4 * 1024 * 1024);
    let count = 0;
    const chunks: Buffer[] = [];
    server.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      count += chunk.length;
    });
    server.resume();
    client.write(first);
    while (count < first.length) await once(server, 'data');
    forward.relax();
    const ended = once(server, 'end');
    client.end('the end');
    await ended;
    expect(digest(Buffer.concat(chunks))).toBe(digest(Buffer.concat([first, Buffer.from('the end')])));
  });

  it('ends one direction and keeps the other', async () => {
    const { client, server } = await pipe();
    client.end('question');
    expect((await readAll(server)).toString()).toBe('question');
    server.end('answer');
    expect((await readAll(client)).toString()).toBe('answer');
  });
});
