import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Running } from '@mizzen/core';
import { serveHealthEndpoints } from './health-endpoints.ts';
import { createMetricRegistry } from './metric-registry.ts';

describe('the health endpoints', () => {
  let reason: string | undefined;
  let endpoints: Running & { readonly port: number };
  beforeEach(async () => {
    reason = undefined;
    const registry = createMetricRegistry();
    registry.counter({ name: 'pulls_total', help: 'pulls' }).series().value++;
    endpoints = await serveHealthEndpoints({ host: '127.0.0.1', port: 0, what: 'the test', registry, notReadyBecause: () => reason });
  });
  afterEach(() => endpoints.close());

  const get = async (path: string): Promise<readonly [status: number, body: string]> => {
    const response = await fetch(`http://127.0.0.1:${endpoints.port}${path}`);
    return [response.status, await response.text()];
  };

  it('say that it runs, whether it can work, and why not', async () => {
    expect(await get('/ready')).toEqual([200, 'ok\n']);
    reason = 'there is no key';
    expect(await get('/ready')).toEqual([503, 'there is no key\n']);
    expect(await get('/healthz')).toEqual([200, 'ok\n']);
  });

  it('show the metrics, and say of any other path which there are', async () => {
    expect(await get('/metrics?x=1')).toEqual([200, expect.stringContaining('pulls_total 1')]);
    expect(await get('/constructor')).toEqual([404, 'not here; /healthz, /ready, /metrics are\n']);
  });

  it('cannot be served on a port that is taken', async () => {
    const again = { host: '127.0.0.1', port: endpoints.port, what: 'the test', registry: createMetricRegistry() };
    await expect(serveHealthEndpoints({ ...again, notReadyBecause: () => undefined })).rejects.toMatchObject({
      code: 'MIZZEN_PORT_IN_USE',
    });
  });
});
