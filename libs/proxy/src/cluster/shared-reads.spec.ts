import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { kept, sharedReads, shareReads } from './shared-reads.ts';

/** Collects what a socket emits, without copying it: chunks that were overwritten later would show. */
class Collector {
  readonly chunks: Buffer[] = [];
  readonly socket: Socket;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => this.chunks.push(chunk));
  }

  async untilBytes(bytes: number): Promise<Buffer> {
    while (this.all().length < bytes) await once(this.socket, 'data');
    return this.all();
  }

  all(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

describe('sharedReads', () => {
  let server: Server;
  const peers: Socket[] = [];
  const clients: Socket[] = [];

  beforeEach(async () => {
    server = createServer((peer) => peers.push(peer.on('error', () => peer.destroy()))).listen(0, '127.0.0.1');
    await once(server, 'listening');
  });

  afterEach(async () => {
    for (const socket of [...clients.splice(0), ...peers.splice(0)]) socket.destroy();
    server.close();
    await once(server, 'close');
  });

  async function open(): Promise<{ peer: Socket; client: Socket }> {
    const { port } = server.address() as AddressInfo;
    const client: Socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, onread: sharedReads(() => client) });
    clients.push(client);
    const [[peer]] = (await Promise.all([once(server, 'connection'), once(client, 'connect')])) as [[Socket], unknown];
    return { peer, client };
  }

  it('keeps the bytes of sockets that read in turn apart', async () => {
    const [a, b] = [await open(), await open()];
    const [ofA, ofB] = [new Collector(a.client), new Collector(b.client)];
    for (let round = 1; round <= 200; round++) {
      a.peer.write(Buffer.alloc(700, round % 251));
      b.peer.write(Buffer.alloc(900, 255 - (round % 251)));
      await Promise.all([ofA.untilBytes(round * 700), ofB.untilBytes(round * 900)]);
    }
    const expected = (size: number, byte: (round: number) => number): Buffer =>
      Buffer.concat(Array.from({ length: 200 }, (_, index) => Buffer.alloc(size, byte(index + 1))));
    expect(ofA.all().equals(expected(700, (round) => round % 251))).toBe(true);
    expect(ofB.all().equals(expected(900, (round) => 255 - (round % 251)))).toBe(true);
  });

  it('delivers more than fits into one read, and the end', async () => {
    const { peer, client } = await open();
    const collector = new Collector(client);
    const sent = Buffer.from(Array.from({ length: 500_000 }, (_, index) => index % 253));
    peer.end(sent);
    await once(client, 'end');
    expect(collector.all().equals(sent)).toBe(true);
  });

  it('delivers nothing while it is paused, and everything after', async () => {
    const { peer, client } = await open();
    const collector = new Collector(client);
    peer.write('one');
    await collector.untilBytes(3);
    client.pause();
    peer.write('two');
    // Another connection's round trip: what was sent before has arrived by then.
    const other = await open();
    const ofOther = new Collector(other.client);
    other.peer.write('x');
    await ofOther.untilBytes(1);
    expect(collector.all().toString()).toBe('one');
    client.resume();
    expect((await collector.untilBytes(6)).toString()).toBe('onetwo');
  });
});

describe('shareReads', () => {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => sockets.push(socket));

  beforeEach(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });

  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    server.close();
    await once(server, 'close');
  });

  async function accept(): Promise<{ client: Socket; accepted: Socket }> {
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
    sockets.push(client);
    const [accepted] = (await once(server, 'connection')) as [Socket];
    return { client, accepted };
  }

  it('delivers what was read before, what comes after, and the end, however often it is asked to', async () => {
    const { client, accepted } = await accept();
    client.write('one');
    await once(accepted, 'readable');
    accepted.pause();
    const collector = new Collector(accepted);
    shareReads(accepted);
    shareReads(accepted);
    accepted.resume();
    await collector.untilBytes(3);
    const sent = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 253));
    client.end(sent);
    await once(accepted, 'end');
    expect(collector.all().equals(Buffer.concat([Buffer.from('one'), sent]))).toBe(true);
  });

  it('keeps the bytes of sockets that read in turn apart', async () => {
    const [a, b] = [await accept(), await accept()];
    const [ofA, ofB] = [a, b].map(({ accepted }) => new Collector(accepted)) as [Collector, Collector];
    for (const { accepted } of [a, b]) {
      shareReads(accepted);
      accepted.resume();
    }
    for (let round = 1; round <= 100; round++) {
      a.client.write('a'.repeat(700));
      b.client.write('b'.repeat(900));
      await Promise.all([ofA.untilBytes(round * 700), ofB.untilBytes(round * 900)]);
    }
    expect(ofA.all().toString()).toBe('a'.repeat(70_000));
    expect(ofB.all().toString()).toBe('b'.repeat(90_000));
  });

  it('delivers nothing while the socket is paused', async () => {
    const { client, accepted } = await accept();
    const collector = new Collector(accepted);
    shareReads(accepted);
    accepted.resume();
    client.write('one');
    await collector.untilBytes(3);
    accepted.pause();
    client.write('two');
    const other = await accept();
    const ofOther = new Collector(other.accepted);
    other.accepted.resume();
    other.client.write('x');
    await ofOther.untilBytes(1);
    expect(collector.all().toString()).toBe('one');
    accepted.resume();
    expect((await collector.untilBytes(6)).toString()).toBe('onetwo');
  });

  it('gives what is read to whoever takes it now, in bytes of which only what is kept stays', async () => {
    const { client, accepted } = await accept();
    const other = await accept();
    const [takenBefore, takenNow, emitted]: [Buffer[], Buffer[], Buffer[]] = [[], [], []];
    let onTaken = (): void => {};
    const taking = (chunks: Buffer[]) => (bytes: Buffer) => {
      chunks.push(kept(bytes));
      onTaken();
    };
    const roundTrip = async (socket: Socket, text: string): Promise<void> => {
      const taken = new Promise<void>((resolve) => {
        onTaken = resolve;
      });
      socket.write(text);
      await taken;
    };
    shareReads(accepted, taking(takenBefore));
    accepted.resume();
    shareReads(other.accepted, taking([]));
    other.accepted.resume();
    await roundTrip(client, 'one');
    await roundTrip(other.client, 'overwrites');
    shareReads(accepted, taking(takenNow));
    await roundTrip(client, 'two');
    await roundTrip(other.client, 'overwrites');
    shareReads(accepted);
    accepted.on('data', taking(emitted));
    await roundTrip(client, 'three');
    await roundTrip(other.client, 'overwrites');
    expect([takenBefore, takenNow, emitted].map((chunks) => Buffer.concat(chunks).toString())).toEqual(['one', 'two', 'three']);
  });

  it("keeps bytes that are nobody else's as they are", () => {
    const bytes = Buffer.from('own');
    expect(kept(bytes)).toBe(bytes);
  });
});
