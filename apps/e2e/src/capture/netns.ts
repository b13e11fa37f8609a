import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe } from '@jest/globals';
import type { Order, Question, Report } from './netns-peer.ts';

/** Whether this machine lets us make network namespaces and set iptables rules in them. */
const canMakeNamespaces = ((): boolean => {
  const name = `mizzen-${process.pid}-probe`;
  const commands = [
    ['ip', 'netns', 'add', name],
    ['ip', 'netns', 'exec', name, 'iptables', '-t', 'nat', '-A', 'OUTPUT', '-p', 'tcp', '-j', 'REDIRECT', '--to-ports', '1'],
    ['ip', 'netns', 'exec', name, 'setpriv', '--reuid', '1337', 'true'],
  ];
  const isDone = commands.every(([program, ...args]) => spawnSync(program as string, args, { stdio: 'ignore' }).status === 0);
  spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
  return isDone;
})();

if (!canMakeNamespaces)
  console.warn('skipped: no network namespaces; they need Linux, root, and the packages iproute2, iptables and util-linux');

/** `describe`, skipped where there are no network namespaces; titles hold "needs netns". */
export const describeWithNetns: typeof describe.skip = canMakeNamespaces ? describe : describe.skip;

/** The user that sidecars run as. */
export const PROXY_ID = 1337;

/** A network namespace. */
export class Namespace {
  readonly name: string;
  readonly #children = new Set<ChildProcess>();

  constructor(name: string) {
    this.name = name;
    run(['ip', 'netns', 'add', name]);
    this.run('ip', 'link', 'set', 'lo', 'up');
  }

  /** Runs a command to its end; returns what it printed. Throws with what it said on failure. */
  run(...command: readonly string[]): string {
    return run(['ip', 'netns', 'exec', this.name, ...command]);
  }

  /** What resolv.conf says inside. */
  setResolvConf(text: string): void {
    mkdirSync(`/etc/netns/${this.name}`, { recursive: true });
    writeFileSync(`/etc/netns/${this.name}/resolv.conf`, text);
  }

  /** Starts a program as a user (and the group of the same number). It may read the sources wherever they lie. */
  start(
    command: readonly string[],
    options: { readonly uid: number; readonly hasMessages?: boolean; readonly output?: number },
  ): ChildProcess {
    const id = String(options.uid);
    const asUser = ['setpriv', '--reuid', id, '--regid', id, '--clear-groups', '--pdeathsig', 'KILL'];
    const mayRead = options.uid === 0 ? [] : ['--inh-caps', '+dac_read_search', '--ambient-caps', '+dac_read_search'];
    const child = spawn('ip', ['netns', 'exec', this.name, ...asUser, ...mayRead, ...command], {
      stdio: ['ignore', options.output ?? 'pipe', options.output ?? 'pipe', ...(options.hasMessages ? (['ipc'] as const) : [])],
    });
    this.#children.add(child);
    child.once('close', () => this.#children.delete(child));
    return child;
  }

  /** A program inside that serves and asks. */
  startPeer(uid: number): NetnsPeer {
    const program = path.join(import.meta.dirname, 'netns-peer.ts');
    return new NetnsPeer(this.start([process.execPath, '--disable-warning=ExperimentalWarning', program], { uid, hasMessages: true }));
  }

  /** Ends what runs inside and removes it. */
  async close(): Promise<void> {
    const ended = [...this.#children].map((child) =>
      child.exitCode === null && child.signalCode === null ? once(child, 'close') : undefined,
    );
    for (const child of this.#children) child.kill('SIGKILL');
    await Promise.all(ended);
    rmSync(`/etc/netns/${this.name}`, { recursive: true, force: true });
    run(['ip', 'netns', 'del', this.name]);
  }
}

type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;

/** A `netns-peer.ts` inside a namespace. */
export class NetnsPeer {
  readonly #child: ChildProcess;
  readonly #pending = new Map<number, (answer: string) => void>();
  #count = 0;

  constructor(child: ChildProcess) {
    this.#child = child;
    let complaints = '';
    child.stderr?.on('data', (chunk) => {
      complaints += chunk;
    });
    child.on('message', (report) => {
      const { id, answer } = report as Report;
      this.#pending.get(id)?.(answer);
      this.#pending.delete(id);
    });
    child.once('close', () => {
      for (const answer of this.#pending.values()) answer(`the program has ended: ${complaints}`);
    });
  }

  /** Listens; rejects where it cannot. */
  async serve(name: string, host: string, port: number, options: { readonly greets?: boolean } = {}): Promise<void> {
    expectListening(await this.#order({ kind: 'serve', name, host, port, greets: options.greets ?? false }));
  }

  async serveUdp(name: string, host: string, port: number): Promise<void> {
    expectListening(await this.#order({ kind: 'serveUdp', name, host, port }));
  }

  ask(question: Question): Promise<string> {
    return this.#order({ kind: 'ask', ...question });
  }

  #order(order: WithoutId<Order>): Promise<string> {
    const id = ++this.#count;
    return new Promise((resolve) => {
      this.#pending.set(id, resolve);
      this.#child.send({ id, ...order });
    });
  }
}

function expectListening(answer: string): void {
  if (answer !== 'listening') throw new Error(`cannot serve: ${answer}`);
}

function run([program = '', ...args]: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error ?? (stderr || `exit code ${status}`)}`);
  return stdout;
}

let pairs = 0;

/** A namespace for a workload and one for the network around it, joined: 10.8.0.2 and 10.8.0.1, fd00:8::2 and fd00:8::1. */
export function createWorkloadNetwork(): { readonly workload: Namespace; readonly network: Namespace; close(): Promise<void> } {
  const suffix = `${process.pid}-${++pairs}`;
  const workload = new Namespace(`mizzen-w-${suffix}`);
  const network = new Namespace(`mizzen-n-${suffix}`);
  workload.run('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', network.name);
  for (const [namespace, last] of [
    [workload, 2],
    [network, 1],
  ] as const) {
    namespace.run('ip', 'addr', 'add', `10.8.0.${last}/24`, 'dev', 'eth0');
    namespace.run('ip', 'addr', 'add', `fd00:8::${last}/64`, 'dev', 'eth0', 'nodad');
    namespace.run('ip', 'link', 'set', 'eth0', 'up');
  }
  workload.run('ip', 'route', 'add', 'default', 'via', '10.8.0.1');
  workload.run('ip', '-6', 'route', 'add', 'default', 'via', 'fd00:8::1');
  return {
    workload,
    network,
    async close() {
      await workload.close();
      await network.close();
    },
  };
}
