import type { Socket } from 'node:net';

/** When an upstream connection came to be, in monotonic milliseconds. */
export interface ConnectionTimes {
  /** Unlike that of any other upstream connection of this process. */
  readonly id: number;
  readonly startMs: number;
  readonly connectedMs: number;
  /** The TLS handshake is over; 0 without one. */
  readonly securedMs: number;
}

const known = new WeakMap<Socket, ConnectionTimes>();
let lastId = 0;

/** Notes the times of a connection that was made. */
export function noteConnectionTimes(socket: Socket, times: Omit<ConnectionTimes, 'id'>): void {
  known.set(socket, { ...times, id: ++lastId });
}

/** undefined for a socket that the proxy did not connect itself. */
export function connectionTimesOf(socket: Socket): ConnectionTimes | undefined {
  return known.get(socket);
}
