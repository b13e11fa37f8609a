import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http';
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { errorCode, errorMessage } from '@mizzen/core';
import type { SocketAddress } from '../contract.ts';
import type { Endpoint } from './endpoint.ts';
import type { HealthCheckConfig, HealthProbe, StatusRange } from './health-check-config.ts';

export type ProbeResult =
  | { readonly kind: 'passed'; readonly isDegraded: boolean }
  /** `isNetwork`: no answer came; `isRetriable`: it takes several of these to make an endpoint unhealthy. */
  | { readonly kind: 'failed'; readonly isNetwork: boolean; readonly isRetriable: boolean; readonly reason: string };

/** One way to ask one endpoint. At most one check is under way; after `close` the next one begins anew. */
export interface Probe {
  /** Calls back at most once, and not at all after `close`. */
  check(done: (result: ProbeResult) => void): void;
  close(): void;
}

interface Target {
  readonly endpoint: Endpoint;
  readonly address: SocketAddress;
  /** As Host header and authority. */
  readonly authority: string;
  readonly reusesConnection: boolean;
}

export function createProbe(config: HealthCheckConfig, endpoint: Endpoint): Probe {
  const { probe } = config;
  const target: Target = {
    endpoint,
    address: addressOf(config, endpoint),
    authority: authorityOf(probe, endpoint),
    reusesConnection: config.reusesConnection,
  };
  if (probe.kind === 'tcp') return new TcpProbe(probe, target);
  if (probe.kind === 'grpc') return new Http2Probe(grpcExchange(probe), target);
  return probe.isHttp2 ? new Http2Probe(httpExchange(probe), target) : new Http1Probe(probe, target);
}

function addressOf({ port }: HealthCheckConfig, { address, details }: Endpoint): SocketAddress {
  const base = details.healthCheck?.address ?? address;
  const given = details.healthCheck?.port ?? port;
  return base.kind === 'ip' && given !== undefined ? { ...base, port: given } : base;
}

function authorityOf(probe: HealthProbe, { details, cluster }: Endpoint): string {
  const configured = probe.kind === 'http' ? probe.host : probe.kind === 'grpc' ? probe.authority : '';
  return configured || details.healthCheck?.hostname || cluster.name;
}

/** Not through the endpoint: what checks ask for counts neither as traffic nor towards limits. */
function open({ endpoint, address }: Target, alpn: readonly string[] | undefined): Socket | undefined {
  const { tls } = endpoint.transport;
  if (tls !== undefined) return tls.connect(address, { localAddress: undefined, alpn });
  return address.kind === 'pipe' ? connect({ path: address.path }) : connect({ host: address.host, port: address.port, noDelay: true });
}

const NO_SECRET: ProbeResult = failure('no TLS secret yet');

function failure(reason: string): ProbeResult {
  return { kind: 'failed', isNetwork: true, isRetriable: true, reason };
}

function reasonOf(thrown: unknown): string {
  return errorCode(thrown) || errorMessage(thrown);
}

/** What an answer's status and headers mean. */
function judge(probe: Extract<HealthProbe, { readonly kind: 'http' }>, status: number, isDegraded: boolean): ProbeResult {
  if (isWithin(probe.expected, status)) return { kind: 'passed', isDegraded };
  return { kind: 'failed', isNetwork: false, isRetriable: isWithin(probe.retriable, status), reason: `status ${status}` };
}

function isWithin(ranges: readonly StatusRange[], status: number): boolean {
  return ranges.some(([start, end]) => status >= start && status < end);
}

/** Whether the parts are there, one behind the other. */
function contains(bytes: Buffer, parts: readonly Buffer[]): boolean {
  let from = 0;
  for (const part of parts) {
    const found = bytes.indexOf(part, from);
    if (found < 0) return false;
    from = found + part.length;
  }
  return true;
}

const BODY_MISMATCH: ProbeResult = { kind: 'failed', isNetwork: false, isRetriable: false, reason: 'the body is not what is expected' };
const USER_AGENT = 'Envoy/HC';

class Http1Probe implements Probe {
  readonly #probe: Extract<HealthProbe, { readonly kind: 'http' }>;
  readonly #target: Target;
  readonly #agent: Agent;
  #request: ClientRequest | undefined;

  constructor(probe: Extract<HealthProbe, { readonly kind: 'http' }>, target: Target) {
    this.#probe = probe;
    this.#target = target;
    this.#agent = new Agent({ keepAlive: target.reusesConnection, maxSockets: 1 });
    Object.assign(this.#agent, { createConnection: () => open(target, ['http/1.1']) });
  }

  check(done: (result: ProbeResult) => void): void {
    if (this.#target.endpoint.tls !== undefined && this.#target.endpoint.tls.context.material() === undefined) {
      done(NO_SECRET);
      return;
    }
    const { method, path, headers } = this.#probe;
    const asked = request({
      agent: this.#agent,
      method,
      path,
      setHost: false,
      headers: { host: this.#target.authority, 'user-agent': USER_AGENT, ...Object.fromEntries(headers) },
    });
    this.#request = asked;
    asked.on('error', (thrown) => done(failure(reasonOf(thrown))));
    asked.on('response', (response) => this.#read(response, done));
    asked.end();
  }

  #read(response: IncomingMessage, done: (result: ProbeResult) => void): void {
    const { receive, responseBufferBytes } = this.#probe;
    const chunks: Buffer[] = [];
    let bytes = 0;
    response.on('data', (chunk: Buffer) => {
      // Only so much of the body is looked at, unless 0 stands for all of it.
      if (receive.length > 0 && (responseBufferBytes === 0 || bytes < responseBufferBytes)) chunks.push(chunk);
      bytes += chunk.length;
    });
    response.on('error', (thrown) => done(failure(reasonOf(thrown))));
    response.on('end', () => {
      const result = judge(this.#probe, response.statusCode ?? 0, response.headers['x-envoy-degraded'] !== undefined);
      done(result.kind === 'passed' && !contains(Buffer.concat(chunks), receive) ? BODY_MISMATCH : result);
    });
  }

  close(): void {
    this.#request?.destroy();
    this.#request = undefined;
    this.#agent.destroy();
  }
}

class TcpProbe implements Probe {
  readonly #probe: Extract<HealthProbe, { readonly kind: 'tcp' }>;
  readonly #target: Target;
  #socket: Socket | undefined;

  constructor(probe: Extract<HealthProbe, { readonly kind: 'tcp' }>, target: Target) {
    this.#probe = probe;
    this.#target = target;
  }

  check(done: (result: ProbeResult) => void): void {
    const { send, receive } = this.#probe;
    const { reusesConnection, endpoint } = this.#target;
    const kept = this.#socket;
    const socket = kept ?? open(this.#target, undefined);
    if (socket === undefined) {
      done(NO_SECRET);
      return;
    }
    this.#socket = socket;
    const finish = (result: ProbeResult): void => {
      socket.removeAllListeners('data');
      if (result.kind === 'failed' || !reusesConnection) this.close();
      done(result);
    };
    let received: Buffer = Buffer.alloc(0);
    const ask = (): void => {
      if (send !== undefined) socket.write(send);
      if (receive.length === 0) finish({ kind: 'passed', isDegraded: false });
    };
    socket.removeAllListeners('error').removeAllListeners('close');
    socket.on('error', (thrown) => finish(failure(reasonOf(thrown))));
    socket.once('close', () => {
      if (this.#socket === socket) this.#socket = undefined;
      finish(failure('connection closed'));
    });
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (receive.length > 0 && contains(received, receive)) finish({ kind: 'passed', isDegraded: false });
      else if (received.length > MAX_TCP_ANSWER_BYTES) finish(failure('the answer is not what is expected'));
    });
    if (kept !== undefined) ask();
    else socket.once(endpoint.tls === undefined ? 'connect' : 'secureConnect', ask);
  }

  close(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.removeAllListeners('close');
    socket?.on('error', () => {});
    socket?.destroy();
  }
}

const MAX_TCP_ANSWER_BYTES = 1024 * 1024;

/** One request over HTTP/2 and what its answer means. */
interface Http2Exchange {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | undefined;
  readonly maxBodyBytes: number;
  judge(answer: { readonly status: number; readonly headers: Readonly<Record<string, unknown>>; readonly body: Buffer }): ProbeResult;
}

function httpExchange(probe: Extract<HealthProbe, { readonly kind: 'http' }>): Http2Exchange {
  return {
    headers: { ':method': probe.method, ':path': probe.path, 'user-agent': USER_AGENT, ...Object.fromEntries(probe.headers) },
    body: undefined,
    maxBodyBytes: probe.responseBufferBytes,
    judge({ status, headers, body }) {
      const result = judge(probe, status, headers['x-envoy-degraded'] !== undefined);
      return result.kind === 'passed' && !contains(body, probe.receive) ? BODY_MISMATCH : result;
    },
  };
}

const MAX_GRPC_ANSWER_BYTES = 4096;
const SERVING = 1;

/** grpc.health.v1.Health/Check. Source: grpc health-checking.md. */
function grpcExchange(probe: Extract<HealthProbe, { readonly kind: 'grpc' }>): Http2Exchange {
  const name = Buffer.from(probe.serviceName);
  // HealthCheckRequest { string service = 1 }; names are short of 128 bytes or take a second byte of length.
  const length = name.length < 128 ? [name.length] : [(name.length & 0x7f) | 0x80, name.length >>> 7];
  const message = name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a, ...length]), name]);
  const prefix = Buffer.from([0, 0, 0, message.length >>> 8, message.length & 0xff]);
  return {
    headers: {
      ':method': 'POST',
      ':path': '/grpc.health.v1.Health/Check',
      'content-type': 'application/grpc',
      te: 'trailers',
      'user-agent': USER_AGENT,
      ...Object.fromEntries(probe.metadata),
    },
    body: Buffer.concat([prefix, message]),
    maxBodyBytes: MAX_GRPC_ANSWER_BYTES,
    judge({ status, headers, body }) {
      const grpcStatus = headers['grpc-status'];
      if (status === 200 && grpcStatus === '0' && servingStatus(body) === SERVING) return { kind: 'passed', isDegraded: false };
      const reason = `status ${status}, grpc-status ${String(grpcStatus ?? 'missing')}, serving status ${servingStatus(body)}`;
      return { kind: 'failed', isNetwork: false, isRetriable: false, reason };
    },
  };
}

/** HealthCheckResponse { ServingStatus status = 1 } behind the five bytes of gRPC's prefix. */
function servingStatus(body: Buffer): number {
  return body.length >= 7 && body[0] === 0 && body[5] === 0x08 ? (body[6] as number) : 0;
}

class Http2Probe implements Probe {
  readonly #exchange: Http2Exchange;
  readonly #target: Target;
  #session: ClientHttp2Session | undefined;

  constructor(exchange: Http2Exchange, target: Target) {
    this.#exchange = exchange;
    this.#target = target;
  }

  check(done: (result: ProbeResult) => void): void {
    const session = this.#session ?? this.#connect();
    if (session === undefined) {
      done(NO_SECRET);
      return;
    }
    this.#session = session;
    const fail = (thrown: unknown): void => done(failure(thrown === undefined ? 'connection closed' : reasonOf(thrown)));
    session.once('error', fail);
    session.once('close', fail);
    const { headers, body } = this.#exchange;
    const scheme = this.#target.endpoint.tls === undefined ? 'http' : 'https';
    const stream = session.request(
      { ...headers, ':scheme': scheme, ':authority': this.#target.authority },
      { endStream: body === undefined },
    );
    this.#read(stream, (result) => {
      session.removeListener('error', fail).removeListener('close', fail);
      if (!this.#target.reusesConnection) this.close();
      done(result);
    });
    if (body !== undefined) stream.end(body);
  }

  #connect(): ClientHttp2Session | undefined {
    const socket = open(this.#target, ['h2']);
    if (socket === undefined) return undefined;
    // Loaded only by who needs it: it costs memory, and the request path has a codec of its own.
    const { connect: connectHttp2 } = process.getBuiltinModule('node:http2');
    const session = connectHttp2('http://endpoint', { createConnection: () => socket });
    session.on('error', () => {});
    session.on('goaway', () => this.#forget(session));
    session.on('close', () => this.#forget(session));
    return session;
  }

  #forget(session: ClientHttp2Session): void {
    if (this.#session === session) this.#session = undefined;
  }

  #read(stream: ClientHttp2Stream, done: (result: ProbeResult) => void): void {
    const { maxBodyBytes } = this.#exchange;
    const chunks: Buffer[] = [];
    let bytes = 0;
    let headers: Record<string, unknown> = {};
    stream.on('response', (received) => {
      headers = { ...received };
    });
    stream.on('trailers', (trailers) => {
      headers = { ...headers, ...trailers };
    });
    stream.on('data', (chunk: Buffer) => {
      if (maxBodyBytes === 0 || bytes < maxBodyBytes) chunks.push(chunk);
      bytes += chunk.length;
    });
    stream.on('error', (thrown) => done(failure(reasonOf(thrown))));
    stream.on('close', () => {
      const status = Number(headers[':status'] ?? 0);
      done(status === 0 ? failure('no answer') : this.#exchange.judge({ status, headers, body: Buffer.concat(chunks) }));
    });
  }

  close(): void {
    const session = this.#session;
    this.#session = undefined;
    session?.destroy();
  }
}
