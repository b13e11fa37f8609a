import * as http from 'node:http';
import * as https from 'node:https';
import type { Duplex } from 'node:stream';
import { type ConnectionOptions, createSecureContext, type SecureContext } from 'node:tls';
import { createGunzip } from 'node:zlib';
import { errorCode, errorMessage, type Running } from '@mizzen/core';
import type { Access, AccessSource } from './access.ts';
import type { RequestOptions } from './contract.ts';
import { errorOfAnswer, KubeError } from './kube-error.ts';

/** An answer whose body was not read yet. */
export interface StreamAnswer {
  readonly status: number;
  readonly body: http.IncomingMessage;
}

export interface StreamRequest extends RequestOptions {
  /** The answer may be compressed. Not asked for where lines have to arrive at once. */
  readonly isCompressible: boolean;
}

// As long as client-go waits for the head of an answer by default in controllers (rest.Config.Timeout of kubectl is unbounded, ours must not be).
const DEFAULT_TIMEOUT_MS = 30_000;
/** A page of 500 objects of the largest size that etcd takes is more, but no cluster has those. */
const MAX_BODY_BYTES = 256 * 1024 * 1024;
const MAX_SOCKETS = 128;

/** HTTP to one API server: keep-alive, credentials for every request, bounded times and sizes, every failure a KubeError. */
export class Transport implements Running {
  readonly #source: AccessSource;
  readonly #agent: http.Agent;
  readonly #proxyAgents = new Set<http.Agent>();
  #context: { readonly of: string; readonly secureContext: SecureContext } | undefined;

  constructor(source: AccessSource) {
    this.#source = source;
    const options = { keepAlive: true, maxSockets: MAX_SOCKETS, keepAliveMsecs: 30_000 };
    this.#agent = source.server.protocol === 'http:' ? new http.Agent(options) : new https.Agent(options);
  }

  get server(): string {
    return this.#source.server.origin;
  }

  /** The whole answer: JSON as its value, anything else as text. Rejects with a KubeError unless the status is 2xx. */
  async request(options: RequestOptions): Promise<unknown> {
    const asked = describe(options);
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const deadline = AbortSignal.timeout(timeoutMs);
    const signal = options.signal ? AbortSignal.any([options.signal, deadline]) : deadline;
    try {
      const { status, body } = await this.open({ ...options, signal, isCompressible: true });
      const answer = await readBody(body, signal);
      if (status >= 200 && status < 300) return answer;
      if (status === 401) this.#source.renew();
      throw errorOfAnswer(asked, status, answer);
    } catch (thrown) {
      if (deadline.aborted && !options.signal?.aborted) throw this.#noAnswer(asked, { message: `no answer within ${timeoutMs} ms` });
      throw thrown instanceof KubeError ? thrown : this.#noAnswer(asked, thrown);
    }
  }

  /** Resolves with the head of the answer, whatever its status. Aborting the signal ends the body too. */
  async open(options: StreamRequest): Promise<StreamAnswer> {
    const asked = describe(options);
    const payload = options.body === undefined ? undefined : Buffer.from(JSON.stringify(options.body));
    const requestOptions = await this.#optionsOf(options, {
      accept: options.accept ?? 'application/json',
      ...(options.isCompressible && { 'accept-encoding': 'gzip' }),
      ...(payload && { 'content-type': options.contentType ?? 'application/json', 'content-length': String(payload.length) }),
    });
    const isPlain = this.#source.server.protocol === 'http:';
    return send(requestOptions, { payload, isPlain }).catch((thrown: unknown) => {
      throw this.#noAnswer(asked, thrown);
    });
  }

  /** A connection that stops being HTTP: what follows the answer 101. Rejects with a KubeError. */
  async upgrade(options: {
    path: string;
    query: Readonly<Record<string, string>>;
    headers: Readonly<Record<string, string>>;
  }): Promise<Duplex> {
    const asked = describe({ method: 'GET', path: options.path });
    const requestOptions = await this.#optionsOf({ ...options, method: 'GET' }, options.headers);
    return new Promise((resolve, reject) => {
      const request = this.#source.server.protocol === 'http:' ? http.request(requestOptions) : https.request(requestOptions);
      request.setTimeout(DEFAULT_TIMEOUT_MS, () => request.destroy(new Error(`no answer within ${DEFAULT_TIMEOUT_MS} ms`)));
      request.on('error', (thrown) => reject(this.#noAnswer(asked, thrown)));
      request.on('response', (body) => {
        readBody(body).then(
          (answer) => reject(errorOfAnswer(asked, body.statusCode ?? 0, answer)),
          (thrown: unknown) => reject(this.#noAnswer(asked, thrown)),
        );
      });
      request.on('upgrade', (_, socket, head) => {
        socket.setTimeout(0);
        if (head.length > 0) socket.unshift(head);
        resolve(socket);
      });
      request.end();
    });
  }

  async #optionsOf(
    options: Pick<StreamRequest, 'method' | 'path' | 'query' | 'signal'>,
    headers: Readonly<Record<string, string>>,
  ): Promise<https.RequestOptions> {
    const asked = describe(options);
    const access = await this.#source.access().catch((thrown: unknown) => {
      throw thrown instanceof KubeError ? thrown : this.#noAnswer(asked, thrown);
    });
    options.signal?.throwIfAborted();
    if (access.agent) this.#proxyAgents.add(access.agent);
    const { server } = this.#source;
    const query = options.query === undefined ? '' : `?${new URLSearchParams(options.query)}`;
    return {
      method: options.method,
      hostname: server.hostname.replace(/^\[|\]$/g, ''),
      port: server.port || (server.protocol === 'http:' ? 80 : 443),
      path: `${server.pathname.replace(/\/$/, '')}${options.path}${query}`,
      agent: access.agent ?? this.#agent,
      headers: { ...access.headers, 'user-agent': 'mizzen', ...headers },
      ...(server.protocol === 'https:' && this.#tls(access)),
      ...(options.signal && { signal: options.signal }),
    };
  }

  async close(): Promise<void> {
    for (const agent of [this.#agent, ...this.#proxyAgents]) agent.destroy();
  }

  /** One context for all connections, made anew when the certificates change; the agent keeps connections of different ones apart. */
  #tls({ ca, cert, key, servername, isVerified }: Access): ConnectionOptions {
    const material = { ...(ca !== undefined && { ca }), ...(cert !== undefined && { cert }), ...(key !== undefined && { key }) };
    const text = JSON.stringify([String(ca), String(cert), String(key)]);
    if (this.#context?.of !== text) this.#context = { of: text, secureContext: createSecureContext(material) };
    const { secureContext } = this.#context;
    return { ...material, secureContext, rejectUnauthorized: isVerified, ...(servername !== undefined && { servername }) };
  }

  #noAnswer(asked: string, thrown: unknown): KubeError {
    const code = errorCode(thrown);
    return new KubeError(`${asked}: the API server ${this.server} does not answer: ${errorMessage(thrown) || code}`, {
      status: 0,
      cause: thrown,
      details: { asked, server: this.server, code },
    });
  }
}

/** The body of an answer as it comes. Rejects with a KubeError unless the status is 2xx. */
export async function openStream(transport: Transport, options: RequestOptions): Promise<AsyncIterable<Buffer>> {
  const { status, body } = await transport.open({ ...options, isCompressible: false });
  if (status >= 200 && status < 300) return body;
  throw errorOfAnswer(describe(options), status, await readBody(body));
}

export function describe({ method, path }: Pick<RequestOptions, 'method' | 'path'>): string {
  return `${method} ${path}`;
}

async function send(options: https.RequestOptions, about: { payload: Buffer | undefined; isPlain: boolean }): Promise<StreamAnswer> {
  return new Promise((resolve, reject) => {
    const request = about.isPlain ? http.request(options) : https.request(options);
    request.on('error', reject);
    request.on('response', (body) => resolve({ status: body.statusCode ?? 0, body }));
    request.end(about.payload);
  });
}

/** Reads a body to its end and parses it where it says that it is JSON. */
export async function readBody(message: http.IncomingMessage, signal?: AbortSignal): Promise<unknown> {
  const isGzip = message.headers['content-encoding'] === 'gzip';
  const stream = isGzip ? message.pipe(createGunzip()) : message;
  // An error of the message (the connection broke) does not pass a pipe.
  if (isGzip)
    message.on('error', (thrown) => stream.destroy(thrown)).on('aborted', () => stream.destroy(new Error('the connection broke')));
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new Error(`the answer is larger than ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  signal?.throwIfAborted();
  const text = Buffer.concat(chunks).toString('utf8');
  const isJson = /^application\/(\w+\+)?json/.test(message.headers['content-type'] ?? '');
  return isJson && text !== '' ? (JSON.parse(text) as unknown) : text;
}
