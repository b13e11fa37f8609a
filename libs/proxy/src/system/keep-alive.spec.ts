import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { setKeepAliveProbes } from './keep-alive.ts';
import { loadLibc } from './libc.ts';

// Source: linux/in.h, linux/tcp.h.
const IPPROTO_TCP = 6;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;

const itOnLinux = process.platform === 'linux' ? it : it.skip;

describe('setKeepAliveProbes', () => {
  itOnLinux('needs linux: sets how often and how long a silent peer is asked', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    await once(socket, 'connect');
    socket.setKeepAlive(true, 30_000);
    setKeepAliveProbes(socket, { intervalS: 7, probes: 3 });
    const getsockopt = loadLibc().function('int getsockopt(int, int, int, _Out_ uint8_t *, _Inout_ uint8_t *)');
    const { fd } = (socket as unknown as { readonly _handle: { readonly fd: number } })._handle;
    const read = (option: number): number => {
      const value = Buffer.alloc(4);
      getsockopt(fd, IPPROTO_TCP, option, value, Buffer.from([4, 0, 0, 0]));
      return value.readInt32LE();
    };
    expect([TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT].map(read)).toEqual([30, 7, 3]);
    socket.destroy();
    server.close();
  });
});
