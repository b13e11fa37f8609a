import { once } from 'node:events';
import {
  type ClientRequest,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
} from 'node:http';
import { connect, type Socket } from 'node:net';
import { type Echo, SERVED_BY } from './echo-app.ts';

export interface ProxiedRequest {
  /** Host of the service as the program names it: `reviews`, `reviews.default.svc.cluster.local`. */
  readonly host: string;
  /** Default 9080. */
  readonly port?: number;
  readonly path?: string;
  readonly method?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
  /** How the program uses its HTTP proxy: Node's `http` sends the absolute form, `fetch` a CONNECT tunnel. Default `absolute`. */
  readonly via?: 'absolute' | 'connect';
}

/** An answer, read to its end. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** Which workload's program gave it; undefined when a proxy did. */
  readonly servedBy: string | undefined;
  /** What that program received. Throws where it was no echo. */
  readonly echo: Echo;
}

/** Sends a request through the HTTP proxy at a port, on a connection of its own. */
export async function requestThroughProxy(proxyPort: number, request: ProxiedRequest): Promise<Answer> {
  const authority = `${request.host}:${request.port ?? 9080}`;
  if (request.via === 'connect') {
    const socket = await openTunnel(proxyPort, authority);
    return sendRequest({ ...request, path: request.path ?? '/', headers: { host: authority, ...request.headers }, socket });
  }
  const path = `http://${authority}${request.path ?? '/'}`;
  return sendRequest({ ...request, path, headers: { host: authority, ...request.headers }, port: proxyPort });
}

export interface PlainRequest {
  readonly path?: string;
  readonly method?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
  /** Port of 127.0.0.1, or a connection that is there already. */
  readonly port?: number;
  readonly socket?: Socket;
}

/** Sends a request and reads the answer to its end. Rejects where the connection ends before it. */
export async function sendRequest(plain: PlainRequest): Promise<Answer> {
  const request = startRequest(plain);
  request.end(plain.body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return readAnswer(response);
}

/** Starts a request whose body the caller writes. */
export function startRequest({ path = '/', method = 'GET', headers = {}, port, socket }: PlainRequest): ClientRequest {
  const request = httpRequest({
    host: '127.0.0.1',
    path,
    method,
    headers,
    // With an agent Node does not ask `createConnection`; without one it opens a connection of its own.
    ...(socket ? { createConnection: () => socket } : { port, agent: false }),
  });
  // Whoever waits for the response is told by `once`; an error after it belongs to nobody.
  request.on('error', () => request.destroy());
  return request;
}

export async function readAnswer(response: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks).toString('latin1');
  const { statusCode = 0, headers } = response;
  const servedBy = headers[SERVED_BY];
  return {
    status: statusCode,
    headers,
    body,
    servedBy: typeof servedBy === 'string' ? servedBy : undefined,
    get echo(): Echo {
      if (headers['content-type'] !== 'application/json') throw new Error(`${statusCode} is no echo: ${body.slice(0, 200)}`);
      return JSON.parse(body) as Echo;
    },
  };
}

/** A CONNECT tunnel through the HTTP proxy at a port. Rejects where it is refused, with the status in the message. */
export async function openTunnel(proxyPort: number, authority: string): Promise<Socket> {
  const request = httpRequest({
    host: '127.0.0.1',
    port: proxyPort,
    method: 'CONNECT',
    path: authority,
    headers: { host: authority },
    agent: false,
  });
  request.end();
  const [response, socket] = await new Promise<[IncomingMessage, Socket]>((resolve, reject) => {
    request.once('error', reject);
    request.once('connect', (answer, tunnel) => resolve([answer, tunnel as Socket]));
  });
  if (response.statusCode === 200) return socket;
  socket.destroy();
  throw new Error(`CONNECT ${authority} was refused with ${response.statusCode}`);
}

/** Writes bytes on a connection of its own, ends its side, and reads to the end. Rejects where the connection fails. */
export async function exchangeBytes(port: number, bytes: string | Buffer): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => void chunks.push(chunk));
  socket.end(bytes);
  await once(socket, 'end');
  socket.destroy();
  return Buffer.concat(chunks).toString('latin1');
}
