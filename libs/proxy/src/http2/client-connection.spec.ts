import { once } from 'node:events';
import { createServer as createHttp2Server, type Http2Server } from 'node:http2';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '@mizzen/core';
import { HeaderMap } from '../http/headers.ts';
import type { RequestHead, ResponseHead, ResponseReceiver, UpstreamStream } from '../http/stream.ts';
import { TimerWheel } from '../http/timer-wheel.ts';
import { Http2ClientConnection, type Http2ClientOwner } from './client-connection.ts';
import { CLIENT_PREFACE, ERROR, FLAG, FRAME } from './frames.ts';
import { DEFAULT_HEADER_LIMITS, DEFAULT_HTTP2_OPTIONS, type Http2ClientOptions } from './options.ts';
import { createHttp2Stats } from './stats.ts';
import { type Fields, frame, HandClock, headersFrames, RawPeer, SeededRandom } from './testing.ts';

/** One response as a client's receiver is told it. */
class SeenResponse implements ResponseReceiver {
  readonly told: string[] = [];
  stream: UpstreamStream | undefined;
  head: ResponseHead | undefined;
  trailers: HeaderMap | undefined;
  body: Buffer[] = [];
  readonly #waiting: (() => void)[] = [];

  onReady(stream: UpstreamStream): void {
    this.stream = stream;
  }

  onContinue(): void {
    this.#tell('continue');
  }

  onHead(head: ResponseHead): void {
    this.head = head;
    this.#tell(`head ${head.status}`);
  }

  onData(chunk: Buffer): void {
    this.body.push(chunk);
    this.#wake();
  }

  onTrailers(trailers: HeaderMap): void {
    this.trailers = trailers;
    this.#tell('trailers');
  }

  onEnd(): void {
    this.#tell('end');
  }

  onReadEnd(): void {}

  onWritable(): void {
    this.#tell('writable');
  }

  onUpstreamReset(reason: string): void {
    this.#tell(`reset ${reason}`);
  }

  get text(): string {
    return Buffer.concat(this.body).toString('latin1');
  }

  #tell(what: string): void {
    this.told.push(what);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  async toldThat(what: string): Promise<void> {
    await this.until(() => this.told.includes(what));
  }
}

class Owner implements Http2ClientOwner {
  readonly told: string[] = [];
  #waiting: (() => void)[] = [];

  onCapacity(): void {
    this.#tell('capacity');
  }

  onDraining(): void {
    this.#tell('draining');
  }

  onIdle(): void {
    this.#tell('idle');
  }

  onClosed(_connection: Http2ClientConnection, how: string): void {
    this.#tell(`closed ${how}`);
  }

  #tell(what: string): void {
    this.told.push(what);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async toldThat(what: string): Promise<void> {
    while (!this.told.includes(what)) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}

interface Peer {
  readonly connection: Http2ClientConnection;
  readonly owner: Owner;
  readonly options: Http2ClientOptions;
  readonly server: RawPeer;
}

const open: (Server | Http2Server | Socket)[] = [];

afterEach(() => {
  for (const one of open.splice(0)) {
    if ('destroy' in one) one.destroy();
    else one.close();
  }
});

async function connectTo(
  server: Server | Http2Server,
  more: Partial<Http2ClientOptions> = {},
  wheel: TimerWheel = new TimerWheel(systemClock),
): Promise<Omit<Peer, 'server'>> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  await once(socket, 'connect');
  open.push(socket, server);
  const owner = new Owner();
  const options = { ...DEFAULT_HTTP2_OPTIONS, ...DEFAULT_HEADER_LIMITS, stats: createHttp2Stats(), ...more };
  const connection = new Http2ClientConnection(socket, { tls: undefined, owner, codec: options, wheel });
  connection.start();
  return { connection, owner, options };
}

/** A connection whose other side is bytes that the test writes. */
async function rawPeer(more: Partial<Http2ClientOptions> = {}, wheel?: TimerWheel): Promise<Peer> {
  const server = createServer();
  const accepted = once(server, 'connection');
  const client = await connectTo(server, more, wheel);
  const [socket] = (await accepted) as [Socket];
  open.push(socket);
  const peer = new RawPeer(socket, CLIENT_PREFACE.length);
  return { ...client, server: peer };
}

function request(more: Partial<RequestHead> = {}): RequestHead {
  return {
    protocol: 'HTTP/1.1',
    method: 'GET',
    path: '/',
    authority: 'example.com',
    scheme: 'http',
    headers: new HeaderMap(),
    hasBody: false,
    contentLength: -1,
    upgrade: '',
    expectsContinue: false,
    wireBytes: 0,
    ...more,
  };
}

function send(connection: Http2ClientConnection, more: Partial<RequestHead> = {}, extra = ''): SeenResponse {
  const response = new SeenResponse();
  connection.attach(response);
  const head = request(more);
  response.stream?.sendHead(head, extra);
  if (!head.hasBody) response.stream?.end();
  return response;
}

function randomAnswer(random: SeededRandom): Buffer {
  const id = random.pick([1, 3, 5, 1, 3, 5, 0, 7]);
  const bytes = random.pick([
    () => headersFrames(id, random.pick<Fields>([OK, OK, [...OK, ['x', 'y']], [[':status', '100']]]), random.pick([0, FLAG.endStream])),
    () => headersFrames(id, [['trailer', 'x']]),
    () => frame(FRAME.data, random.pick([0, FLAG.endStream]), id, random.bytes(1 + random.below(50))),
    () => frame(FRAME.windowUpdate, 0, id, random.bytes(4)),
    () => frame(FRAME.resetStream, 0, id, random.bytes(4)),
    () => frame(FRAME.goaway, 0, 0, random.bytes(8)),
    () => frame(random.below(12), random.below(256), id, random.bytes(random.below(30))),
  ])();
  if (random.below(10) === 0) bytes[random.below(bytes.length)] = random.below(256);
  return bytes;
}

const settings = (hex = ''): Buffer => frame(FRAME.settings, 0, 0, Buffer.from(hex, 'hex'));
const OK: Fields = [[':status', '200']];

describe('the client side of HTTP/2', () => {
  it('sends requests in the order of their numbers, with what HTTP/2 has in the place of a request line', async () => {
    const { connection, server } = await rawPeer();
    const first = new SeenResponse();
    const second = new SeenResponse();
    connection.attach(first);
    connection.attach(second);
    second.stream?.sendHead(request({ path: '/second' }), 'X-Extra: yes\r\n');
    first.stream?.sendHead(request({ method: 'POST', path: '/first', scheme: 'https', hasBody: true, contentLength: 2 }), '');
    first.stream?.sendData(Buffer.from('ab'));
    first.stream?.end();
    const heads = [await server.nextOfType(FRAME.headers, 1), await server.nextOfType(FRAME.headers, 3)].map((seen) => server.decode(seen));
    expect(heads).toEqual([
      { ':method': 'GET', ':path': '/second', ':scheme': 'http', ':authority': 'example.com', 'x-extra': 'yes' },
      { ':method': 'POST', ':path': '/first', ':scheme': 'https', ':authority': 'example.com', 'content-length': '2' },
    ]);
    expect(await server.nextOfType(FRAME.data, 3)).toMatchObject({ flags: FLAG.endStream, payload: Buffer.from('ab') });
  });

  it('receives interim answers, head, data and trailers', async () => {
    const { connection, owner, server } = await rawPeer();
    const response = send(connection);
    server.send(settings(), headersFrames(1, [[':status', '103']], 0), headersFrames(1, [[':status', '100']], 0));
    server.send(
      headersFrames(1, [...OK, ['content-length', '4']], 0),
      frame(FRAME.data, 0, 1, 'body'),
      headersFrames(1, [['grpc-status', '0']]),
    );
    await response.toldThat('end');
    expect(response.told).toEqual(['continue', 'head 200', 'trailers', 'end']);
    expect([response.text, response.trailers?.get('grpc-status'), response.head?.contentLength]).toEqual(['body', '0', 4]);
    await owner.toldThat('idle');
    expect(connection.activeStreams).toBe(0);
  });

  it.each([
    ['no status', [['a', 'b']], FLAG.endStream],
    ['a status that is none', [[':status', '20']], FLAG.endStream],
    ['two statuses', [...OK, ...OK], FLAG.endStream],
    ['a path', [...OK, [':path', '/']], FLAG.endStream],
    ['101', [[':status', '101']], 0],
    ['an interim answer that ends the stream', [[':status', '100']], FLAG.endStream],
    ['a connection header', [...OK, ['connection', 'close']], FLAG.endStream],
    ['a length and no data', [...OK, ['content-length', '3']], FLAG.endStream],
    ['a line feed', [...OK, ['a', 'b\nc']], FLAG.endStream],
  ] as const)('takes %s for no response', async (_name, fields, flags) => {
    const { connection, owner, server, options } = await rawPeer();
    const response = send(connection);
    server.send(settings(), headersFrames(1, fields, flags));
    await response.toldThat('reset protocol-error');
    expect(response.head).toBeUndefined();
    expect((await server.nextOfType(FRAME.goaway)).payload.readUInt32BE(4)).toBe(ERROR.protocolError);
    server.socket.end();
    await owner.toldThat('closed local');
    expect(options.stats.rxMessagingError).toBe(1);
  });

  it('takes data before a head for no response', async () => {
    const { connection, server } = await rawPeer();
    const response = send(connection);
    server.send(settings(), frame(FRAME.data, FLAG.endStream, 1, 'body'));
    await response.toldThat('reset protocol-error');
    expect(response.text).toBe('');
  });

  it.each([
    [ERROR.refusedStream, 'reset remote-refused'],
    [ERROR.internalError, 'reset remote-reset'],
    [ERROR.connectError, 'reset connection-failure'],
  ])('tells a reset with code %s as "%s"', async (code, told) => {
    const { connection, owner, server } = await rawPeer();
    const response = send(connection);
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(code);
    server.send(settings(), frame(FRAME.resetStream, 0, 1, payload));
    await response.toldThat(told);
    await owner.toldThat('idle');
    expect(connection.hasCapacity).toBe(true);
  });

  it('after GOAWAY lets the streams below its number end, has the others tried elsewhere, and closes', async () => {
    const { connection, owner, server } = await rawPeer();
    const [first, second] = [send(connection), send(connection)];
    server.send(settings(), frame(FRAME.goaway, 0, 0, Buffer.from('0000000100000000', 'hex')));
    await second.toldThat('reset remote-refused');
    expect([connection.hasCapacity, owner.told.includes('draining')]).toEqual([false, true]);
    server.send(headersFrames(1, OK));
    await first.toldThat('end');
    await server.nextOfType(FRAME.goaway);
    server.socket.end();
    await owner.toldThat('closed idle');
  });

  it('has no more streams at once than the peer takes, and says when there is room', async () => {
    const { connection, owner, server } = await rawPeer();
    server.send(settings('000300000002'));
    await server.next(({ type, flags }) => type === FRAME.settings && flags === FLAG.ack);
    send(connection);
    expect(connection.hasCapacity).toBe(true);
    send(connection);
    expect(connection.hasCapacity).toBe(false);
    owner.told.length = 0;
    server.send(headersFrames(1, OK));
    await owner.toldThat('capacity');
    expect(connection.hasCapacity).toBe(true);
  });

  it('opens no more than a hundred streams before the peer said how many it takes', async () => {
    const { connection, owner, server } = await rawPeer();
    for (let count = 0; count < 100; count++) {
      expect(connection.hasCapacity).toBe(true);
      send(connection);
    }
    expect(connection.hasCapacity).toBe(false);
    server.send(settings());
    await owner.toldThat('capacity');
    expect(connection.hasCapacity).toBe(true);
  });

  it('is told that the connection went: of requests under way as cut off', async () => {
    const { connection, owner, server } = await rawPeer();
    const response = send(connection);
    server.send(settings());
    await server.nextOfType(FRAME.headers);
    server.socket.destroy();
    await response.toldThat('reset connection-termination');
    await owner.toldThat('closed remote');
    expect(connection.hasCapacity).toBe(false);
  });

  it('resets one stream and keeps the others; what comes late is dropped', async () => {
    const { connection, server } = await rawPeer();
    const [first, second] = [send(connection), send(connection)];
    server.send(settings());
    first.stream?.reset();
    expect((await server.nextOfType(FRAME.resetStream, 1)).payload.readUInt32BE(0)).toBe(ERROR.cancel);
    server.send(headersFrames(1, [...OK, ['x-late', 'yes']], 0), frame(FRAME.data, FLAG.endStream, 1, 'late'), headersFrames(3, OK));
    await second.toldThat('end');
    expect(first.told).toEqual([]);
  });

  it('stops sending a request that was answered before it was complete', async () => {
    const { connection, owner, server } = await rawPeer();
    const response = send(connection, { method: 'POST', hasBody: true });
    server.send(settings(), headersFrames(1, [[':status', '413']]));
    await response.toldThat('end');
    expect((await server.nextOfType(FRAME.resetStream, 1)).payload.readUInt32BE(0)).toBe(ERROR.cancel);
    expect(response.stream?.sendData(Buffer.from('more'))).toBe(true);
    response.stream?.end();
    await owner.toldThat('idle');
    expect([response.told, connection.hasCapacity]).toEqual([['head 413', 'end'], true]);
  });

  it('holds back data that the peer has no window for, and says when it is gone', async () => {
    const { connection, server } = await rawPeer();
    server.send(settings('000400000005'));
    await server.next(({ type, flags }) => type === FRAME.settings && flags === FLAG.ack);
    const response = send(connection, { method: 'POST', hasBody: true });
    expect(response.stream?.sendData(Buffer.from('0123456789'))).toBe(false);
    response.stream?.end();
    expect((await server.nextOfType(FRAME.data, 1)).payload.toString()).toBe('01234');
    server.send(frame(FRAME.windowUpdate, 0, 1, Buffer.from('00000005', 'hex')));
    expect(await server.nextOfType(FRAME.data, 1)).toMatchObject({ flags: FLAG.endStream, payload: Buffer.from('56789') });
    await response.toldThat('writable');
  });

  it.each([
    ['HEAD', { method: 'HEAD' }, [...OK, ['content-length', '5']] as Fields],
    [
      '304',
      {},
      [
        [':status', '304'],
        ['content-length', '5'],
      ] as Fields,
    ],
  ])('expects no body of %s, whatever length it has', async (_name, more, fields) => {
    const { connection, server } = await rawPeer();
    const response = send(connection, more);
    server.send(settings(), headersFrames(1, fields));
    await response.toldThat('end');
    expect([response.head?.hasBody, response.head?.contentLength]).toEqual([false, 5]);
  });

  it('asks for a websocket by extended CONNECT, and tells its 200 as 101', async () => {
    const { connection, server } = await rawPeer();
    server.send(settings('000800000001'));
    await server.next(({ type, flags }) => type === FRAME.settings && flags === FLAG.ack);
    const response = send(connection, { upgrade: 'websocket', hasBody: true });
    expect(server.decode(await server.nextOfType(FRAME.headers, 1))).toMatchObject({
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':path': '/',
    });
    server.send(headersFrames(1, OK, 0));
    await response.toldThat('head 101');
    expect(response.head?.upgrade).toBe('websocket');
  });

  it('does not ask for a websocket where the peer does not know extended CONNECT', async () => {
    const { connection, server } = await rawPeer();
    server.send(settings());
    await server.next(({ type, flags }) => type === FRAME.settings && flags === FLAG.ack);
    const response = send(connection, { upgrade: 'websocket', hasBody: true });
    await response.toldThat('reset protocol-error');
    expect(connection.activeStreams).toBe(0);
  });

  it('has the peer wait with the data of a paused response', async () => {
    const { connection, server } = await rawPeer({ initialStreamWindowBytes: 65_535, initialConnectionWindowBytes: 65_535 });
    const response = send(connection);
    response.stream?.pauseResponse();
    const chunk = Buffer.alloc(16_000);
    server.send(
      settings(),
      headersFrames(1, OK, 0),
      frame(FRAME.data, 0, 1, chunk),
      frame(FRAME.data, 0, 1, chunk),
      frame(FRAME.data, 0, 1, chunk),
    );
    await response.until(() => response.body.length === 3);
    server.send(frame(FRAME.ping, 0, 0, 'pausedon'));
    await server.next(({ type }) => type === FRAME.ping);
    expect(server.frames.some(({ type }) => type === FRAME.windowUpdate)).toBe(false);
    response.stream?.resumeResponse();
    expect((await server.nextOfType(FRAME.windowUpdate, 1)).payload.readUInt32BE(0)).toBe(48_000);
  });

  it('asks again after silence, and closes where no answer comes', async () => {
    const clock = new HandClock();
    const keepalive = { intervalMs: 0, timeoutMs: 500, jitterRatio: 0, idleIntervalMs: 1000 };
    const { connection, owner, server, options } = await rawPeer({ keepalive }, new TimerWheel(clock));
    server.send(settings());
    await server.next(({ type, flags }) => type === FRAME.settings && flags === FLAG.ack);
    clock.advance(1500);
    const response = send(connection);
    await server.nextOfType(FRAME.ping);
    await server.nextOfType(FRAME.headers, 1);
    clock.advance(600);
    await response.toldThat('reset connection-termination');
    await owner.toldThat('closed local');
    expect(options.stats.keepaliveTimeout).toBe(1);
  });

  it('sends and receives heads that take CONTINUATION', async () => {
    const { connection, server } = await rawPeer();
    const headers = new HeaderMap();
    for (let index = 0; index < 10; index++) headers.push(`x-${index}`, String(index).repeat(5000));
    const response = send(connection, { headers });
    const first = await server.nextOfType(FRAME.headers, 1);
    const parts = [first, await server.nextOfType(FRAME.continuation, 1), await server.nextOfType(FRAME.continuation, 1)];
    parts.push(await server.nextOfType(FRAME.continuation, 1));
    expect(parts.map(({ flags }) => flags)).toEqual([FLAG.endStream, 0, 0, FLAG.endHeaders]);
    const decoded = server.decode({ ...first, payload: Buffer.concat(parts.map(({ payload }) => payload)) });
    expect(decoded['x-9']).toBe('9'.repeat(5000));
    server.send(
      settings(),
      headersFrames(1, [...OK, ...headers.names.map((name, index) => [name, headers.values[index] as string] as const)]),
    );
    await response.toldThat('end');
    expect(response.head?.headers.get('x-3')).toBe('3'.repeat(5000));
  });

  it('never throws, hangs or keeps streams, whatever the peer sends', async () => {
    const random = new SeededRandom(9);
    let answered = 0;
    for (let round = 0; round < 300; round++) {
      const { connection, owner, server, options } = await rawPeer({ isStreamErrorOnInvalidMessage: random.below(2) === 0 });
      const responses = [send(connection), send(connection, { method: 'POST', hasBody: true }), send(connection, { method: 'HEAD' })];
      server.send(settings(), headersFrames(random.pick([1, 3, 5]), OK, random.pick([0, FLAG.endStream])));
      for (let part = 0; part < 12; part++) server.send(randomAnswer(random));
      server.socket.end();
      await Promise.race([owner.toldThat('closed remote'), owner.toldThat('closed local'), owner.toldThat('closed idle')]);
      for (const { told } of responses) {
        answered += told.includes('end') ? 1 : 0;
        expect(told.filter((what) => what === 'end' || what.startsWith('reset'))).toHaveLength(1);
      }
      expect([options.stats.streamsActive, connection.activeStreams]).toEqual([0, 0]);
      for (const one of open.splice(0))
        if ('destroy' in one) one.destroy();
        else one.close();
    }
    expect(answered).toBeGreaterThan(50);
  });

  it('carries many requests at once to a server of node:http2, with bodies and trailers', async () => {
    const server = createHttp2Server();
    server.on('stream', (stream, headers) => {
      stream.respond({ ':status': 200, 'x-path': headers[':path'] as string }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': 'done' }));
      stream.pipe(stream);
    });
    const { connection, owner } = await connectTo(server);
    const body = Buffer.from(Array.from({ length: 200_000 }, (_, index) => index & 0xff));
    const responses = Array.from({ length: 20 }, (_, index) => {
      const response = send(connection, { method: 'POST', path: `/${index}`, hasBody: true, contentLength: body.length });
      response.stream?.sendData(body);
      response.stream?.end();
      return response;
    });
    await Promise.all(responses.map((response) => response.toldThat('end')));
    expect(responses.every((response) => Buffer.concat(response.body).equals(body))).toBe(true);
    expect(responses.map((response) => response.head?.headers.get('x-path'))).toEqual(responses.map((_, index) => `/${index}`));
    expect(responses.every((response) => response.trailers?.get('x-sum') === 'done')).toBe(true);
    connection.drain();
    await owner.toldThat('closed idle');
  });
});
