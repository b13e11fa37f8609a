import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type CommandResult, runMizzen, startMizzen } from './command.ts';
import { until } from './until.ts';

/** One entry of the control plane's /debug/configz, as far as the tests read it. */
export interface ConfiguredResource {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace: string; readonly generation: number };
  readonly status: {
    readonly accepted: boolean;
    readonly appliedTo: number;
    readonly ofProxies: number;
    readonly diagnostics: readonly { message: string; position?: { file: string; line: number } }[];
  };
}

export interface ProcessState {
  readonly name: string;
  readonly pid: number | undefined;
  readonly ports: Readonly<Record<string, unknown>>;
}

interface MeshState {
  readonly config: string;
  readonly addresses: Readonly<Record<string, string>>;
  readonly processes: readonly ProcessState[];
}

export interface LocalMeshOptions {
  /** Additional arguments of `mizzen up`. */
  readonly args?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

/** Flags of `mizzen up` for a mesh beside another one. */
export const FREE_PORTS = [
  'gateway',
  'gateway-https',
  'telemetry',
  'otlp',
  'otlp-http',
  'debug',
  'xds',
  'xds-mtls',
  'ca',
  'ca-http',
].flatMap((name) => [`--${name}-port`, '0']);
const START_DEADLINE_MS = 90_000;

/** A mesh as `npm start` brings it up, in a home of its own and on free ports. `await using` stops it and removes the home. */
export class LocalMesh implements AsyncDisposable {
  readonly home: string;
  readonly #supervisor: ChildProcess;
  readonly #programs = new Set<ChildProcess>();
  readonly #outputs = new WeakMap<ChildProcess, string>();
  #output = '';

  private constructor(home: string, supervisor: ChildProcess) {
    this.home = home;
    this.#supervisor = supervisor;
    for (const stream of [supervisor.stdout, supervisor.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
      });
    }
  }

  static async start(options: LocalMeshOptions = {}): Promise<LocalMesh> {
    const home = mkdtempSync(path.join(tmpdir(), 'mizzen-e2e-'));
    const env = { MIZZEN_EXIT_WITH_PARENT: '1', ...options.env };
    const mesh = new LocalMesh(home, startMizzen(['--home', home, 'up', ...FREE_PORTS, ...(options.args ?? [])], env));
    try {
      await until('the mesh is up', async () => mesh.#isUp(), START_DEADLINE_MS);
    } catch (thrown) {
      await mesh[Symbol.asyncDispose]();
      throw new Error(`${String(thrown)}\n${mesh.output}`);
    }
    return mesh;
  }

  #isUp(): true | undefined {
    if (this.#supervisor.exitCode !== null) throw new Error(`mizzen up ended with ${this.#supervisor.exitCode}`);
    return /up in [\d.]+ s/.test(this.#output) ? true : undefined;
  }

  /** Everything that `mizzen up` printed. */
  get output(): string {
    return this.#output;
  }

  get state(): MeshState {
    return JSON.parse(readFileSync(path.join(this.home, 'run/state.json'), 'utf8'));
  }

  get configDirectory(): string {
    return this.state.config;
  }

  get gatewayUrl(): string {
    return this.url('gateway');
  }

  url(address: string): string {
    return `http://${this.state.addresses[address]}`;
  }

  process(name: string): ProcessState {
    const found = this.state.processes.find((process) => process.name === name);
    if (!found) throw new Error(`no process ${name} among ${this.state.processes.map((process) => process.name).join(', ')}`);
    return found;
  }

  log(process: string): string {
    return readFileSync(path.join(this.home, 'run/logs', `${process}.log`), 'utf8');
  }

  /** `mizzen ARGS` on this home; throws where it does not end with 0. */
  async mizzen(...args: readonly string[]): Promise<string> {
    const result = await this.tryMizzen(args);
    if (result.code !== 0) throw new Error(`mizzen ${args.join(' ')} ended with ${result.code}\n${result.stdout}${result.stderr}`);
    return result.stdout;
  }

  tryMizzen(args: readonly string[], input?: string): Promise<CommandResult> {
    return runMizzen(['--home', this.home, ...args], input === undefined ? {} : { input });
  }

  /** Applies YAML and waits until every proxy has acknowledged it. */
  async apply(yaml: string): Promise<void> {
    const result = await this.tryMizzen(['apply', '-f', '-'], yaml);
    if (result.code !== 0) throw new Error(`mizzen apply ended with ${result.code}\n${result.stderr}`);
    await this.settled();
  }

  async applyFile(file: string): Promise<void> {
    await this.apply(readFileSync(file, 'utf8'));
  }

  /** Takes back what a file says, where it is there, and waits until every proxy has acknowledged that. */
  async deleteFile(file: string): Promise<void> {
    await this.delete(readFileSync(file, 'utf8'));
  }

  /** Takes back what a text says, as `deleteFile` does. */
  async delete(yaml: string): Promise<void> {
    const result = await this.tryMizzen(['delete', '--ignore-not-found', '-f', '-'], yaml);
    if (result.code !== 0) throw new Error(`mizzen delete ended with ${result.code}\n${result.stderr}`);
    await this.settled();
  }

  /** Puts a file into the watched directory, as an editor that saves in one step does. */
  writeConfig(name: string, text: string): void {
    const file = path.join(this.configDirectory, name);
    writeFileSync(`${file}.part`, text);
    renameSync(`${file}.part`, file);
  }

  removeConfig(name: string): void {
    rmSync(path.join(this.configDirectory, name));
  }

  async resources(): Promise<readonly ConfiguredResource[]> {
    const answer = await fetch(`${this.url('debug')}/debug/configz`);
    return (await answer.json()) as readonly ConfiguredResource[];
  }

  /** Resolves once the control plane has read the directory as it is now and every proxy has acknowledged all of it. */
  async settled(): Promise<void> {
    await this.mizzen('wait', '--timeout', '20s');
  }

  /** Starts a program behind a sidecar by `mizzen run`; resolves when the program answers through the mesh's own ready line. */
  async run(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<ChildProcess> {
    const child = startMizzen(['--home', this.home, 'run', ...args], env);
    this.#programs.add(child);
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#outputs.set(child, this.outputOf(child) + text);
      });
    }
    await until(
      `mizzen run ${args.join(' ')}`,
      async () => {
        if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode}: ${this.outputOf(child)}`);
        return /is in the mesh/.test(this.outputOf(child)) ? true : undefined;
      },
      30_000,
    );
    return child;
  }

  /** What `mizzen run` and its program have printed. */
  outputOf(program: ChildProcess): string {
    return this.#outputs.get(program) ?? '';
  }

  async end(program: ChildProcess): Promise<void> {
    this.#programs.delete(program);
    if (program.exitCode !== null || program.signalCode !== null) return;
    program.kill('SIGTERM');
    await once(program, 'exit');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const program of [...this.#programs]) await this.end(program);
    if (this.#supervisor.exitCode === null && this.#supervisor.signalCode === null) {
      this.#supervisor.kill('SIGTERM');
      await once(this.#supervisor, 'exit');
    }
    rmSync(this.home, { recursive: true, force: true });
  }
}
