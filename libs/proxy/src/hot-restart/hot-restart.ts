import { createServer, type Server, type Socket } from 'node:net';
import { errorMessage, type Logger, MizzenError } from '@mizzen/core';
import { connectChannel, type DescriptorChannel, MAX_DESCRIPTORS, peerUser, sendDescriptors } from '../system/descriptor-passing.ts';
import { announceListeners, type ListeningDescriptor, readListeners } from './inherited-listeners.ts';

/**
 * A process takes the place of another without a refused connection, in this order: the new one asks for the listening sockets and accepts
 * on them as soon as its configuration is there; then it says so, and the old one accepts no more, drains and ends. Both meet at an
 * abstract Unix socket whose name holds the base id. Source: envoy docs, "Hot restart" (1.40); the messages are our own.
 */
const TAKE = 'take';
const READY = 'ready';
const RELEASED = 'released';

/** Of these messages: processes with the same one can replace each other. */
export const HOT_RESTART_VERSION = '1';

export interface HotRestartOptions {
  /** Proxies of one user and machine with the same number replace each other. */
  readonly baseId: number;
  /** Event loops: each has listening sockets of its own, which somebody must go on serving. */
  readonly concurrency: number;
}

function nameOf({ baseId }: HotRestartOptions): string {
  return `mizzen-proxy-${process.getuid?.() ?? 0}-${baseId}`;
}

// --- the new process

export interface Predecessor {
  readonly listeners: readonly ListeningDescriptor[];
  /** Tells the old process that this one serves; afterwards this one is who is asked. */
  replace(): void;
}

/** Asks the process before this one for its listening sockets. Throws MIZZEN_ADDRESS where there is none, or where it refuses. */
export function takeOver(options: HotRestartOptions): Predecessor {
  const channel = connectChannel(nameOf(options));
  if (channel === undefined)
    throw new MizzenError(
      'MIZZEN_ADDRESS',
      `--restart-epoch: no proxy with --base-id ${options.baseId} runs here as this user; start without --restart-epoch, or give its --base-id`,
    );
  channel.send(`${JSON.stringify({ ask: TAKE, concurrency: options.concurrency })}\n`);
  const listeners = receiveListeners(channel);
  return {
    listeners,
    replace() {
      channel.send(`${JSON.stringify({ ask: READY })}\n`);
      // Its end is as good: then it is gone already.
      channel.receive();
      channel.close();
    },
  };
}

function receiveListeners(channel: DescriptorChannel): readonly ListeningDescriptor[] {
  const all: ListeningDescriptor[] = [];
  for (;;) {
    const { text, descriptors } = channel.receive();
    if (text === '') throw new MizzenError('MIZZEN_ADDRESS', 'the process before this one ended while it handed over its listeners');
    const { refusal, left } = JSON.parse(text) as { readonly refusal?: string; readonly left?: number };
    if (refusal !== undefined) throw new MizzenError('MIZZEN_ADDRESS', `the process before this one keeps its listeners: ${refusal}`);
    all.push(...readListeners(text, descriptors));
    if (left === 0) return all;
  }
}

// --- the old process

export interface Replaceable {
  /** The sockets that it listens on, those of all event loops. */
  listeningDescriptors(): Promise<readonly ListeningDescriptor[]>;
  /** The new process is about to take the administrator's port. */
  releaseAdmin(): Promise<void>;
  /** The new process serves. */
  onReplaced(): void;
}

/** Waits for a process that replaces this one. Answers what ends the waiting. Throws MIZZEN_ADDRESS where another process has the base id. */
export async function awaitSuccessor(options: HotRestartOptions & { readonly logger: Logger }, proxy: Replaceable): Promise<() => void> {
  const { logger } = options;
  const server: Server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    if (peerUser(descriptorOf(socket)) !== process.getuid?.()) {
      logger.warn('somebody who is another user asked for the listeners');
      socket.destroy();
      return;
    }
    socket.setEncoding('utf8').on('data', (line: string) => {
      answer(line, socket, { ...options, server, proxy }).catch((thrown: unknown) => {
        logger.error({ reason: errorMessage(thrown) }, 'the listeners could not be handed over');
        socket.destroy();
      });
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new MizzenError(
          'MIZZEN_ADDRESS',
          `a proxy with --base-id ${options.baseId} runs here already; give this one another, or --disable-hot-restart, or --restart-epoch 1 to replace it`,
          { cause: error },
        ),
      ),
    );
    server.listen(`\0${nameOf(options)}`, resolve);
  });
  server.unref();
  return () => server.close();
}

async function answer(
  line: string,
  socket: Socket,
  {
    concurrency,
    logger,
    server,
    proxy,
  }: HotRestartOptions & { readonly logger: Logger; readonly server: Server; readonly proxy: Replaceable },
): Promise<void> {
  const asked = JSON.parse(line) as { readonly ask?: string; readonly concurrency?: number };
  if (asked.ask === READY) {
    logger.info('replaced by another process; draining');
    server.close();
    socket.end(RELEASED);
    proxy.onReplaced();
    return;
  }
  if (asked.ask !== TAKE) throw new Error(`"${asked.ask ?? line}" is nothing that can be asked`);
  if (asked.concurrency !== concurrency) {
    socket.end(JSON.stringify({ refusal: `it has --concurrency ${concurrency}, the new one ${asked.concurrency}: they must be the same` }));
    return;
  }
  const listeners = await proxy.listeningDescriptors();
  await proxy.releaseAdmin();
  logger.info({ listeners: listeners.length }, 'handing over the listeners');
  for (let sent = 0, isFirst = true; isFirst || sent < listeners.length; isFirst = false) {
    const part = listeners.slice(sent, sent + MAX_DESCRIPTORS);
    sent += part.length;
    const text = JSON.stringify({ ...JSON.parse(announceListeners(part)), left: listeners.length - sent });
    sendDescriptors(
      descriptorOf(socket),
      text,
      part.map(({ descriptor }) => descriptor),
    );
  }
}

function descriptorOf(socket: Socket): number {
  return (socket as unknown as { readonly _handle: { readonly fd: number } | null })._handle?.fd ?? -1;
}
