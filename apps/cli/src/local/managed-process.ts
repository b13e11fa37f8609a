import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { backoffMs, type Clock, errorMessage, MizzenError, type Random } from '@mizzen/core';
import { lastWords, untilReadyLine } from './process-log.ts';

/** How to start a process once; asked anew for each start, since a join token is good for one. */
export interface Launch {
  readonly command: string;
  readonly arguments: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly workingDirectory?: string;
}

export interface ProcessDefinition {
  readonly name: string;
  /** What its line of progress says: `control plane`. */
  readonly title: string;
  readonly launch: () => Promise<Launch>;
  /** Resolves when the process answers; without it the ready line on its standard output is waited for. */
  readonly untilReady?: (signal: AbortSignal) => Promise<void>;
  /** After SIGTERM, before SIGKILL. */
  readonly stopDeadlineMs: number;
}

export type ProcessState = 'stopped' | 'starting' | 'running' | 'waiting to restart' | 'stopping';

export interface ProcessStatus {
  readonly name: string;
  readonly state: ProcessState;
  readonly pid?: number;
  readonly ports: Readonly<Record<string, unknown>>;
  readonly restarts: number;
  readonly startedAt?: string;
  readonly log: string;
}

export interface ManagedProcessOptions {
  readonly logs: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Something happened that the user should read. */
  readonly report: (line: string) => void;
  readonly onChange: () => void;
}

const READY_DEADLINE_MS = 60_000;
const STEADY_AFTER_MS = 30_000;
const RESTART_BACKOFF = { baseMs: 500, maxMs: 10_000 };
const MAX_LOG_BYTES = 16 * 1024 * 1024;

/**
 * One process of the local mesh, kept running: what dies unexpectedly is started again with back-off.
 * Standard output and error go straight into its log file, so that nothing passes through the supervisor and nothing is lost with it.
 *
 *   stopped → starting → running → stopping → stopped
 *               ↑           ↓ (died)
 *               └ waiting to restart
 */
export class ManagedProcess {
  readonly definition: ProcessDefinition;
  readonly logFile: string;
  readonly #options: ManagedProcessOptions;
  #state: ProcessState = 'stopped';
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #ports: Readonly<Record<string, unknown>> = {};
  #restarts = 0;
  #failuresInARow = 0;
  #startedAtMs = 0;
  /** Counts starts and stops: a start that is still preparing sees that it was overtaken. */
  #starts = 0;
  #restartAbort: AbortController | undefined;

  constructor(definition: ProcessDefinition, options: ManagedProcessOptions) {
    this.definition = definition;
    this.#options = options;
    this.logFile = join(options.logs, `${definition.name}.log`);
  }

  get status(): ProcessStatus {
    return {
      name: this.definition.name,
      state: this.#state,
      ports: this.#ports,
      restarts: this.#restarts,
      log: this.logFile,
      ...(this.#child?.pid !== undefined && { pid: this.#child.pid }),
      ...(this.#startedAtMs > 0 && { startedAt: new Date(this.#startedAtMs).toISOString() }),
    };
  }

  get ports(): Readonly<Record<string, unknown>> {
    return this.#ports;
  }

  /** Starts it and resolves when it is ready; rejects with MIZZEN_CHILD and its last words when it ends before. Does nothing while it runs. */
  async start(): Promise<void> {
    if (this.#state === 'running' || this.#state === 'starting') return;
    this.#restartAbort?.abort();
    await this.#spawn();
  }

  /** SIGTERM, and SIGKILL at the deadline (at once with `isForced`). Resolves when it is gone; it is not started again. */
  async stop(options: { isForced?: boolean } = {}): Promise<void> {
    this.#restartAbort?.abort();
    this.#starts++;
    const child = this.#child;
    if (!child) return this.#setState('stopped');
    this.#setState('stopping');
    child.kill(options.isForced ? 'SIGKILL' : 'SIGTERM');
    const deadline = setTimeout(() => {
      this.#options.report(`${this.definition.name} did not stop within ${this.definition.stopDeadlineMs / 1000} s and was killed`);
      child.kill('SIGKILL');
    }, this.definition.stopDeadlineMs);
    await this.#exited;
    clearTimeout(deadline);
  }

  /** Kills it without a word; for the second Ctrl-C. */
  kill(): void {
    this.#restartAbort?.abort();
    this.#starts++;
    if (this.#child) this.#setState('stopping');
    this.#child?.kill('SIGKILL');
  }

  async #spawn(): Promise<void> {
    this.#setState('starting');
    const start = ++this.#starts;
    let child: ChildProcess;
    const logOffset = this.#rotateLog();
    try {
      const launch = await this.definition.launch();
      if (this.#starts !== start) throw new MizzenError('MIZZEN_CHILD', `${this.definition.name} was stopped before it was started`);
      child = this.#spawnChild(launch);
    } catch (thrown) {
      if (this.#starts === start) this.#setState('stopped');
      throw thrown;
    }
    const gone = new AbortController();
    this.#exited = new Promise((resolve) => {
      const onGone = (what: string, isOnPurpose = false): void => {
        gone.abort(new MizzenError('MIZZEN_CHILD', `${this.definition.name} ${what}`));
        this.#onExit(what, isOnPurpose);
        resolve();
      };
      child.once('error', (error) => onGone(`cannot be started: ${error.message}`));
      child.once('exit', (code, signal) => onGone(signal ? `was ended by ${signal}` : `ended with code ${code}`, code === 0));
    });
    await this.#untilReady(gone.signal, logOffset);
  }

  #spawnChild(launch: Launch): ChildProcess {
    const log = openSync(this.logFile, 'a', 0o600);
    try {
      const child = spawn(launch.command, launch.arguments, {
        env: launch.env,
        cwd: launch.workingDirectory,
        // A session of its own: Ctrl-C in the terminal reaches the supervisor alone, which stops everything in order.
        detached: true,
        stdio: ['pipe', log, log],
      });
      // Writing to the pipe never happens; its end is the news. A process that closes it early is no error.
      child.stdin?.on('error', () => undefined);
      this.#child = child;
      this.#startedAtMs = this.#options.clock.now();
      return child;
    } finally {
      closeSync(log);
    }
  }

  async #untilReady(gone: AbortSignal, logOffset: number): Promise<void> {
    const deadline = AbortSignal.timeout(READY_DEADLINE_MS);
    const signal = AbortSignal.any([gone, deadline]);
    try {
      if (this.definition.untilReady) await this.definition.untilReady(signal);
      else this.#ports = await untilReadyLine({ file: this.logFile, offset: logOffset, signal });
      signal.throwIfAborted();
    } catch (thrown) {
      if (!signal.aborted) throw thrown;
      const words = lastWords(this.logFile, logOffset);
      const what = gone.aborted ? errorMessage(gone.reason) : `${this.definition.name} was not ready within ${READY_DEADLINE_MS / 1000} s`;
      throw new MizzenError('MIZZEN_CHILD', words === '' ? `${what}; see ${this.logFile}` : `${what}: ${words}`);
    }
    this.#setState('running');
  }

  /** Who ends with code 0 was asked to by somebody (SIGTERM by hand): that is respected. Everything else is an accident. */
  #onExit(what: string, isOnPurpose: boolean): void {
    const previous = this.#state;
    this.#child = undefined;
    this.#ports = {};
    const { name } = this.definition;
    if (previous === 'running' && isOnPurpose) this.#options.report(`${name} was stopped; \`mizzen start ${name}\` starts it again`);
    if (previous === 'running' && !isOnPurpose) void this.#restart(what);
    else this.#setState('stopped');
  }

  async #restart(what: string): Promise<void> {
    const { clock, random, report } = this.#options;
    const { name } = this.definition;
    if (clock.now() - this.#startedAtMs > STEADY_AFTER_MS) this.#failuresInARow = 0;
    const abort = new AbortController();
    this.#restartAbort = abort;
    for (let reason = what; !abort.signal.aborted; ) {
      const waitMs = backoffMs(this.#failuresInARow++, { ...RESTART_BACKOFF, random });
      this.#setState('waiting to restart');
      report(`${name} ${reason}; starting it again in ${(waitMs / 1000).toFixed(1)} s (log: ${this.logFile})`);
      await this.#pause(waitMs, abort.signal);
      if (abort.signal.aborted) return;
      this.#restarts++;
      try {
        await this.#spawn();
        return report(`${name} runs again`);
      } catch (thrown) {
        reason = errorMessage(thrown).replace(`${name} `, '');
        this.#child?.kill('SIGKILL');
        await this.#exited;
      }
    }
  }

  // Not core's `delay`: its timer lets the process end, and a supervisor that waits to restart its only child must not.
  #pause(delayMs: number, signal: AbortSignal): Promise<void> {
    return sleep(delayMs, undefined, { signal }).catch(() => undefined);
  }

  #setState(state: ProcessState): void {
    this.#state = state;
    this.#options.onChange();
  }

  /** Returns where the log of the coming start begins. */
  #rotateLog(): number {
    if (!existsSync(this.logFile)) return 0;
    const { size } = statSync(this.logFile);
    if (size < MAX_LOG_BYTES) return size;
    renameSync(this.logFile, `${this.logFile}.1`);
    return 0;
  }
}
