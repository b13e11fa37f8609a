import { spawn, spawnSync } from 'node:child_process';
import { describe } from '@jest/globals';
import { type CommandResult, runMizzen } from '../command.ts';
import { until } from '../until.ts';

/** A cluster is there when KUBECONFIG names one that answers; `npm run test:kubernetes` says how to get one. */
export const isClusterPresent: boolean =
  process.env['KUBECONFIG'] !== undefined && spawnSync('kubectl', ['get', '--raw', '/readyz', '--request-timeout=5s']).status === 0;

/** `describe`, skipped where there is no cluster; titles say "(needs kubernetes)". */
export const describeOnKubernetes: typeof describe = isClusterPresent ? describe : (describe.skip as typeof describe);

/** `kubectl ARGS`; throws where it does not end with 0. */
export async function kubectl(args: readonly string[], input?: string): Promise<string> {
  const result = await tryKubectl(args, input);
  if (result.code !== 0) throw new Error(`kubectl ${args.join(' ')} ended with ${result.code}\n${result.stdout}${result.stderr}`);
  return result.stdout;
}

export function tryKubectl(args: readonly string[], input?: string): Promise<CommandResult> {
  return run('kubectl', args, input);
}

/** Any other program, with the result of its end. */
export function run(command: string, args: readonly string[], input?: string): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code: code ?? -1, stdout, stderr }));
    // A program may end without having read anything; its exit code tells what came of it.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input ?? '');
  });
}

/** `mizzen ARGS` against the cluster; throws where it does not end with 0. */
export async function mizzen(...args: readonly string[]): Promise<string> {
  const result = await runMizzen(args, { env: { MIZZEN_KUBERNETES: 'true' } });
  if (result.code !== 0) throw new Error(`mizzen ${args.join(' ')} ended with ${result.code}\n${result.stdout}${result.stderr}`);
  return result.stdout;
}

/** The address at which this machine reaches NodePorts, and pods reach this machine. */
export async function nodeAddress(): Promise<string> {
  return kubectl(['get', 'nodes', '-o', 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}']);
}

/** `http://NODE:PORT` of one port of a Service that has NodePorts. */
export async function nodePortUrl(service: { namespace: string; name: string; port: number }): Promise<string> {
  const path = `jsonpath={.spec.ports[?(@.port==${service.port})].nodePort}`;
  const port = await kubectl(['-n', service.namespace, 'get', 'service', service.name, '-o', path]);
  if (port === '') throw new Error(`service ${service.namespace}/${service.name} has no NodePort for ${service.port}`);
  return `http://${await nodeAddress()}:${port}`;
}

interface PodList {
  readonly items: readonly Pod[];
}

export interface Pod {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly deletionTimestamp?: string };
  readonly spec: {
    readonly containers: readonly { readonly name: string }[];
    readonly initContainers?: readonly { readonly name: string; readonly restartPolicy?: string }[];
  };
  readonly status: {
    readonly phase: string;
    readonly podIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

/** Pods that are not on their way out. */
export async function pods(namespace: string, selector: string): Promise<readonly Pod[]> {
  const { items }: PodList = JSON.parse(await kubectl(['-n', namespace, 'get', 'pods', '-l', selector, '-o', 'json']));
  return items.filter((pod) => pod.metadata.deletionTimestamp === undefined);
}

export function isReady(pod: Pod): boolean {
  return pod.status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
}

/** One pod that is ready, once there is one. */
export async function readyPod(namespace: string, selector: string): Promise<Pod> {
  return until(`a ready pod ${selector}`, async () => (await pods(namespace, selector)).find(isReady), 120_000);
}

/** Resolves once a Deployment runs what it says. */
export async function rolledOut(namespace: string, ...deployments: readonly string[]): Promise<void> {
  for (const name of deployments) await kubectl(['-n', namespace, 'rollout', 'status', `deployment/${name}`, '--timeout=180s']);
}

export async function deploymentsOf(namespace: string): Promise<readonly string[]> {
  const names = await kubectl(['-n', namespace, 'get', 'deployments', '-o', 'jsonpath={.items[*].metadata.name}']);
  return names.split(' ').filter((name) => name !== '');
}

/** A namespace of the test's own, in the mesh where `isInjected`. Disposing of it deletes everything in it. */
export async function createNamespace(name: string, options: { isInjected: boolean }): Promise<AsyncDisposable> {
  await kubectl(['delete', 'namespace', name, '--ignore-not-found', '--wait=true', '--timeout=120s']);
  const labels = options.isInjected ? { 'istio-injection': 'enabled' } : {};
  await kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }));
  return {
    async [Symbol.asyncDispose]() {
      await kubectl(['delete', 'namespace', name, '--ignore-not-found', '--wait=true', '--timeout=120s']);
    },
  };
}

/** Runs a command in a container of a pod. */
export function inPod(pod: Pod, container: string, command: readonly string[]): Promise<CommandResult> {
  return tryKubectl(['-n', pod.metadata.namespace, 'exec', pod.metadata.name, '-c', container, '--', ...command]);
}
