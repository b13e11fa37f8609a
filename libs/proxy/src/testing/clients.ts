import { once } from 'node:events';
import { Agent, createServer, type RequestListener, request } from 'node:http';
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2';
import { Agent as TlsAgent, request as tlsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Cleanup } from './harness.ts';

/** One answer, or the code of what went wrong in `status`. */
export interface Answered {
  readonly status: string;
  readonly body: string;
}

/** A client that sends one request after the other and keeps its connection as long as the server does. */
export interface KeepAliveClient {
  get(path: string): Promise<Answered>;
  /** How many connections it has made. */
  readonly connections: number;
}

/** Where it connects to is asked before each connection. */
export interface ClientOptions {
  readonly port: () => number;
  readonly isTls?: boolean;
}

const TLS = { rejectUnauthorized: false, checkServerIdentity: () => undefined } as const;

/** One connection of HTTP/1 at a time. */
export function http1Client(cleanup: Cleanup, { port, isTls = false }: ClientOptions): KeepAliveClient {
  const agent = isTls ? new TlsAgent({ keepAlive: true, maxSockets: 1, ...TLS }) : new Agent({ keepAlive: true, maxSockets: 1 });
  cleanup.add(() => agent.destroy());
  const known = new WeakSet<object>();
  let connections = 0;
  return {
    get connections() {
      return connections;
    },
    get(path) {
      return new Promise((resolve) => {
        const asked = (isTls ? tlsRequest : request)({ host: '127.0.0.1', port: port(), path, agent }, (response) => {
          let body = '';
          response.setEncoding('utf8').on('data', (chunk: string) => {
            body += chunk;
          });
          response.on('end', () => resolve({ status: String(response.statusCode), body }));
          response.on('error', fail);
        });
        asked.on('socket', (socket) => {
          if (!known.has(socket)) connections++;
          known.add(socket);
        });
        const fail = (error: NodeJS.ErrnoException): void => resolve({ status: error.code ?? error.message, body: '' });
        asked.on('error', fail);
        asked.end();
      });
    },
  };
}

/** One connection of HTTP/2 at a time; a new one after GOAWAY. */
export function http2Client(cleanup: Cleanup, { port, isTls = false }: ClientOptions): KeepAliveClient {
  let session: ClientHttp2Session | undefined;
  let connections = 0;
  cleanup.add(() => session?.destroy());
  const current = (): ClientHttp2Session => {
    if (session !== undefined && !session.closed && !session.destroyed) return session;
    connections++;
    session = connectHttp2(`${isTls ? 'https' : 'http'}://127.0.0.1:${port()}`, isTls ? TLS : {});
    session.on('error', () => {});
    return session;
  };
  return {
    get connections() {
      return connections;
    },
    get(path) {
      return new Promise((resolve) => {
        const stream = current().request({ ':path': path });
        let status = '';
        let body = '';
        stream.on('response', (headers) => {
          status = String(headers[':status']);
        });
        stream.setEncoding('utf8').on('data', (chunk: string) => {
          body += chunk;
        });
        stream.on('error', (error: NodeJS.ErrnoException) => {
          // Not sent yet when GOAWAY came: nghttp2 refuses it itself, and who asked sends it anew (RFC 9113 §8.7).
          if (stream.rstCode === constants.NGHTTP2_REFUSED_STREAM) resolve(this.get(path));
          else resolve({ status: error.code ?? error.message, body: '' });
        });
        stream.on('close', () => resolve({ status, body }));
        stream.end();
      });
    },
  };
}

/** An HTTP/1 server on a free port; answers its name without a listener. */
export async function startHttpBackend(cleanup: Cleanup, name: string, listener?: RequestListener): Promise<number> {
  const server = createServer(listener ?? ((_, response) => response.end(name)));
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.add(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** Sends requests with all clients at once, one after the other each, while `change` is called again and again. Answers what came. */
export async function underLoad(
  clients: readonly KeepAliveClient[],
  changes: { readonly count: number; readonly change: (turn: number) => unknown },
): Promise<readonly Answered[]> {
  const answers: Answered[] = [];
  let isOver = false;
  const loops = clients.map(async (client) => {
    while (!isOver) answers.push(await client.get('/'));
  });
  // So many answers before, between and after the changes, some of them begun before the last.
  const more = async (): Promise<void> => {
    const target = answers.length + 2 * clients.length;
    while (answers.length < target) await new Promise((resolve) => setImmediate(resolve));
  };
  await more();
  for (let turn = 0; turn < changes.count; turn++) {
    await changes.change(turn);
    await more();
  }
  isOver = true;
  await Promise.all(loops);
  return answers;
}
