import { describe, expect, it } from '@jest/globals';
import { HeaderMap } from '../http/headers.ts';
import { CLIENT_PREFACE, ERROR, FLAG, FRAME } from './frames.ts';
import type { Http2ServerOptions } from './options.ts';
import type { Http2Stats } from './stats.ts';
import { frame, GET, headersFrames, literals, POST, RawPeer, SETTINGS, SeededRandom, type SeenRequest, TestServer } from './testing.ts';

const EIGHT = Buffer.alloc(8);
const PRIORITY = Buffer.from('0000000010', 'hex');
const ONE = Buffer.from('00000001', 'hex');
const CANCEL = Buffer.from('00000008', 'hex');

const many = (count: number, make: (index: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));

interface Flood {
  readonly name: string;
  readonly options?: Partial<Http2ServerOptions>;
  readonly bytes: Buffer;
  /** As many as that are still taken. */
  readonly allowed: Buffer;
  readonly counter: keyof Http2Stats;
}

const continuations = (count: number): Buffer =>
  Buffer.concat([
    frame(FRAME.headers, FLAG.endStream, 1, literals(GET)),
    many(count, () => frame(FRAME.continuation, 0, 1, literals([['a', 'b']]))),
  ]);

const FLOODS: readonly Flood[] = [
  {
    name: 'empty DATA',
    bytes: Buffer.concat([headersFrames(1, POST, 0), many(2, () => frame(FRAME.data, 0, 1))]),
    allowed: Buffer.concat([headersFrames(1, POST, 0), frame(FRAME.data, 0, 1), frame(FRAME.data, 0, 1, 'x'), frame(FRAME.data, 0, 1)]),
    counter: 'inboundEmptyFramesFlood',
  },
  {
    name: 'DATA of nothing but padding',
    bytes: Buffer.concat([headersFrames(1, POST, 0), many(2, () => frame(FRAME.data, FLAG.padded, 1, '\x02\0\0'))]),
    allowed: Buffer.concat([headersFrames(1, POST, 0), frame(FRAME.data, FLAG.padded, 1, '\x02\0\0')]),
    counter: 'inboundEmptyFramesFlood',
  },
  {
    name: 'empty CONTINUATION',
    bytes: Buffer.concat([frame(FRAME.headers, FLAG.endStream, 1, literals(GET)), many(2, () => frame(FRAME.continuation, 0, 1))]),
    allowed: Buffer.concat([frame(FRAME.headers, FLAG.endStream, 1, literals(GET)), frame(FRAME.continuation, FLAG.endHeaders, 1)]),
    counter: 'inboundEmptyFramesFlood',
  },
  { name: 'CONTINUATION', bytes: continuations(513), allowed: Buffer.alloc(0), counter: 'inboundContinuationFramesFlood' },
  {
    name: 'PRIORITY',
    options: { maxPriorityFramesPerStream: 3 },
    bytes: many(4, () => frame(FRAME.priority, 0, 1, PRIORITY)),
    allowed: many(3, () => frame(FRAME.priority, 0, 1, PRIORITY)),
    counter: 'inboundPriorityFramesFlood',
  },
  {
    name: 'WINDOW_UPDATE',
    bytes: many(6, () => frame(FRAME.windowUpdate, 0, 0, ONE)),
    allowed: many(5, () => frame(FRAME.windowUpdate, 0, 0, ONE)),
    counter: 'inboundWindowUpdateFramesFlood',
  },
  {
    name: 'PING',
    options: { maxOutboundControlFrames: 100 },
    bytes: many(101, () => frame(FRAME.ping, 0, 0, EIGHT)),
    allowed: many(90, () => frame(FRAME.ping, 0, 0, EIGHT)),
    counter: 'outboundControlFlood',
  },
  {
    name: 'SETTINGS',
    options: { maxOutboundControlFrames: 100 },
    bytes: many(101, () => SETTINGS),
    allowed: many(90, () => SETTINGS),
    counter: 'outboundControlFlood',
  },
  {
    name: 'requests that cause RST_STREAM',
    options: { maxOutboundControlFrames: 100, maxConcurrentStreams: 1 },
    bytes: many(102, (index) => headersFrames(1 + 2 * index, GET)),
    allowed: many(90, (index) => headersFrames(1 + 2 * index, GET)),
    counter: 'outboundControlFlood',
  },
  {
    name: 'rapid reset',
    bytes: many(251, (index) => Buffer.concat([headersFrames(1 + 2 * index, GET), frame(FRAME.resetStream, 0, 1 + 2 * index, CANCEL)])),
    allowed: many(240, (index) => Buffer.concat([headersFrames(1 + 2 * index, GET), frame(FRAME.resetStream, 0, 1 + 2 * index, CANCEL)])),
    counter: 'tooManyPrematureResets',
  },
  {
    name: 'requests that make us reset them',
    bytes: many(251, (index) => Buffer.concat([headersFrames(1 + 2 * index, GET), frame(FRAME.data, 0, 1 + 2 * index, 'more')])),
    allowed: Buffer.alloc(0),
    counter: 'tooManyPrematureResets',
  },
];

describe('a flood over HTTP/2', () => {
  it.each(FLOODS)('of $name closes the connection and is counted', async ({ options, bytes, counter }) => {
    await using server = new TestServer(options);
    await using peer = await RawPeer.connect(await server.start());
    peer.send(bytes);
    await peer.closed();
    expect(server.options.stats[counter]).toBe(1);
    expect(server.options.stats.streamsActive).toBe(0);
  });

  it.each(FLOODS.filter(({ allowed }) => allowed.length > 0))(
    'is none while it is little of $name',
    async ({ options, allowed, counter }) => {
      await using server = new TestServer(options);
      await using peer = await RawPeer.connect(await server.start());
      peer.send(allowed);
      // After the round of the event loop in which the answers went out, a PING is answered on a connection that lives.
      await peer.next((seen) => seen.type === FRAME.settings && seen.flags === FLAG.ack);
      peer.send(frame(FRAME.ping, 0, 0, 'aliveyet'));
      await peer.next((seen) => seen.type === FRAME.ping && seen.payload.toString() === 'aliveyet');
      expect(server.options.stats[counter]).toBe(0);
    },
  );

  it('of a head that never ends is cut off before it fills the memory', async () => {
    await using server = new TestServer();
    await using peer = await RawPeer.connect(await server.start());
    const part = literals([['x', 'a'.repeat(16_000)]]);
    peer.send(
      frame(FRAME.headers, 0, 1, literals(GET)),
      many(10, () => frame(FRAME.continuation, 0, 1, part)),
    );
    expect((await peer.nextOfType(FRAME.goaway)).payload.readUInt32BE(4)).toBe(ERROR.enhanceYourCalm);
    await peer.closed();
    expect(server.options.stats.headerOverflow).toBe(1);
  });

  it('of references to one large field costs the client its stream, and us no copies', async () => {
    await using server = new TestServer();
    server.answer = (request) => request.respond('fine');
    await using peer = await RawPeer.connect(await server.start());
    const indexed = Buffer.concat([Buffer.from([0x40, 1, 0x78, 0x7f, 0x81 + 0x20, 0x1e]), Buffer.alloc(0x7f + 0x21 + 0x0f00, 'v')]);
    const bomb = Buffer.concat([literals(GET), indexed, Buffer.alloc(10_000, 0xbe)]);
    peer.send(frame(FRAME.headers, FLAG.endStream | FLAG.endHeaders, 1, bomb), headersFrames(3, GET));
    expect((await peer.nextOfType(FRAME.resetStream, 1)).payload.readUInt32BE(0)).toBe(ERROR.internalError);
    await peer.nextOfType(FRAME.data, 3);
    expect(server.requests).toHaveLength(1);
  });

  it.each([
    [
      'answers',
      { maxOutboundFrames: 200 },
      'outboundFlood',
      (request: SeenRequest): void => {
        const headers = new HeaderMap();
        headers.push('x', 'y'.repeat(8000));
        request.sender.sendHead(
          { status: 204, headers, hasBody: false, contentLength: -1, upgrade: '', wireBytes: 0 },
          { closesConnection: false },
        );
        request.sender.end();
      },
    ],
    [
      'refusals',
      { maxOutboundControlFrames: 200 },
      'outboundControlFlood',
      (request: SeenRequest): void => request.respond('x'.repeat(8000)),
    ],
  ] as const)(
    'of requests does not make us hold %s without bound for a client that does not read',
    async (_name, options, counter, answer) => {
      await using server = new TestServer(options);
      server.answer = answer;
      await using peer = await RawPeer.connect(await server.start());
      peer.send(
        frame(FRAME.settings, 0, 0, Buffer.from('00047fffffff', 'hex')),
        frame(FRAME.windowUpdate, 0, 0, Buffer.from('7f000000', 'hex')),
      );
      peer.socket.pause();
      for (let id = 1; id < 8000; id += 2) peer.send(headersFrames(id, GET));
      await server.until(() => server.closedConnections > 0);
      expect(server.options.stats[counter]).toBe(1);
    },
  );
});

describe('whatever comes over HTTP/2', () => {
  it('never throws, hangs or keeps streams, for thousands of random and mutated inputs', async () => {
    const random = new SeededRandom(7);
    await using server = new TestServer({ allowsConnect: true });
    server.answer = (request) => {
      const choice = random.below(4);
      if (choice < 2) request.respond('x'.repeat(random.below(300)));
      else if (choice === 2) request.sender.reset();
    };
    const port = await server.start();
    for (let round = 0; round < 400; round++) {
      await using peer = await RawPeer.connect(port);
      for (let part = 0; part < 10; part++)
        peer.send(headersFrames(101 + 2 * part, random.pick([GET, POST]), random.pick([0, FLAG.endStream])));
      for (let part = 0; part < 10; part++) peer.send(randomFrames(random));
      peer.send(frame(FRAME.ping, 0, 0, 'theenden'));
      peer.socket.end();
      await peer.closed();
    }
    await server.until(() => server.closedConnections === 400);
    expect(server.options.stats.streamsActive).toBe(0);
    expect(server.options.stats.pendingSendBytes).toBe(0);
    expect(server.requests.length).toBeGreaterThan(3000);
  });

  it('reads the same requests however the bytes are cut', async () => {
    const random = new SeededRandom(8);
    const bytes = Buffer.concat([
      CLIENT_PREFACE,
      SETTINGS,
      headersFrames(1, [...POST, ['x', 'y'.repeat(20_000)]], 0),
      frame(FRAME.data, FLAG.padded, 1, '\x03body\0\0\0'),
      frame(FRAME.data, 0, 1, ' goes on'),
      headersFrames(1, [['trailer', 'last']]),
      headersFrames(3, GET),
    ]);
    await using server = new TestServer();
    const port = await server.start();
    for (let round = 0; round < 60; round++) {
      await using peer = await RawPeer.connect(port);
      const before = server.requests.length;
      // The preface went out with the connection; the rest is cut by chance.
      let at = CLIENT_PREFACE.length + SETTINGS.length;
      while (at < bytes.length) {
        const length = 1 + random.below(random.pick([3, 40, 5000]));
        peer.socket.write(bytes.subarray(at, at + length));
        at += length;
      }
      await server.until(() => server.requests.length === before + 2 && server.requests[before + 1]?.head !== undefined);
      const request = server.requests[before];
      await server.until(() => request?.isEnded === true);
      expect([request?.body, request?.trailers?.get('trailer'), request?.head.headers.get('x')?.length]).toEqual([
        'body goes on',
        'last',
        20_000,
      ]);
    }
  });
});

function randomFrames(random: SeededRandom): Buffer {
  const id = random.pick([0, 1, 2, 101, 103, 105, 107, 121, 123, 2 ** 31 - 1]);
  const bytes = random.pick([
    () => headersFrames(id, random.pick([GET, POST, [...GET, ['x', random.latin1(20)] as const]]), random.pick([0, FLAG.endStream])),
    () => frame(FRAME.data, random.pick([0, FLAG.endStream, FLAG.padded]), id, random.bytes(random.below(50))),
    () => frame(FRAME.settings, random.pick([0, 0, FLAG.ack]), random.pick([0, 0, id]), random.bytes(random.pick([0, 6, 12, 5]))),
    () => frame(FRAME.windowUpdate, 0, id, random.bytes(4)),
    () => frame(FRAME.resetStream, 0, id, random.bytes(4)),
    () => frame(FRAME.ping, random.pick([0, FLAG.ack]), 0, random.bytes(random.pick([8, 8, 7]))),
    () => frame(random.below(12), random.below(256), id, random.bytes(random.below(30))),
    () => random.bytes(random.below(30)),
  ])();
  if (random.below(4) === 0 && bytes.length > 0) bytes[random.below(bytes.length)] = random.below(256);
  return bytes;
}
