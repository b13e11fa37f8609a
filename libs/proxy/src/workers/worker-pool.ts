import { Worker } from 'node:worker_threads';
import { type Logger, MizzenError } from '@mizzen/core';
import type { MetricRegistry } from '@mizzen/telemetry';
import type { ListeningDescriptor } from '../hot-restart/inherited-listeners.ts';
import type { StatScope } from '../observe/stat-registry.ts';
import type { OutlierNotice } from './process-share.ts';
import type { FromWorker, StatReport, ToWorker, WorkerStart } from './protocol.ts';
import { MetricAdder, scopeOf } from './reports.ts';

export interface WorkerPoolOptions {
  /** How many event loops beside the first. */
  readonly count: number;
  /** A module that calls `runProxyWorker` where it is not the main thread. */
  readonly entry: URL | string;
  readonly logger: Logger;
  /** Where Istio's metrics of all event loops come together. */
  readonly registry: MetricRegistry;
  /** A further event loop saw an endpoint fail. */
  readonly onOutlier: (notice: OutlierNotice) => void;
  /** An event loop ended by a fault: the process cannot go on with the others as if nothing were. */
  readonly onCrash: (error: Error) => void;
}

/** How old what the further event loops counted may be when metrics are pushed. */
const COLLECT_EVERY_MS = 5000;

interface Member {
  readonly worker: Worker;
  readonly adder: MetricAdder;
  stats: readonly StatReport[];
  activeConnections: number;
  listeners: readonly ListeningDescriptor[];
}

/** The event loops beside the first: each a thread with a proxy of its own, which listens on the same ports and takes the same configuration. */
export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  readonly #members: Member[] = [];
  /** Who waits for a report, by its id. */
  readonly #awaited = new Map<number, () => void>();
  #lastReport = 0;
  #ready = 0;
  #onReady: (() => void) | undefined;
  #isClosing = false;
  #collecting: NodeJS.Timeout | undefined;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
  }

  /** Resolves once every worker has bound its static listeners. Rejects with MIZZEN_BOOTSTRAP for the first that could not. */
  async start(
    start: Omit<WorkerStart, 'inherited'>,
    inherited: readonly (readonly ListeningDescriptor[])[],
    onReady: () => void,
  ): Promise<void> {
    this.#onReady = onReady;
    await Promise.all(
      Array.from({ length: this.#options.count }, (_, index) => this.#startOne({ ...start, inherited: inherited[index] ?? [] })),
    );
    this.#collecting = setInterval(() => void this.collect(), COLLECT_EVERY_MS).unref();
  }

  #startOne(start: WorkerStart): Promise<void> {
    return new Promise((resolve, reject) => {
      const worker = new Worker(this.#options.entry, { workerData: start, argv: [] });
      const member: Member = { worker, adder: new MetricAdder(this.#options.registry), stats: [], activeConnections: 0, listeners: [] };
      this.#members.push(member);
      worker.on('message', (message: FromWorker) => {
        if (message.kind === 'started') resolve();
        else if (message.kind === 'failed') reject(new MizzenError('MIZZEN_BOOTSTRAP', `an event loop did not start: ${message.reason}`));
        else this.#hear(member, message);
      });
      worker.on('error', (error: Error) => {
        reject(error);
        if (!this.#isClosing) this.#options.onCrash(error);
      });
      worker.on('exit', () => {
        // Whoever waits for its report would wait for ever.
        for (const resolve of this.#awaited.values()) resolve();
        this.#awaited.clear();
      });
    });
  }

  #hear(member: Member, message: FromWorker): void {
    switch (message.kind) {
      case 'ready':
        this.#ready++;
        if (this.#ready === this.#members.length) this.#onReady?.();
        return;
      case 'outlier':
        this.#options.onOutlier(message.notice);
        return;
      case 'rejected':
        this.#options.logger.error(
          { resource: message.name, reason: message.reason },
          'a further event loop refused what the first one took',
        );
        return;
      case 'report': {
        const { report, id } = message;
        member.stats = report.stats;
        member.activeConnections = report.activeConnections;
        member.listeners = report.listeners;
        member.adder.add(report.metrics);
        this.#awaited.get(id)?.();
        this.#awaited.delete(id);
        return;
      }
      default:
    }
  }

  get isReady(): boolean {
    return this.#ready === this.#options.count;
  }

  /** As of the last report. */
  get activeConnections(): number {
    return this.#members.reduce((sum, { activeConnections }) => sum + activeConnections, 0);
  }

  /** As of the last report. */
  *scopes(): Generator<StatScope> {
    for (const { stats } of this.#members) for (const stat of stats) yield scopeOf(stat);
  }

  /** As of the last report. */
  listeningDescriptors(): readonly ListeningDescriptor[] {
    return this.#members.flatMap(({ listeners }) => listeners);
  }

  tell(message: ToWorker): void {
    for (const { worker } of this.#members) worker.postMessage(message);
  }

  /** Brings `scopes`, `activeConnections` and the registry up to date. */
  async collect(): Promise<void> {
    await Promise.all(
      this.#members.map(
        ({ worker }) =>
          new Promise<void>((resolve) => {
            const id = ++this.#lastReport;
            this.#awaited.set(id, resolve);
            worker.postMessage({ kind: 'report', id } satisfies ToWorker);
          }),
      ),
    );
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    clearInterval(this.#collecting);
    const gone = this.#members.map(({ worker }) => new Promise<void>((resolve) => worker.once('exit', () => resolve())));
    this.tell({ kind: 'close' });
    await Promise.all(gone);
  }
}
