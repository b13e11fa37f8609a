import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { DirectWrites } from './direct-writes.ts';

// More than the kernel takes for a peer that does not read.
const UNREAD_BYTES = 32 * 1024 * 1024;

describe('DirectWrites', () => {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => sockets.push(socket.on('error', () => {})));

  beforeEach(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });

  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    server.close();
    await once(server, 'close');
  });

  async function open(): Promise<{ peer: Socket; socket: Socket; writes: DirectWrites }> {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    sockets.push(socket);
    const [[peer]] = (await Promise.all([once(server, 'connection'), once(socket, 'connect')])) as [[Socket], unknown];
    const writes = DirectWrites.for(socket);
    if (writes === undefined) throw new Error('this version of Node does not show its handles; the proxy would write to sockets instead');
    return { peer, socket, writes };
  }

  async function readAll(peer: Socket): Promise<Buffer> {
    const chunks: Buffer[] = [];
    peer.on('data', (chunk: Buffer) => chunks.push(chunk));
    peer.resume();
    await once(peer, 'end');
    return Buffer.concat(chunks);
  }

  function write(writes: DirectWrites, text: string): boolean {
    if (!writes.isReady) return false;
    writes.writeText(text);
    return true;
  }

  /** Writes until the kernel takes no more; returns what was written. */
  function fill(writes: DirectWrites): string {
    let filled = '';
    for (let round = 0; filled.length < UNREAD_BYTES; round++) {
      const text = String.fromCharCode(97 + (round % 26)).repeat(60_000);
      if (!write(writes, text)) return filled;
      filled += text;
    }
    throw new Error('the kernel took all of it');
  }

  it('writes again and again, every byte below 256 as it is', async () => {
    const { peer, socket, writes } = await open();
    const letters = String.fromCharCode(...Array.from({ length: 256 }, (_, code) => code));
    const texts = Array.from({ length: 200 }, (_, round) => `${round}${letters}`);
    expect(texts.map((text) => write(writes, text))).toEqual(texts.map(() => true));
    expect(socket.writableLength).toBe(0);
    socket.end();
    expect((await readAll(peer)).toString('latin1')).toBe(texts.join(''));
  });

  it('refuses once a write has to wait, keeps the order with the stream, and goes on when all is out', async () => {
    const { peer, socket, writes } = await open();
    const filled = fill(writes);
    expect(socket.write('behind')).toBe(true);
    expect(socket.writableLength).toBe('behind'.length);
    expect(write(writes, 'refused')).toBe(false);
    const flushed = new Promise((resolve) => socket.write('!', resolve));
    const all = readAll(peer);
    await flushed;
    expect(write(writes, 'again')).toBe(true);
    socket.end();
    expect((await all).toString('latin1')).toBe(`${filled}behind!again`);
  });

  it('says whether bytes are written, and keeps those that wait', async () => {
    const { peer, socket, writes } = await open();
    expect(writes.writeBytes(Buffer.from('first'))).toBe(true);
    let written = 'first'.length;
    const chunk = (): Buffer => Buffer.alloc(1024 * 1024, 0x2e);
    for (let isWritten = true; isWritten && written < UNREAD_BYTES; written += chunk().length) isWritten = writes.writeBytes(chunk());
    expect(writes.isReady).toBe(false);
    socket.end();
    const all = await readAll(peer);
    expect(all.length).toBe(written);
    expect(all.toString('latin1')).toBe('first'.padEnd(written, '.'));
  });

  it('lets a stream end behind what waits in the handle', async () => {
    const { peer, socket, writes } = await open();
    const filled = fill(writes);
    socket.end('last');
    expect(write(writes, 'too late')).toBe(false);
    expect((await readAll(peer)).toString('latin1')).toBe(`${filled}last`);
  });

  it('leaves what is corked, and a socket that is gone, to the stream', async () => {
    const { socket, writes } = await open();
    socket.cork();
    expect(write(writes, 'x')).toBe(false);
    socket.uncork();
    socket.destroy();
    expect(write(writes, 'x')).toBe(false);
  });

  it('destroys the socket with the error of a write that failed at once', async () => {
    const { peer, socket, writes } = await open();
    socket.pause();
    const failed = once(socket, 'error');
    peer.resetAndDestroy();
    await once(peer, 'close');
    // The reset is here as soon as the peer is closed, which both ends of one machine are at the same time.
    while (!socket.destroyed) expect(write(writes, 'x')).toBe(true);
    const [error] = (await failed) as [NodeJS.ErrnoException];
    expect(['EPIPE', 'ECONNRESET']).toContain(error.code);
    expect(error.syscall).toBe('write');
  });

  it('destroys the socket whose waiting write fails', async () => {
    const { peer, socket, writes } = await open();
    fill(writes);
    const failed = once(socket, 'error');
    peer.resetAndDestroy();
    const [error] = (await failed) as [NodeJS.ErrnoException];
    expect(['EPIPE', 'ECONNRESET']).toContain(error.code);
    expect(socket.destroyed).toBe(true);
  });

  it('is not for TLS, whose handle bears one write at a time', async () => {
    const { socket } = await open();
    const secured = new TLSSocket(socket);
    sockets.push(secured.on('error', () => {}));
    expect(DirectWrites.for(secured)).toBeUndefined();
  });
});
