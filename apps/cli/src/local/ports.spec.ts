import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { checkPortsFree, createPortAllocator } from './ports.ts';

describe('ports', () => {
  let server: Server;
  let port: number;

  beforeEach(async () => {
    server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as { port: number }).port;
  });

  afterEach(() => new Promise((resolve) => server.close(resolve)));

  it('names every port that is taken, and the flag that changes it', async () => {
    const wanted = [
      { what: 'the ingress gateway', flag: 'gateway-port', port, host: '0.0.0.0' },
      { what: 'the CA', flag: 'ca-port', port, host: '127.0.0.1' },
      { what: 'the collector', flag: 'telemetry-port', port: 0, host: '127.0.0.1' },
    ];
    await expect(checkPortsFree(wanted)).rejects.toMatchObject({
      code: 'MIZZEN_PORT_IN_USE',
      message:
        `port ${port} of the ingress gateway is in use: free it or choose another with --gateway-port\n` +
        `port ${port} of the CA is in use: free it or choose another with --ca-port`,
    });
  });

  it('hands out each free port once, and the same ones to the same home again', async () => {
    const allocator = createPortAllocator('/home/a');
    const first = [await allocator.next(), await allocator.next(), await allocator.next()];
    expect(new Set(first).size).toBe(3);
    expect(Math.max(...first)).toBeLessThan(32_768);
    expect(await createPortAllocator('/home/a').next()).toBe(first[0]);
  });
});
