import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { joinHostPort, listenError, type Running } from '@mizzen/core';

export interface HttpAnswer {
  readonly code: number;
  readonly body: string;
  /** Default `PROMETHEUS_TYPE`. */
  readonly contentType?: string;
}

export interface HttpEndpoint {
  /** undefined: every address of this network namespace, IPv4 and IPv6. */
  readonly host: string | undefined;
  /** 0 chooses a free one. */
  readonly port: number;
  /** For errors: `the status port`. */
  readonly what: string;
  readonly answer: (request: IncomingMessage) => Promise<HttpAnswer>;
}

/** Of Prometheus' text format; any other text is well served by it. */
export const PROMETHEUS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** A port that answers each request with a text. Resolves once it listens. Throws MIZZEN_PORT_IN_USE or MIZZEN_ADDRESS. */
export async function serveHttp({ host, port, what, answer }: HttpEndpoint): Promise<Running & { port: number }> {
  const server = createServer((request, response) => {
    answer(request).then(
      (given) => send(response, given),
      () => send(response, { code: 500, body: 'the answer cannot be made\n' }),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, joinHostPort(host ?? '0.0.0.0', port), what)));
    // Without a host Node listens on [::] for both families, or on 0.0.0.0 where the kernel has no IPv6.
    server.listen({ port, ...(host !== undefined && { host }) }, resolve);
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

function send(response: ServerResponse, { code, body, contentType = PROMETHEUS_TYPE }: HttpAnswer): void {
  response.writeHead(code, { 'content-type': contentType }).end(body);
}
