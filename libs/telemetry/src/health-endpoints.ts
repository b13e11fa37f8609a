import type { Running } from '@mizzen/core';
import { type HttpAnswer, serveHttp } from './http-endpoint.ts';
import type { MetricRegistry } from './metric-registry.ts';

/**
 * What a cluster watches a server by: `/healthz` (it runs; a restart would help where it does not answer), `/ready` and `/metrics`. Resolves
 * once it listens. Throws MIZZEN_PORT_IN_USE or MIZZEN_ADDRESS.
 */
export function serveHealthEndpoints(options: {
  readonly host: string;
  /** 0 chooses a free one. */
  readonly port: number;
  /** For errors: `the CA`. */
  readonly what: string;
  readonly registry: MetricRegistry;
  /** Why it cannot do its work yet, or any more; undefined where it can. */
  readonly notReadyBecause: () => string | undefined;
}): Promise<Running & { readonly port: number }> {
  const { host, port, what, registry, notReadyBecause } = options;
  const pages: Readonly<Record<string, () => HttpAnswer>> = {
    '/healthz': () => ({ code: 200, body: 'ok\n' }),
    '/ready'() {
      const reason = notReadyBecause();
      return { code: reason === undefined ? 200 : 503, body: `${reason ?? 'ok'}\n` };
    },
    '/metrics': () => ({ code: 200, body: registry.renderPrometheus() }),
  };
  const notFound = (): HttpAnswer => ({ code: 404, body: `not here; ${Object.keys(pages).join(', ')} are\n` });
  return serveHttp({
    host,
    port,
    what,
    answer: async ({ url = '' }) => (pages[url.split('?', 1)[0] ?? ''] ?? notFound)(),
  });
}
