import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { joinHostPort, listenError } from '@mizzen/core';

/** A port held open until its owner binds it. */
export interface PortReservation {
  readonly host: string;
  readonly port: number;
  /** Whether any port would do: then another one may take its place. */
  readonly isAnyPort: boolean;
  /** Lets the port go at once: whoever binds it in the same turn of the event loop gets it. */
  release(): void;
  /** Leads those who came too early to whoever is bound now. */
  forwardCallers(): void;
  /** Hangs up on those who came too early. */
  dropCallers(): void;
}

export interface WantedPort {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Who wants it, for the error. */
  readonly what: string;
  /** Whether those who connect too early wait, instead of being hung up on: a program that calls others as soon as it starts. */
  readonly keepsCallers?: boolean;
}

/** More than a program opens while its sidecar starts. */
const MAX_CALLERS = 256;

/**
 * Holds a port by listening on it, so that nobody else on the machine gets it between its announcement to the control plane and the
 * listener that comes back. Throws MIZZEN_PORT_IN_USE or MIZZEN_ADDRESS.
 */
export async function reservePort(wanted: WantedPort): Promise<PortReservation> {
  const { host, keepsCallers = false } = wanted;
  const callers = new Set<Socket>();
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
    if (!keepsCallers || callers.size >= MAX_CALLERS) {
      socket.destroy();
      return;
    }
    callers.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => callers.delete(socket));
  });
  server.unref();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, joinHostPort(host, wanted.port), wanted.what)));
    server.listen(wanted.port, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    host,
    port,
    isAnyPort: wanted.port === 0,
    release: () => {
      if (server.listening) server.close();
    },
    forwardCallers: () => {
      for (const caller of callers) forward(caller, { host, port });
      callers.clear();
    },
    dropCallers: () => {
      for (const caller of callers) caller.destroy();
    },
  };
}

function forward(caller: Socket, to: { host: string; port: number }): void {
  const onward = connect({ ...to, allowHalfOpen: true });
  onward.on('error', () => caller.destroy());
  onward.once('close', () => caller.destroy());
  caller.once('close', () => onward.destroy());
  caller.pipe(onward).pipe(caller);
}
