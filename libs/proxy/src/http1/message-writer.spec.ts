import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { MessageWriter } from './message-writer.ts';

describe('MessageWriter', () => {
  const sockets: Socket[] = [];
  const server = createServer({ pauseOnConnect: true }, (socket) => sockets.push(socket));

  beforeEach(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });

  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    server.close();
    await once(server, 'close');
  });

  async function open(): Promise<{ peer: Socket; socket: Socket }> {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    sockets.push(socket);
    const [[peer]] = (await Promise.all([once(server, 'connection'), once(socket, 'connect')])) as [[Socket], unknown];
    return { peer, socket };
  }

  async function readAll(peer: Socket): Promise<string> {
    const chunks: Buffer[] = [];
    peer.on('data', (chunk: Buffer) => chunks.push(chunk));
    peer.resume();
    await once(peer, 'end');
    return Buffer.concat(chunks).toString('latin1');
  }

  it('joins heads and bodies of any size in their order', async () => {
    const { peer, socket } = await open();
    const all = readAll(peer);
    const writer = new MessageWriter(socket);
    let expected = '';
    const sizes = [0, 1, 1024, 8 * 1024, 8 * 1024 + 1, 200_000, 3, 0, 60_000];
    for (const [index, size] of sizes.entries()) {
      const [head, body, tail] = [`<${index}\xff>`, String.fromCharCode(97 + index).repeat(size), index % 2 === 0 ? '\r\n' : ''];
      writer.text(head);
      writer.body(Buffer.from(body));
      writer.text(tail);
      if (index % 3 === 0) writer.flush();
      expected += head + body + tail;
    }
    writer.flush();
    expect(writer.writtenBytes).toBe(expected.length);
    socket.end();
    expect(await all).toBe(expected);
  });

  it('gathers many small pieces, and a head that is larger than what is shared', async () => {
    const { peer, socket } = await open();
    const all = readAll(peer);
    const writer = new MessageWriter(socket);
    let expected = '';
    for (let index = 0; index < 3000; index++) {
      const piece = `${index};`;
      writer.text(piece);
      writer.body(Buffer.from(piece));
      expected += piece + piece;
    }
    const head = 'h'.repeat(100_000);
    writer.text(head);
    writer.body(Buffer.from('body'));
    writer.flush();
    socket.end();
    expect(await all).toBe(`${expected}${head}body`);
  });

  it('keeps the messages of two sockets apart whose peers read nothing, and tells that they are full', async () => {
    const pairs = [await open(), await open()];
    const writers = pairs.map(({ socket }) => new MessageWriter(socket));
    const expected = ['', ''];
    const isWritable = [true, true];
    // 64 MiB is more than any kernel holds for a peer that does not read.
    for (let round = 0; isWritable.includes(true) && round < 8192; round++) {
      for (const [index, writer] of writers.entries()) {
        if (isWritable[index] === false) continue;
        const letter = String.fromCharCode((index === 0 ? 97 : 65) + (round % 26));
        writer.text(letter.repeat(100));
        writer.body(Buffer.alloc(8000, letter));
        isWritable[index] = writer.flush();
        expected[index] += letter.repeat(8100);
      }
    }
    expect(isWritable).toEqual([false, false]);
    const received = pairs.map(({ peer }) => readAll(peer));
    for (const { socket } of pairs) socket.end();
    expect((await Promise.all(received)).map((text, index) => text === expected[index])).toEqual([true, true]);
  });
});
