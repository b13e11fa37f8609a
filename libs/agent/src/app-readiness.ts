import { createConnection, type NetConnectOpts } from 'node:net';
import { type Clock, delay, MizzenError, splitHostPort } from '@mizzen/core';

const RETRY_MS = 50;

/** Where a program listens, and from where it is asked. */
export interface AppEndpoints {
  /** `127.0.0.1:5000` or `unix:///path`. */
  readonly endpoints: readonly string[];
  /** Address that the connections come from, by which iptables leaves them alone; undefined without capture. */
  readonly sourceAddress: string | undefined;
}

/** Whether the program accepts connections on every endpoint now. */
export async function isAppListening({ endpoints, sourceAddress }: AppEndpoints): Promise<boolean> {
  return (await Promise.all(endpoints.map((endpoint) => accepts(endpoint, sourceAddress)))).every((isAccepted) => isAccepted);
}

/** Resolves once the program accepts connections on every endpoint. Throws MIZZEN_ADDRESS after `timeoutMs`, naming the one that does not. */
export async function waitForApp(
  { endpoints, sourceAddress }: AppEndpoints,
  options: { timeoutMs: number; clock: Clock; signal: AbortSignal },
): Promise<void> {
  const deadline = options.clock.monotonic() + options.timeoutMs;
  for (const endpoint of endpoints) {
    while (!options.signal.aborted && !(await accepts(endpoint, sourceAddress))) {
      if (options.clock.monotonic() >= deadline) {
        throw new MizzenError(
          'MIZZEN_ADDRESS',
          `the program does not listen on ${endpoint} after ${options.timeoutMs / 1000}s: start it, or give it more time with --app-ready-timeout`,
        );
      }
      await delay(options.clock, RETRY_MS, options.signal);
    }
  }
}

function accepts(endpoint: string, sourceAddress: string | undefined): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(connectOptions(endpoint, sourceAddress));
    const end = (isAccepted: boolean): void => {
      socket.destroy();
      resolve(isAccepted);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}

function connectOptions(endpoint: string, sourceAddress: string | undefined): NetConnectOpts {
  if (endpoint.startsWith('unix://')) return { path: endpoint.slice('unix://'.length) };
  const address = splitHostPort(endpoint);
  if (!address) throw new MizzenError('MIZZEN_ADDRESS', `"${endpoint}" is not an endpoint: give 127.0.0.1:PORT or unix:///PATH`);
  return { host: address.host, port: address.port, ...(sourceAddress !== undefined && { localAddress: sourceAddress }) };
}
