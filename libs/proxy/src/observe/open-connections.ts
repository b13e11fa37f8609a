import { Roster, type Seat } from '../http/roster.ts';

/** A connection whose bytes are counted when somebody looks, and when it closes. */
export interface OpenConnection {
  /** Adds to its counters what went over it since the last time. */
  countBytes(): void;
  /** Kept here while it is open. */
  seat?: Seat<OpenConnection> | undefined;
}

const open = new Roster<OpenConnection>();

/** It is open, and is told before counters are read; `remove` it when it closes. */
export const openConnections = {
  add(connection: OpenConnection): void {
    connection.seat = open.join(connection);
  },

  remove(connection: OpenConnection): void {
    connection.countBytes();
    if (connection.seat !== undefined) open.leave(connection.seat);
    connection.seat = undefined;
  },

  /** Before counters are read. Source: Envoy counts bytes as they come, updateByteBufferStats (1.40). */
  countAll(): void {
    for (const connection of open.list()) connection.countBytes();
  },
};
