import type { Socket } from 'node:net';
import type { Clock } from '@mizzen/core';
import type { ProxyHeader } from '../contract.ts';
import { Deadline, wheelOf } from '../http/timer-wheel.ts';
import { inspectClientHello, inspectHttp } from './client-hello.ts';
import type { ProxyProtocolFilter } from './proxy-protocol-filter.ts';

/** What the listener filters found out before a filter chain is chosen. */
export interface Inspected {
  readonly transportProtocol: 'tls' | 'raw_buffer';
  readonly serverName: string;
  readonly applicationProtocols: readonly string[];
  /** Taken off the connection; undefined where none was looked for or the connection came without. */
  readonly proxyHeader: ProxyHeader | undefined;
}

export const NOTHING_INSPECTED: Inspected = {
  transportProtocol: 'raw_buffer',
  serverName: '',
  applicationProtocols: [],
  proxyHeader: undefined,
};

export interface InspectOptions {
  readonly proxyProtocol: ProxyProtocolFilter | undefined;
  readonly inspectsTls: boolean;
  readonly inspectsHttp: boolean;
  /** 0 waits for ever. */
  readonly timeoutMs: number;
  readonly continuesOnTimeout: boolean;
  readonly clock: Clock;
  readonly onInspected: (inspected: Inspected) => void;
  /** Called on a timeout, before the connection goes on or is closed. */
  readonly onTimeout: (goesOn: boolean) => void;
  /** The connection is closed: the peer went, or its PROXY header cannot be accepted. Not called after a timeout. */
  readonly onGivenUp: (why: 'remote-close' | 'proxy-protocol') => void;
}

/**
 * Reads the first bytes of a paused socket until the filters know enough, puts them back (without a PROXY header) and pauses it again. A peer
 * that goes before is forgotten.
 */
export function inspectConnection(socket: Socket, options: InspectOptions): void {
  new Inspection(socket, options).start();
}

class Inspection {
  readonly #socket: Socket;
  readonly #options: InspectOptions;
  #peeked: Buffer = Buffer.alloc(0);
  /** Whether the PROXY header is still to come. */
  #awaitsHeader: boolean;
  #proxyHeader: ProxyHeader | undefined;
  #deadline: Deadline | undefined;
  #isDone = false;

  constructor(socket: Socket, options: InspectOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#awaitsHeader = options.proxyProtocol !== undefined;
  }

  start(): void {
    const { timeoutMs, clock } = this.#options;
    if (timeoutMs > 0) {
      this.#deadline = new Deadline(wheelOf(clock), this.#onTimeout);
      this.#deadline.arm(timeoutMs);
    }
    this.#socket.on('data', this.#onData);
    this.#socket.once('end', this.#onGone);
    this.#socket.once('close', this.#onGone);
    this.#socket.resume();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#peeked = this.#peeked.length === 0 ? chunk : Buffer.concat([this.#peeked, chunk]);
    if (this.#awaitsHeader && !this.#readHeader()) return;
    const found = this.#examine();
    if (found !== undefined) this.#finish(found);
  };

  readonly #onGone = (): void => {
    if (!this.#stop()) return;
    this.#socket.destroy();
    this.#options.onGivenUp('remote-close');
  };

  readonly #onTimeout = (): void => {
    const { continuesOnTimeout, onTimeout, proxyProtocol } = this.#options;
    // Whom a connection is from must not depend on how slowly it says so.
    const goesOn = continuesOnTimeout && !(this.#awaitsHeader && proxyProtocol?.isOptional === false);
    onTimeout(goesOn);
    if (goesOn) this.#finish(NOTHING_INSPECTED);
    else if (this.#stop()) this.#socket.destroy();
  };

  /** False while more bytes are needed, and where the connection is given up. */
  #readHeader(): boolean {
    const parsed = (this.#options.proxyProtocol as ProxyProtocolFilter).read(this.#peeked);
    if (parsed.kind === 'incomplete') return false;
    if (parsed.kind === 'disallowed' || parsed.kind === 'invalid') {
      if (!this.#stop()) return false;
      this.#socket.destroy();
      this.#options.onGivenUp('proxy-protocol');
      return false;
    }
    this.#awaitsHeader = false;
    if (parsed.kind === 'found') {
      this.#proxyHeader = parsed.header;
      this.#peeked = this.#peeked.subarray(parsed.bytes);
    }
    return true;
  }

  /** undefined while more bytes are needed. */
  #examine(): Inspected | undefined {
    const { inspectsTls, inspectsHttp } = this.#options;
    if (inspectsTls) {
      const hello = inspectClientHello(this.#peeked);
      if (hello.kind === 'incomplete') return undefined;
      if (hello.kind === 'found') return { transportProtocol: 'tls', ...hello.value, proxyHeader: undefined };
    }
    if (!inspectsHttp) return NOTHING_INSPECTED;
    const http = inspectHttp(this.#peeked);
    if (http.kind === 'incomplete') return undefined;
    return http.kind === 'found' ? { ...NOTHING_INSPECTED, applicationProtocols: [http.value] } : NOTHING_INSPECTED;
  }

  #finish(found: Inspected): void {
    if (!this.#stop()) return;
    if (this.#peeked.length > 0) this.#socket.unshift(this.#peeked);
    this.#options.onInspected(this.#proxyHeader === undefined ? found : { ...found, proxyHeader: this.#proxyHeader });
  }

  #stop(): boolean {
    if (this.#isDone) return false;
    this.#isDone = true;
    this.#deadline?.cancel();
    this.#socket.removeListener('data', this.#onData);
    this.#socket.removeListener('end', this.#onGone);
    this.#socket.removeListener('close', this.#onGone);
    this.#socket.pause();
    return true;
  }
}
