import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import type { Running } from '@mizzen/core';
import type { EchoHandler, ServiceOptions } from './options.ts';
import { Recorder } from './recorder.ts';

/** A request as the program received it, and what it answers with. */
export interface Echo {
  readonly workload: string;
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** The program behind a sidecar. */
export interface EchoApp extends Running {
  readonly port: number;
  /** Requests that arrived completely, in that order. */
  readonly requests: Recorder<Echo>;
  /** TCP connections that were taken. */
  readonly connections: () => number;
}

/** Header of every answer: which workload gave it. */
export const SERVED_BY = 'x-served-by';

/** Starts the program of a workload on a free port of its own. */
export function startEchoApp(workload: string, { protocol, handler }: Pick<ServiceOptions, 'protocol' | 'handler'>): Promise<EchoApp> {
  const requests = new Recorder<Echo>(`request at ${workload}`);
  const server = protocol === 'TCP' ? tcpEcho(workload) : httpEcho({ workload, requests, handler });
  return listen(server, requests);
}

interface HttpEchoOptions {
  readonly workload: string;
  readonly requests: Recorder<Echo>;
  readonly handler: EchoHandler | undefined;
}

function httpEcho({ workload, requests, handler }: HttpEchoOptions): Server {
  const server = createHttpServer({ keepAlive: true }, (request, response) => {
    // A request that is broken off is no request: nothing is recorded or answered.
    const echo = (): void =>
      void readBody(request).then(
        (body) => answer(response, describe({ workload, request, body })),
        () => response.destroy(),
      );
    request.once('error', () => response.destroy());
    if (!handler) return echo();
    request.once('end', () => requests.add(describe({ workload, request, body: '' })));
    handler({ request, response, workload, echo });
  });
  const answer = (response: ServerResponse, echo: Echo): void => {
    if (!handler) requests.add(echo);
    response.writeHead(200, { 'content-type': 'application/json', [SERVED_BY]: workload });
    response.end(JSON.stringify(echo));
  };
  // A WebSocket server as far as a proxy sees one: agrees, then sends back what comes.
  server.on('upgrade', (request: IncomingMessage, socket: Socket) => {
    requests.add(describe({ workload, request, body: '' }));
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${request.headers.upgrade}\r\n${SERVED_BY}: ${workload}\r\n\r\n`,
    );
    socket.pipe(socket);
    socket.on('error', () => socket.destroy());
  });
  return server;
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('latin1');
}

function describe({ workload, request, body }: { workload: string; request: IncomingMessage; body: string }): Echo {
  return { workload, method: request.method ?? '', path: request.url ?? '', headers: request.headers, body };
}

function tcpEcho(workload: string): Server {
  return createTcpServer({ allowHalfOpen: true }, (socket) => {
    socket.write(`${workload}\n`);
    socket.pipe(socket);
    socket.on('error', () => socket.destroy());
  });
}

async function listen(server: Server, requests: Recorder<Echo>): Promise<EchoApp> {
  const open = new Set<Socket>();
  let connections = 0;
  server.on('connection', (socket: Socket) => {
    connections++;
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    connections: () => connections,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}
