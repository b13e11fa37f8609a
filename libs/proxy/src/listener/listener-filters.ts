import type { Socket } from 'node:net';
import type { Clock } from '@mizzen/core';
import { inspectClientHello, inspectHttp } from './client-hello.ts';

/** What the listener filters found out before a filter chain is chosen. */
export interface Inspected {
  readonly transportProtocol: 'tls' | 'raw_buffer';
  readonly serverName: string;
  readonly applicationProtocols: readonly string[];
}

export const NOTHING_INSPECTED: Inspected = { transportProtocol: 'raw_buffer', serverName: '', applicationProtocols: [] };

export interface InspectOptions {
  readonly inspectsTls: boolean;
  readonly inspectsHttp: boolean;
  /** 0 waits for ever. */
  readonly timeoutMs: number;
  readonly continuesOnTimeout: boolean;
  readonly clock: Clock;
  readonly onInspected: (inspected: Inspected) => void;
  readonly onTimeout: () => void;
}

/**
 * Reads the first bytes of a paused socket until the filters know enough, puts them back and pauses it again. A peer that goes before is
 * forgotten.
 */
export function inspectConnection(socket: Socket, options: InspectOptions): void {
  let peeked: Buffer = Buffer.alloc(0);
  let isDone = false;

  const stop = (): boolean => {
    if (isDone) return false;
    isDone = true;
    timer?.cancel();
    socket.removeListener('data', onData);
    socket.removeListener('end', onEnd);
    socket.removeListener('close', onClose);
    socket.pause();
    return true;
  };
  const finish = (found: Inspected): void => {
    if (!stop()) return;
    if (peeked.length > 0) socket.unshift(peeked);
    options.onInspected(found);
  };
  const onData = (chunk: Buffer): void => {
    peeked = peeked.length === 0 ? chunk : Buffer.concat([peeked, chunk]);
    const found = examine(peeked, options);
    if (found !== undefined) finish(found);
  };
  const onEnd = (): void => {
    if (stop()) socket.destroy();
  };
  const onClose = (): void => {
    stop();
  };
  const timer =
    options.timeoutMs <= 0
      ? undefined
      : options.clock.after(options.timeoutMs, () => {
          options.onTimeout();
          if (options.continuesOnTimeout) finish(NOTHING_INSPECTED);
          else if (stop()) socket.destroy();
        });
  socket.on('data', onData);
  socket.once('end', onEnd);
  socket.once('close', onClose);
  socket.resume();
}

function examine(bytes: Buffer, options: InspectOptions): Inspected | undefined {
  if (options.inspectsTls) {
    const hello = inspectClientHello(bytes);
    if (hello.kind === 'incomplete') return undefined;
    if (hello.kind === 'found') return { transportProtocol: 'tls', ...hello.value };
  }
  if (!options.inspectsHttp) return NOTHING_INSPECTED;
  const http = inspectHttp(bytes);
  if (http.kind === 'incomplete') return undefined;
  return http.kind === 'found' ? { ...NOTHING_INSPECTED, applicationProtocols: [http.value] } : NOTHING_INSPECTED;
}
