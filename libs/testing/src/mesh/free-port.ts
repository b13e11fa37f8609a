import { once } from 'node:events';
import { createServer } from 'node:net';
import { errorCode } from '@mizzen/core';

// Below what Linux and macOS give to who asks for port 0: no listener and no outgoing connection of another test takes the port between
// its choice here and its use.
const FIRST = 10_240;
const COUNT = 9_000;

/** A TCP port of the loopback address that nobody listens on, for what has to be told its port beforehand. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if (await isFree(port)) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (thrown) {
    if (errorCode(thrown) === 'EADDRINUSE') return false;
    throw thrown;
  }
  server.close();
  await once(server, 'close');
  return true;
}
