import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { joinHostPort, listenError, type Running } from '@mizzen/core';
import { type AdminAddress, fetchAdmin } from './admin-client.ts';
import type { AgentMetrics } from './agent-metrics.ts';

export interface StatusServerOptions {
  readonly host: string;
  /** 0 chooses a free one. */
  readonly port: number;
  /** Why the workload is not ready, or undefined where it is. */
  readonly notReadyReason: () => string | undefined;
  /** Where the proxy's own admin port answers. */
  readonly admin: AdminAddress;
  readonly metrics: AgentMetrics;
  readonly onDrain: () => void;
  readonly onQuit: () => void;
}

interface Answer {
  readonly code: number;
  readonly body: string;
}

/** The status port: readiness, merged metrics, drain and quit. Paths as Istio's agent has them on 15020 and 15021. Resolves once it listens. */
export async function serveStatus(options: StatusServerOptions): Promise<Running & { port: number }> {
  const server = createServer((request, response) => {
    answer(request, options).then(
      ({ code, body }) => send(response, { code, body }),
      () => send(response, { code: 500, body: 'the status cannot be told\n' }),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, joinHostPort(options.host, options.port), 'the status port')));
    server.listen(options.port, options.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function send(response: ServerResponse, { code, body }: Answer): void {
  response.writeHead(code, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(body);
}

async function answer(request: IncomingMessage, options: StatusServerOptions): Promise<Answer> {
  const path = (request.url ?? '').split('?')[0];
  const isChange = path === '/quitquitquit' || path === '/drain';
  if (isChange && request.method !== 'POST') return { code: 405, body: `${path} takes POST\n` };
  if (isChange && !isLoopback(request.socket.remoteAddress)) return { code: 403, body: `${path} is for this machine only\n` };
  switch (path) {
    case '/healthz/ready':
    case '/ready': {
      const reason = options.notReadyReason();
      return reason === undefined ? { code: 200, body: 'ready\n' } : { code: 503, body: `${reason}\n` };
    }
    case '/stats/prometheus':
    case '/metrics':
      return mergedMetrics(options);
    case '/drain':
      options.onDrain();
      return { code: 200, body: 'draining\n' };
    case '/quitquitquit':
      options.onQuit();
      return { code: 200, body: 'quitting\n' };
    default:
      return { code: 404, body: 'not here; /healthz/ready, /stats/prometheus, POST /drain and POST /quitquitquit are\n' };
  }
}

// A proxy that cannot be scraped must not take the agent's own metrics away.
async function mergedMetrics({ admin, metrics }: StatusServerOptions): Promise<Answer> {
  const scraped = await fetchAdmin(admin, '/stats/prometheus').catch(() => undefined);
  metrics.countScrape(scraped === undefined);
  return { code: 200, body: metrics.registry.renderPrometheus() + (scraped ?? '') };
}

function isLoopback(address: string | undefined): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address ?? '');
}
