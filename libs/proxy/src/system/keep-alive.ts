import type { Socket } from 'node:net';
import { type LibcFunction, loadLibc } from './libc.ts';

export interface KeepAliveProbes {
  /** Seconds between probes; undefined: as Node sets it, 1 s. */
  readonly intervalS: number | undefined;
  /** How many without an answer end the connection; undefined: as Node sets it, 10. */
  readonly probes: number | undefined;
}

// Source: linux/in.h, linux/tcp.h.
const IPPROTO_TCP = 6;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;

let setsockopt: LibcFunction | undefined;

/**
 * What `setKeepAlive` of a socket does not offer; call it behind that, which sets its own. Only on Linux, and not for a TLS socket whose
 * descriptor Node hides; elsewhere probes come as the system sends them. Throws MIZZEN_ADDRESS where the C library cannot be called.
 */
export function setKeepAliveProbes(socket: Socket, { intervalS, probes }: KeepAliveProbes): void {
  const descriptor = descriptorOf(socket);
  if (process.platform !== 'linux' || descriptor === undefined || (intervalS === undefined && probes === undefined)) return;
  setsockopt ??= loadLibc().function('int setsockopt(int, int, int, const uint8_t *, uint32_t)');
  if (intervalS !== undefined) set(setsockopt, descriptor, [TCP_KEEPINTVL, intervalS]);
  if (probes !== undefined) set(setsockopt, descriptor, [TCP_KEEPCNT, probes]);
}

function set(call: LibcFunction, descriptor: number, [option, value]: readonly [number, number]): void {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  call(descriptor, IPPROTO_TCP, option, bytes, bytes.length);
}

// Not public, and there since Node 0.x: net.Socket's handle.
function descriptorOf(socket: Socket): number | undefined {
  const handle = (socket as unknown as { readonly _handle?: { readonly fd?: number; readonly _parentWrap?: Socket } | null })._handle;
  const fd = handle?.fd ?? -1;
  return fd >= 0 ? fd : undefined;
}
