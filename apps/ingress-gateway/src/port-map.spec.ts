import { createServer } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { portMapOf } from './port-map.ts';
import { mayBindPrivilegedPorts } from './privileged-ports.ts';

describe('the port map of a gateway', () => {
  it('is empty where every port may be bound', () => {
    expect(portMapOf(new Map(), true)).toEqual(new Map());
  });

  it('leads around the usual ports that may not be bound, unless it was told another way', () => {
    expect([...portMapOf(new Map([[80, 9999]]), false)]).toEqual([
      [80, 9999],
      [443, 8443],
    ]);
  });
});

describe('mayBindPrivilegedPorts', () => {
  it('agrees with what happens when such a port is bound', async () => {
    const server = createServer();
    const isBound = await new Promise((resolve) => {
      server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'EACCES'));
      server.listen(913, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    expect(await mayBindPrivilegedPorts()).toBe(isBound);
  });
});
