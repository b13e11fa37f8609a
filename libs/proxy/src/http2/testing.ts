import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type Clock, systemClock } from '@mizzen/core';
import type { ServerCodecEvents } from '../http/codec.ts';
import { HeaderMap } from '../http/headers.ts';
import type { RequestHead, RequestReceiver, ResponseSender } from '../http/stream.ts';
import { TimerWheel } from '../http/timer-wheel.ts';
import { CLIENT_PREFACE, FLAG, FRAME } from './frames.ts';
import { type FieldSink, HpackDecoder } from './hpack-decoder.ts';
import { DEFAULT_HEADER_LIMITS, DEFAULT_HTTP2_OPTIONS, type Http2ServerOptions } from './options.ts';
import { Http2ServerConnection } from './server-connection.ts';
import { createHttp2Stats } from './stats.ts';

/** Numbers by chance that are the same in every run. */
export class SeededRandom {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 2_654_435_761) >>> 0 || 1;
  }

  /** From 0 to `limit` - 1. Source: Marsaglia's xorshift32. */
  below(limit: number): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state >>> 0;
    return this.#state % limit;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }

  latin1(length: number): string {
    return this.bytes(length).toString('latin1');
  }

  printable(length: number): string {
    return Array.from({ length }, () => String.fromCharCode(0x21 + this.below(94))).join('');
  }
}

/** A frame as it stands on the wire. */
export function frame(type: number, flags: number, streamId: number, payload: Buffer | string = ''): Buffer {
  const body = typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload;
  const bytes = Buffer.alloc(9 + body.length);
  bytes.writeUIntBE(body.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(streamId, 5);
  body.copy(bytes, 9);
  return bytes;
}

export type Fields = readonly (readonly [name: string, value: string])[];

/** Fields as literals that no table keeps, whatever stands in them. */
export function literals(fields: Fields): Buffer {
  return Buffer.concat(fields.map(([name, value]) => Buffer.concat([Buffer.from([0]), text(name), text(value)])));
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  const length: number[] = [Math.min(bytes.length, 0x7f)];
  let rest = bytes.length - 0x7f;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) length.push((rest % 128) | 0x80);
  if (rest >= 0) length.push(rest);
  return Buffer.concat([Buffer.from(length), bytes]);
}

/** HEADERS and as many CONTINUATION as the block takes. */
export function headersFrames(streamId: number, fields: Fields, flags: number = FLAG.endStream): Buffer {
  const block = literals(fields);
  const frames: Buffer[] = [];
  for (let at = 0; at === 0 || at < block.length; at += 16_384) {
    const isLast = at + 16_384 >= block.length;
    const own = (at === 0 ? flags : 0) | (isLast ? FLAG.endHeaders : 0);
    frames.push(frame(at === 0 ? FRAME.headers : FRAME.continuation, own, streamId, block.subarray(at, at + 16_384)));
  }
  return Buffer.concat(frames);
}

export const GET: Fields = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':path', '/'],
  [':authority', 'example.com'],
];

export const POST: Fields = [[':method', 'POST'], ...GET.slice(1)];

export const SETTINGS: Buffer = frame(FRAME.settings, 0, 0);

/** A frame that came, with what tests look at. */
export interface SeenFrame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** The other side of a connection, that sends whatever bytes a test wants and keeps the frames that come. */
export class RawPeer implements AsyncDisposable {
  readonly socket: Socket;
  readonly frames: SeenFrame[] = [];
  readonly #decoder = new HpackDecoder();
  #rest = Buffer.alloc(0);
  #waiting: (() => void)[] = [];
  isClosed = false;

  constructor(socket: Socket, prefaceBytes = 0) {
    this.socket = socket;
    let skipped = prefaceBytes;
    socket.on('data', (chunk: Buffer) => {
      const skip = Math.min(skipped, chunk.length);
      skipped -= skip;
      this.#onData(chunk.subarray(skip));
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.isClosed = true;
      this.#wake();
    });
  }

  /** Connects as a client and sends the preface and SETTINGS. */
  static async connect(port: number): Promise<RawPeer> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const peer = new RawPeer(socket);
    peer.send(CLIENT_PREFACE, SETTINGS);
    return peer;
  }

  send(...parts: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  #onData(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length) break;
      const seen = { type: this.#rest[3] as number, flags: this.#rest[4] as number, streamId: this.#rest.readUInt32BE(5) };
      this.frames.push({ ...seen, payload: Buffer.from(this.#rest.subarray(9, 9 + length)) });
      this.#rest = this.#rest.subarray(9 + length);
    }
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Takes the first frame that `isWanted`; rejects where the connection ends without one. */
  async next(isWanted: (seen: SeenFrame) => boolean): Promise<SeenFrame> {
    for (;;) {
      const index = this.frames.findIndex(isWanted);
      if (index >= 0) return this.frames.splice(index, 1)[0] as SeenFrame;
      if (this.isClosed) throw new Error(`the connection ended; left are frames of types ${this.frames.map(({ type }) => type).join(' ')}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async nextOfType(type: number, streamId?: number): Promise<SeenFrame> {
    return this.next((seen) => seen.type === type && (streamId === undefined || seen.streamId === streamId) && !isAck(seen));
  }

  /** Decodes header blocks in the order in which they came. */
  decode(seen: SeenFrame): Record<string, string> {
    const fields: Record<string, string> = {};
    const sink: FieldSink = {
      onField: ({ name, value }) => {
        fields[name.name.text] = value;
      },
    };
    if (!this.#decoder.decode(seen.payload, [0, seen.payload.length], sink)) throw new Error('the block is not HPACK');
    return fields;
  }

  async closed(): Promise<void> {
    while (!this.isClosed) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
    await this.closed();
  }
}

function isAck({ type, flags }: SeenFrame): boolean {
  return (type === FRAME.settings || type === FRAME.ping) && (flags & FLAG.ack) !== 0;
}

/** One request as the server under test saw it. */
export class SeenRequest implements RequestReceiver {
  readonly head: RequestHead;
  readonly sender: ResponseSender;
  readonly #onChange: () => void;
  body = '';
  bodyBytes = 0;
  trailers: HeaderMap | undefined;
  isEnded = false;
  writable = 0;
  reset: string | undefined;

  constructor(head: RequestHead, sender: ResponseSender, onChange: () => void) {
    this.head = head;
    this.sender = sender;
    this.#onChange = onChange;
  }

  onData(chunk: Buffer): void {
    this.bodyBytes += chunk.length;
    if (this.bodyBytes < 100_000) this.body += chunk.toString('latin1');
    this.#onChange();
  }

  onTrailers(trailers: HeaderMap): void {
    this.trailers = trailers;
  }

  onEnd(): void {
    this.isEnded = true;
    this.#onChange();
  }

  onReadEnd(): void {}

  onWritable(): void {
    this.writable++;
    this.#onChange();
  }

  onDownstreamReset(details: string): void {
    this.reset = details;
    this.#onChange();
  }

  respond(body = '', status = 200): void {
    this.sendHead(status, body.length > 0);
    if (body.length > 0) this.sender.sendData(Buffer.from(body));
    this.sender.end();
  }

  sendHead(status = 200, hasBody = true): void {
    const head = { status, headers: new HeaderMap(), hasBody, contentLength: -1, upgrade: '', wireBytes: 0 };
    this.sender.sendHead(head, { closesConnection: false });
  }
}

/** A server on a free port whose requests a test answers itself, or `answer` does. */
export class TestServer implements ServerCodecEvents, AsyncDisposable {
  readonly options: Http2ServerOptions;
  readonly requests: SeenRequest[] = [];
  readonly connections: Http2ServerConnection[] = [];
  closedConnections = 0;
  answer: ((request: SeenRequest) => void) | undefined;
  readonly #wheel: TimerWheel;
  readonly #server;
  #waiting: (() => void)[] = [];

  constructor(options: Partial<Http2ServerOptions> = {}, wheel: TimerWheel = new TimerWheel(systemClock)) {
    this.options = {
      ...DEFAULT_HTTP2_OPTIONS,
      ...DEFAULT_HEADER_LIMITS,
      idleTimeoutMs: 0,
      headersTimeoutMs: 0,
      maxRequestsPerConnection: 0,
      flushTimeoutMs: 0,
      stats: createHttp2Stats(),
      ...options,
    };
    this.#wheel = wheel;
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
      const connection = new Http2ServerConnection(socket, { codec: this.options, events: this, wheel: this.#wheel });
      this.connections.push(connection);
      connection.start(undefined);
    });
  }

  async start(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  onRequest(head: RequestHead, sender: ResponseSender): RequestReceiver {
    const request = new SeenRequest(head, sender, () => this.#wake());
    this.requests.push(request);
    this.answer?.(request);
    this.#wake();
    return request;
  }

  onInvalidRequest(): void {}

  onClose(): void {
    this.closedConnections++;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Waits for what the requests show. */
  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  async request(index = 0): Promise<SeenRequest> {
    await this.until(() => this.requests.length > index);
    return this.requests[index] as SeenRequest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.connections) connection.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

/** A clock that stands still until it is told to go on. */
export class HandClock implements Clock {
  #time = 0;
  #timers: { readonly at: number; readonly callback: () => void }[] = [];

  now(): number {
    return this.#time;
  }

  monotonic(): number {
    return this.#time;
  }

  after(delayMs: number, callback: () => void): { cancel(): void } {
    const timer = { at: this.#time + delayMs, callback };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  advance(ms: number): void {
    for (let step = 0; step < ms; step++) {
      this.#time++;
      const due = this.#timers.filter((timer) => timer.at <= this.#time);
      this.#timers = this.#timers.filter((timer) => timer.at > this.#time);
      for (const timer of due) timer.callback();
    }
  }
}
