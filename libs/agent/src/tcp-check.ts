import { connect } from 'node:net';

/** Resolves once a connection is accepted. Rejects when there is none in time. */
export function checkTcp(check: { host: string; port: number; localAddress: string | undefined; timeoutMs: number }): Promise<void> {
  const { host, port, localAddress, timeoutMs } = check;
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, ...(localAddress !== undefined && { localAddress }) });
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no connection after ${timeoutMs} ms`)));
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
  });
}
