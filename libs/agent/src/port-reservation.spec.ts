import { once } from 'node:events';
import { createConnection, createServer } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { reservePort } from './port-reservation.ts';

describe('reservePort', () => {
  it('keeps others from the port until it is released, and then gives it in the same moment', async () => {
    const held = await reservePort({ host: '127.0.0.1', port: 0, what: 'a test' });
    await expect(reservePort({ host: '127.0.0.1', port: held.port, what: 'another' })).rejects.toThrow(
      `another cannot listen on 127.0.0.1:${held.port}: the port is in use; free it or choose another`,
    );
    const server = createServer();
    held.release();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(held.port, '127.0.0.1', resolve);
    });
    await new Promise((resolve) => server.close(resolve));
  });

  it('lets those wait who are to be kept, and leads them to its owner', async () => {
    const held = await reservePort({ host: '127.0.0.1', port: 0, what: 'a test', keepsCallers: true });
    const caller = createConnection({ port: held.port, host: '127.0.0.1', allowHalfOpen: true });
    caller.end('early');
    await once(caller, 'finish');
    const server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
    held.release();
    server.listen(held.port, '127.0.0.1');
    await once(server, 'listening');
    held.forwardCallers();
    let answer = '';
    for await (const chunk of caller) answer += String(chunk);
    expect(answer).toBe('early');
    await new Promise((resolve) => server.close(resolve));
  });

  it('hangs up on those whom it kept where no owner comes', async () => {
    const held = await reservePort({ host: '127.0.0.1', port: 0, what: 'a test', keepsCallers: true });
    const caller = createConnection(held.port, '127.0.0.1');
    caller.on('error', () => undefined);
    await once(caller, 'connect');
    const gone = once(caller, 'close');
    held.release();
    // The connection may still wait to be accepted.
    setImmediate(() => held.dropCallers());
    caller.resume();
    await gone;
  });

  it('hangs up on who connects too early', async () => {
    const held = await reservePort({ host: '127.0.0.1', port: 0, what: 'a test' });
    const socket = createConnection(held.port, '127.0.0.1');
    socket.on('error', () => undefined);
    await new Promise((resolve) => socket.once('close', resolve));
    held.release();
    held.release();
  });
});
