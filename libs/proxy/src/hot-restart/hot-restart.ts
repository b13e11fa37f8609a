import { createServer, type Server, type Socket } from 'node:net';
import { errorMessage, type Logger, MizzenError } from '@mizzen/core';
import { connectChannel, type DescriptorChannel, MAX_DESCRIPTORS, peerUser, sendDescriptors } from '../system/descriptor-passing.ts';
import { CountsSince, type ProcessCounts } from './carried-counts.ts';
import { announceListeners, type ListeningDescriptor, readListeners } from './inherited-listeners.ts';

/**
 * A process takes the place of another without a refused connection, in this order: the new one asks for the listening sockets and accepts
 * on them as soon as its configuration is there; then it says so, and the old one accepts no more, drains and ends. Both meet at an
 * abstract Unix socket whose name holds the base id. Until it ends the old one tells what it goes on to count. A new one that ends before it
 * serves changes nothing. Source: envoy docs, "Hot restart" (1.40); the messages are our own, JSON, one a line.
 */
const TAKE = 'take';
const READY = 'ready';
const RELEASED = 'released\n';

/** Of these messages: processes with the same one can replace each other. */
export const HOT_RESTART_VERSION = '2';

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
  /** 1 for the process that none was before. */
  readonly generation: number;
  /** When the first of all these processes started, in milliseconds since the epoch. */
  readonly firstStartedMs: number;
  /** Tells the old process that this one serves; afterwards this one is who is asked. `onCounts` is told undefined once the old one has ended. */
  replace(options: { readonly parentShutdownMs: number; readonly onCounts: (counts: ProcessCounts | undefined) => void }): void;
}

/** Asks the process before this one for its listening sockets. Throws MIZZEN_ADDRESS where there is none, or where it refuses. */
export function takeOver(options: HotRestartOptions): Predecessor {
  const channel = connectChannel(nameOf(options));
  if (channel === undefined)
    throw new MizzenError(
      'MIZZEN_ADDRESS',
      `--restart-epoch: no proxy with --base-id ${options.baseId} runs here as this user; start without --restart-epoch, or give its --base-id`,
    );
  channel.send(`${JSON.stringify({ ask: TAKE, version: HOT_RESTART_VERSION, concurrency: options.concurrency })}\n`);
  return {
    ...receiveListeners(channel),
    replace({ parentShutdownMs, onCounts }) {
      let text = '';
      try {
        channel.send(`${JSON.stringify({ ask: READY, parentShutdownMs })}\n`);
        ({ text } = channel.receive());
      } catch {
        // It has ended, which is as good.
      }
      readCounts(channel.stream(), { first: text.slice(RELEASED.length), onCounts });
    },
  };
}

function receiveListeners(channel: DescriptorChannel): Pick<Predecessor, 'listeners' | 'generation' | 'firstStartedMs'> {
  const listeners: ListeningDescriptor[] = [];
  for (;;) {
    const { text, descriptors } = channel.receive();
    if (text === '') throw new MizzenError('MIZZEN_ADDRESS', 'the process before this one ended while it handed over its listeners');
    const answer = JSON.parse(text) as Partial<Pick<Predecessor, 'generation' | 'firstStartedMs'>> & {
      readonly refusal?: string;
      readonly left?: number;
    };
    if (answer.refusal !== undefined)
      throw new MizzenError('MIZZEN_ADDRESS', `the process before this one keeps its listeners: ${answer.refusal}`);
    listeners.push(...readListeners(text, descriptors));
    const { left, generation = 1, firstStartedMs = Date.now() } = answer;
    if (left === 0) return { listeners, generation, firstStartedMs };
  }
}

function readCounts(
  stream: Socket,
  { first, onCounts }: { readonly first: string; readonly onCounts: (counts: ProcessCounts | undefined) => void },
): void {
  let rest = first;
  const readLines = (): void => {
    const lines = rest.split('\n');
    rest = lines.pop() as string;
    for (const line of lines) onCounts(JSON.parse(line) as ProcessCounts);
  };
  readLines();
  stream.setEncoding('utf8').on('data', (text: string) => {
    rest += text;
    readLines();
  });
  stream.on('error', () => stream.destroy());
  stream.once('close', () => onCounts(undefined));
  stream.unref();
}

// --- the old process

export interface Replaceable {
  readonly generation: number;
  readonly firstStartedMs: number;
  /** The sockets that it listens on, those of all event loops. */
  listeningDescriptors(): Promise<readonly ListeningDescriptor[]>;
  /** The new process is about to take the administrator's port. */
  releaseAdmin(): Promise<void>;
  /** It ended before it served: everything is as it was. */
  reclaimAdmin(): Promise<void>;
  readCounts(): Promise<ProcessCounts>;
  /** The new process serves: accept no more, drain, end. It is told `tell` of what is counted meanwhile. */
  onReplaced(options: { readonly parentShutdownMs: number; readonly tell: (counts: ProcessCounts) => Promise<void> }): void;
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
    const handOver = new HandOver(socket, { ...options, server, proxy });
    socket.setEncoding('utf8').on('data', (line: string) => {
      handOver.answer(line).catch((thrown: unknown) => {
        logger.error({ reason: errorMessage(thrown) }, 'the listeners could not be handed over');
        socket.destroy();
      });
    });
    socket.once('close', () => handOver.onClosed());
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

interface HandOverOptions extends HotRestartOptions {
  readonly logger: Logger;
  readonly server: Server;
  readonly proxy: Replaceable;
}

interface Asked {
  readonly ask?: string;
  readonly version?: string;
  readonly concurrency?: number;
  readonly parentShutdownMs?: number;
}

/** One process that wants to replace this one. */
class HandOver {
  readonly #socket: Socket;
  readonly #options: HandOverOptions;
  #since: CountsSince | undefined;
  #isReplaced = false;

  constructor(socket: Socket, options: HandOverOptions) {
    this.#socket = socket;
    this.#options = options;
  }

  async answer(line: string): Promise<void> {
    const asked = JSON.parse(line) as Asked;
    if (asked.ask === READY && this.#since !== undefined) this.#release(asked, this.#since);
    else if (asked.ask === TAKE) await this.#giveListeners(asked);
    else throw new Error(`"${asked.ask ?? line}" is nothing that can be asked`);
  }

  async #giveListeners({ version, concurrency: wanted }: Asked): Promise<void> {
    const { concurrency, proxy, logger } = this.#options;
    const { generation, firstStartedMs } = proxy;
    if (version !== HOT_RESTART_VERSION) {
      this.#refuse(
        `its /hot_restart_version is ${HOT_RESTART_VERSION}, that of the new one ${version ?? '1'}: end it and start the new one`,
      );
      return;
    }
    if (wanted !== concurrency) {
      this.#refuse(`it has --concurrency ${concurrency}, the new one ${wanted}: they must be the same`);
      return;
    }
    const listeners = await proxy.listeningDescriptors();
    this.#since = new CountsSince(await proxy.readCounts());
    await proxy.releaseAdmin();
    logger.info({ listeners: listeners.length }, 'handing over the listeners');
    for (let sent = 0, isFirst = true; isFirst || sent < listeners.length; isFirst = false) {
      const part = listeners.slice(sent, sent + MAX_DESCRIPTORS);
      sent += part.length;
      const text = JSON.stringify({ ...JSON.parse(announceListeners(part)), generation, firstStartedMs, left: listeners.length - sent });
      sendDescriptors(
        descriptorOf(this.#socket),
        text,
        part.map(({ descriptor }) => descriptor),
      );
    }
  }

  #refuse(refusal: string): void {
    this.#socket.end(JSON.stringify({ refusal }));
  }

  #release({ parentShutdownMs = 0 }: Asked, since: CountsSince): void {
    const { logger, server, proxy } = this.#options;
    const socket = this.#socket;
    this.#isReplaced = true;
    logger.info('replaced by another process; draining');
    server.close();
    socket.write(RELEASED);
    socket.unref();
    proxy.onReplaced({
      parentShutdownMs,
      tell: (counts) =>
        new Promise((resolve) => {
          if (socket.writable) socket.write(`${JSON.stringify(since.growth(counts))}\n`, () => resolve());
          else resolve();
        }),
    });
  }

  /** A new process that did not start has changed nothing. */
  onClosed(): void {
    if (this.#since === undefined || this.#isReplaced) return;
    const { logger, proxy } = this.#options;
    logger.warn('the process that was to replace this one ended before it served; this one goes on');
    proxy.reclaimAdmin().catch((thrown: unknown) => {
      logger.error({ reason: errorMessage(thrown) }, 'the admin interface could not be opened again');
    });
  }
}

function descriptorOf(socket: Socket): number {
  return (socket as unknown as { readonly _handle: { readonly fd: number } | null })._handle?.fd ?? -1;
}
