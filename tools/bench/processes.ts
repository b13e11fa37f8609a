import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 5000;
const POLL_MS = 50;

export function isInstalled(command: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${command}`]).status === 0;
}

/** A process in a group of its own: what it starts is counted with it and ends with it. */
export class BenchProcess {
  readonly #child: ChildProcess;
  readonly #name: string;
  #output = '';

  constructor(command: string, args: readonly string[]) {
    this.#name = command.slice(command.lastIndexOf('/') + 1);
    this.#child = spawn(command, args, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk) => {
        this.#output = (this.#output + chunk).slice(-2000);
      });
    }
    this.#child.on('error', (error) => {
      this.#output += error.message;
    });
  }

  get processGroup(): number {
    return this.#child.pid ?? 0;
  }

  async untilListening(port: number): Promise<void> {
    for (let waitedMs = 0; waitedMs < START_TIMEOUT_MS; waitedMs += POLL_MS) {
      if (this.#isOver()) break;
      if (await accepts(port)) return;
      await sleep(POLL_MS);
    }
    throw new Error(`${this.#name} does not listen: ${this.#output.trim()}`);
  }

  async stop(): Promise<void> {
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      for (let waitedMs = 0; waitedMs < STOP_TIMEOUT_MS && !this.#isOver(); waitedMs += POLL_MS) {
        if (waitedMs === 0) this.#kill(signal);
        await sleep(POLL_MS);
      }
    }
  }

  #isOver(): boolean {
    return this.#child.pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  #kill(signal: NodeJS.Signals): void {
    try {
      process.kill(-this.processGroup, signal);
    } catch {
      // It ended by itself.
    }
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
