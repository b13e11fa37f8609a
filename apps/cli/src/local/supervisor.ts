import { MizzenError, type Running } from '@mizzen/core';
import type { Home } from '../home.ts';
import { type ControlRequest, serveControl } from './control-socket.ts';
import { ManagedProcess, type ManagedProcessOptions, type ProcessDefinition } from './managed-process.ts';
import type { Progress } from './progress.ts';
import { type MeshState, removeState, writeState } from './state.ts';

export interface SupervisorOptions extends Pick<ManagedProcessOptions, 'clock' | 'random'> {
  readonly home: Home;
  readonly progress: Progress;
  /** Everything of state.json but the processes. */
  readonly describe: () => Omit<MeshState, 'processes'>;
}

/** Processes that start at the same time, once those of the stages before are ready. */
export type Stage = readonly ProcessDefinition[];

/**
 * Keeps the processes of one local home: starts them in stages, restarts what dies, keeps state.json up to date, answers the control
 * socket, and stops everything in an order that loses no request.
 */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #processes = new Map<string, ManagedProcess>();
  readonly #stopAsked = Promise.withResolvers<string>();
  readonly #closed = Promise.withResolvers<void>();
  #control: Running | undefined;
  #isClosing = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Resolves with the reason when another `mizzen` asked for the end, or `requestStop` was called. */
  get stopAsked(): Promise<string> {
    return this.#stopAsked.promise;
  }

  requestStop(reason: string): void {
    this.#stopAsked.resolve(reason);
  }

  /** Takes the home: no second supervisor can until `close`. Throws MIZZEN_STORE while one runs. */
  async open(): Promise<void> {
    this.#control = await serveControl(this.#options.home.controlSocket, (request) => this.#handle(request));
  }

  /** Starts the stage's processes side by side, with a line of progress for each. Rejects with the first failure. */
  async startStage(stage: Stage, describe: (process: ManagedProcess) => string): Promise<void> {
    await Promise.all(
      stage.map((definition) => {
        const process = this.#add(definition);
        return this.#options.progress.step(
          definition.title,
          () => process.start(),
          () => describe(process),
        );
      }),
    );
  }

  process(name: string): ManagedProcess {
    const found = this.#processes.get(name);
    if (!found)
      throw new MizzenError('MIZZEN_RESOURCE', `there is no process ${name}; there are ${[...this.#processes.keys()].join(', ')}`);
    return found;
  }

  /** Stops everything: processes in the reverse order of `order`'s ranks side by side, then gives the home free. */
  async close(rankOf: (name: string) => number): Promise<void> {
    this.#isClosing = true;
    const ranks = new Map<number, ManagedProcess[]>();
    for (const process of this.#processes.values()) {
      const rank = rankOf(process.definition.name);
      ranks.set(rank, [...(ranks.get(rank) ?? []), process]);
    }
    for (const rank of [...ranks.keys()].sort((a, b) => a - b)) {
      await Promise.all((ranks.get(rank) ?? []).map((process) => process.stop()));
    }
    removeState(this.#options.home.state);
    this.#closed.resolve();
    await this.#control?.close();
  }

  /** Kills every process at once. `close` still has to be waited for. */
  killAll(): void {
    for (const process of this.#processes.values()) process.kill();
  }

  #add(definition: ProcessDefinition): ManagedProcess {
    const process = new ManagedProcess(definition, {
      logs: this.#options.home.logs,
      clock: this.#options.clock,
      random: this.#options.random,
      report: (line) => this.#options.progress.note(line),
      onChange: () => this.#saveState(),
    });
    this.#processes.set(definition.name, process);
    return process;
  }

  #saveState(): void {
    if (this.#isClosing) return;
    writeState(this.#options.home.state, {
      ...this.#options.describe(),
      processes: [...this.#processes.values()].map(({ status }) => status),
    });
  }

  async #handle(request: ControlRequest): Promise<void> {
    switch (request.command) {
      case 'ping':
        return;
      case 'down':
        this.requestStop('mizzen down');
        return this.#closed.promise;
      case 'stop':
        return this.process(request.process).stop();
      case 'kill':
        return this.process(request.process).stop({ isForced: true });
      case 'start':
        return this.process(request.process).start();
      case 'restart':
        await this.process(request.process).stop();
        return this.process(request.process).start();
      default:
        throw new MizzenError('MIZZEN_SETTINGS', `the supervisor knows no command ${JSON.stringify(request)}`);
    }
  }
}
