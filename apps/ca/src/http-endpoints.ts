import { joinHostPort, listenError, type Running } from '@mizzen/core';
import { fastify } from 'fastify';
import type { CaMetrics } from './ca-metrics.ts';

/** `/healthz`, `/ready` and `/metrics` for machines that watch the CA. Resolves once it listens. */
export async function serveHttpEndpoints(options: {
  host: string;
  port: number;
  metrics: CaMetrics;
  isReady: () => boolean;
}): Promise<Running & { port: number }> {
  const server = fastify({ forceCloseConnections: true });
  const health = (isReady: boolean): { code: number; body: string } =>
    isReady ? { code: 200, body: 'ok\n' } : { code: 503, body: 'the certificate of the CA has expired\n' };
  for (const path of ['/healthz', '/ready']) {
    server.get(path, (_, reply) => {
      const { code, body } = health(options.isReady());
      return reply.code(code).type('text/plain').send(body);
    });
  }
  server.get('/metrics', (_, reply) => reply.type('text/plain; version=0.0.4').send(options.metrics.registry.renderPrometheus()));
  try {
    await server.listen({ host: options.host, port: options.port });
  } catch (thrown) {
    throw listenError(thrown, joinHostPort(options.host, options.port), 'the CA');
  }
  const address = server.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : options.port;
  return { port, close: () => server.close() };
}
