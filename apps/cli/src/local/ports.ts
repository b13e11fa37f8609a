import { createServer } from 'node:net';
import { MizzenError } from '@mizzen/core';

/** One port of the mesh that has a fixed number unless 0 is asked for. */
export interface WantedPort {
  /** What listens there: `the ingress gateway`. */
  readonly what: string;
  readonly flag: string;
  readonly port: number;
  readonly host: string;
}

export interface PortAllocator {
  /** A port that nobody uses and that was not given out before. */
  next(): Promise<number>;
}

// Below the ephemeral range of Linux (32768) and macOS (49152): an outgoing connection never takes one of these between two starts of a process.
const FIRST_PORT = 20_100;
const LAST_PORT = 32_000;

/** Throws MIZZEN_PORT_IN_USE with one sentence for each port that is taken. A port of 0 is free by definition. */
export async function checkPortsFree(wanted: readonly WantedPort[]): Promise<void> {
  const taken: string[] = [];
  for (const { what, flag, port, host } of wanted) {
    if (port !== 0 && !(await isPortFree(port, host)))
      taken.push(`port ${port} of ${what} is in use: free it or choose another with --${flag}`);
  }
  if (taken.length > 0) throw new MizzenError('MIZZEN_PORT_IN_USE', taken.join('\n'));
}

/** Whether somebody could listen there now. */
export function isPortFree(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/**
 * Hands out free ports, each once. Where the search begins follows from `seed`, so that the same home is given the same ports again
 * while two homes rarely meet.
 */
export function createPortAllocator(seed: string, firstPort: number = FIRST_PORT): PortAllocator {
  let candidate = firstPort + (hashText(seed) % 500) * 20;
  let tries = 0;
  return {
    async next() {
      while (tries++ < LAST_PORT - FIRST_PORT) {
        const port = candidate++;
        if (candidate > LAST_PORT) candidate = FIRST_PORT;
        if ((await isPortFree(port, '127.0.0.1')) && (await isPortFree(port, '0.0.0.0'))) return port;
      }
      throw new MizzenError('MIZZEN_PORT_IN_USE', `no port between ${FIRST_PORT} and ${LAST_PORT} is free`);
    },
  };
}

function hashText(text: string): number {
  let hash = 0;
  for (const character of text) hash = (Math.imul(hash, 31) + character.charCodeAt(0)) >>> 0;
  return hash;
}
