import type { ResponseFlag } from '@mizzen/telemetry';
import type { DownstreamConnection, NetworkFilter } from '../contract.ts';

/**
 * A network filter before the last one: lets connections through, holds them or closes them, once each, before any of their bytes is passed on.
 * One gate serves all connections of its filter chain.
 */
export interface NetworkGate {
  /**
   * Called when the connection is established (TLS included), its socket paused. After 'wait' the gate calls `entry.pass()` or
   * `entry.refuse()` once, at any later time; whichever comes after the connection closed does nothing. What it reads of the socket and does
   * not keep it puts back (`unshift`), the socket paused again.
   */
  onConnection(entry: GateEntry): 'pass' | 'wait';
}

/** One connection on its way through the gates of its chain. */
export interface GateEntry {
  /** `filterState` is always there. */
  readonly connection: DownstreamConnection & Required<Pick<DownstreamConnection, 'filterState'>>;
  /** On to the next filter. */
  pass(): void;
  /** Closes the connection; `details` stand in the access log as %CONNECTION_TERMINATION_DETAILS%. */
  refuse(details: string, flag?: ResponseFlag): void;
}

/** Takes a connection through the gates to the filter that owns it. */
export function enterGates(
  connection: DownstreamConnection,
  { gates, filter }: { readonly gates: readonly NetworkGate[]; readonly filter: NetworkFilter },
): void {
  if (gates.length === 0) filter.onConnection(connection);
  else new Entry(connection, gates, filter).next();
}

class Entry implements GateEntry {
  readonly connection: GateEntry['connection'];
  readonly #gates: readonly NetworkGate[];
  readonly #filter: NetworkFilter;
  #index = 0;
  #isOver = false;

  constructor(connection: DownstreamConnection, gates: readonly NetworkGate[], filter: NetworkFilter) {
    this.connection = { ...connection, filterState: connection.filterState ?? {} };
    // Until its owner listens, nobody does.
    connection.socket.on('error', ignore);
    this.#gates = gates;
    this.#filter = filter;
  }

  next(): void {
    while (!this.#isOver) {
      const gate = this.#gates[this.#index++];
      if (gate === undefined) {
        this.#isOver = true;
        this.#filter.onConnection(this.connection);
        return;
      }
      if (gate.onConnection(this) === 'wait') return;
    }
  }

  pass(): void {
    if (this.connection.socket.destroyed) this.#isOver = true;
    this.next();
  }

  refuse(details: string, flag?: ResponseFlag): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { socket } = this.connection;
    if (!socket.destroyed) this.#filter.onRefused?.(this.connection, flag === undefined ? { details } : { details, flag });
    socket.destroy();
  }
}

function ignore(): void {}
