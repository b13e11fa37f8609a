import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 20;

export type ConnectTarget = { readonly path: string } | { readonly host: string; readonly port: number };

/** Resolves once somebody accepts connections there; rejects with the signal's reason. */
export async function untilAccepts(target: ConnectTarget, signal: AbortSignal): Promise<void> {
  while (!(await accepts(target))) {
    signal.throwIfAborted();
    await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
  signal.throwIfAborted();
}

function accepts(target: ConnectTarget): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(target);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
