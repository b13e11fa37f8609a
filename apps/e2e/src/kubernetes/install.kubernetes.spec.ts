import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { until } from '../until.ts';
import { workspace } from '../workspace.ts';
import { describeOnKubernetes, kubectl, mizzen, nodeAddress, run, tryKubectl } from './cluster.ts';
import { loadImages } from './images.ts';

const NAMESPACE = 'istio-system';
const TIMEOUT_MS = 400_000;
const builtHelm = path.join(homedir(), '.cache/mesh-cluster/bin/helm');
const helmProgram = process.env['HELM'] ?? (existsSync(builtHelm) ? builtHelm : 'helm');

/** Installs, changes and removes the mesh by every way there is. It begins and ends with a cluster that has none. */
describeOnKubernetes('installing the mesh (needs kubernetes)', () => {
  let before: ReadonlySet<string>;

  beforeAll(async () => {
    if (process.env['MIZZEN_LOAD_IMAGES'] !== undefined) await loadImages(await imagesOfTheMesh());
    // Pods of an earlier suite hold certificates of a CA that is about to go.
    for (const file of ['kube/bookinfo.yaml', 'kube/bookinfo-ingress.yaml'])
      await kubectl(['delete', '-n', 'default', '-f', path.join(workspace, 'deploy/samples/bookinfo', file), '--ignore-not-found']);
    await mizzen('uninstall', '--purge', '--timeout', '180s');
    before = await everyObject();
  }, TIMEOUT_MS);
  afterAll(async () => {
    await mizzen('uninstall', '--purge', '--timeout', '180s');
  }, TIMEOUT_MS);

  it(
    'by kubectl apply -k gives what mizzen install would',
    async () => {
      await kubectl(['apply', '-k', path.join(workspace, 'deploy/kubernetes')]);
      await kubectl(['-n', NAMESPACE, 'wait', '--for=condition=Available', 'deployment', '--all', '--timeout=180s']);
      expect(await mizzen('install', '--verify', '--timeout', '120s')).toContain('are as they would be installed');
      await giveOutAddress();
    },
    TIMEOUT_MS,
  );

  it('grants no component more than it needs', async () => {
    const may = async (account: string, ...question: readonly string[]): Promise<boolean> => {
      const { stdout } = await tryKubectl(['auth', 'can-i', ...question, `--as=system:serviceaccount:${NAMESPACE}:${account}`]);
      return stdout.trim() === 'yes';
    };
    for (const account of ['istiod', 'mizzen-ca', 'mizzen-injector', 'mizzen-telemetry', 'istio-ingressgateway']) {
      expect(await may(account, '*', '*', '-A')).toBe(false);
      expect(await may(account, 'create', 'pods', '-A')).toBe(false);
      expect(await may(account, 'create', 'clusterrolebindings')).toBe(false);
      expect(await may(account, 'impersonate', 'users')).toBe(false);
    }
    expect(await may('mizzen-injector', 'get', 'secret/istio-ca-secret', '-n', NAMESPACE)).toBe(false);
    expect(await may('mizzen-telemetry', 'get', 'pods', '-n', NAMESPACE)).toBe(false);
    expect(await may('mizzen-ca', 'list', 'pods', '-A')).toBe(false);
    expect(await may('istiod', 'update', 'secret/istio-ca-secret', '-n', NAMESPACE)).toBe(false);
    expect(await may('istio-ingressgateway', 'list', 'secrets', '-n', 'default')).toBe(false);
  });

  it.each(blocksOfTheGuide())(
    'goes as docs/guides/kubernetes.md says: $title',
    async ({ commands }) => {
      const { code, stdout, stderr } = await inWorkspace(commands);
      expect(code === 0 ? '' : `${stdout}\n${stderr}`).toBe('');
    },
    TIMEOUT_MS,
  );

  it('leaves nothing behind when it is taken away', () => untilNothingIsLeft(before), 120_000);

  it(
    'by Helm is installed, upgraded and removed',
    async () => {
      const chart = path.join(workspace, 'deploy/helm/mizzen');
      const common = ['-n', NAMESPACE, '--wait', '--timeout', '180s'];
      await helm('install', 'mizzen', chart, '--create-namespace', ...common);
      expect(await failurePolicies()).toEqual(['Fail', 'Fail']);
      await helm('upgrade', 'mizzen', chart, ...common, '--set', 'telemetry.enabled=false');
      expect(await failurePolicies()).toEqual(['Fail', 'Fail']);
      expect(await kubectl(['-n', NAMESPACE, 'get', 'deployments', '-o', 'name'])).not.toContain('telemetry');
      await helm('uninstall', 'mizzen', '-n', NAMESPACE, '--wait');
      await kubectl(['-n', NAMESPACE, 'wait', '--for=delete', 'pod', '--all', '--timeout=120s']);
      await mizzen('uninstall', '--purge');
      await kubectl(['delete', 'namespace', NAMESPACE, '--timeout=60s']);
      await untilNothingIsLeft(before);
    },
    TIMEOUT_MS,
  );
});

/** What a load-balancer controller would write, of which this cluster has none: the gateway's Service is reached at the node's own address. */
async function giveOutAddress(): Promise<void> {
  const status = { loadBalancer: { ingress: [{ ip: await nodeAddress() }] } };
  const patch = ['--subresource=status', '--type=merge', '-p', JSON.stringify({ status })];
  await kubectl(['-n', NAMESPACE, 'patch', 'service', 'istio-ingressgateway', ...patch]);
}

/** The blocks of commands that the guide marks as tested, each under the heading that it stands below. */
function blocksOfTheGuide(): readonly { readonly title: string; readonly commands: string }[] {
  const text = readFileSync(path.join(workspace, 'docs/guides/kubernetes.md'), 'utf8');
  return [...text.matchAll(/^```sh test\n([\s\S]*?)^```/gm)].map((match) => ({
    title:
      text
        .slice(0, match.index)
        .match(/^## .*$/gm)
        ?.at(-1)
        ?.slice(3) ?? '',
    commands: match[1] as string,
  }));
}

function inWorkspace(commands: string) {
  return run('bash', ['-euo', 'pipefail', '-c', `cd "${workspace}"\n${commands}`]);
}

async function imagesOfTheMesh(): Promise<readonly string[]> {
  const { stdout } = await inWorkspace('npm run --silent images -- --list');
  return stdout.split('\n').filter((name) => name !== '');
}

async function helm(...args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await run(helmProgram, args);
  if (code !== 0) throw new Error(`helm ${args.join(' ')} ended with ${code}\n${stdout}${stderr}`);
}

/** The injector turns them from Ignore to Fail once it has seen that validation works. */
async function failurePolicies(): Promise<readonly string[]> {
  const name = 'istio-validator-istio-system';
  await kubectl(['wait', '--for=jsonpath={.webhooks[0].failurePolicy}=Fail', `validatingwebhookconfiguration/${name}`, '--timeout=60s']);
  const text = await kubectl(['get', 'validatingwebhookconfiguration', name, '-o', 'jsonpath={.webhooks[*].failurePolicy}']);
  return text.split(' ');
}

// They come and go by themselves.
const PASSING = /^(event|lease|endpointslice|endpoints|pod|controllerrevision|componentstatus)/;

/** Every object of the cluster, by kind, namespace and name. */
async function everyObject(): Promise<ReadonlySet<string>> {
  const resources = await kubectl(['api-resources', '--verbs=list', '-o', 'name']);
  const wanted = resources.split('\n').filter((name) => name !== '' && !PASSING.test(name) && !name.endsWith('.metrics.k8s.io'));
  const template = '{range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{"\\n"}{end}';
  const objects = await kubectl(['get', wanted.join(','), '-A', '--ignore-not-found', '-o', `jsonpath=${template}`]);
  return new Set(objects.split('\n').filter((line) => line !== ''));
}

/** What belongs to objects that were deleted is collected a little later. */
async function untilNothingIsLeft(before: ReadonlySet<string>): Promise<void> {
  let left: readonly string[] = [];
  const isGone = async (): Promise<true | undefined> => {
    left = [...(await everyObject())].filter((object) => !before.has(object));
    return left.length === 0 ? true : undefined;
  };
  await until('an empty cluster', isGone, 60_000).catch(() => undefined);
  expect(left).toEqual([]);
}
