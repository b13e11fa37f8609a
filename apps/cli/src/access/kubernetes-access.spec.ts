import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '@mizzen/core';
import { injectionWebhooks } from '@mizzen/injection';
import { KINDS_OF_KUBERNETES, type KubeKind, type KubeObject } from '@mizzen/kube';
import { createFakeApiServer, type FakeApiServer } from '@mizzen/kube/testing';
import { Command } from 'commander';
import { parse, parseAllDocuments } from 'yaml';
import type { CommandContext } from '../commands/context.ts';
import { createProgram } from '../program.ts';
import { addMeshOptions, meansKubernetes } from './open-mesh.ts';

const VIRTUAL_SERVICE: KubeKind = {
  apiVersion: 'networking.istio.io/v1',
  kind: 'VirtualService',
  plural: 'virtualservices',
  isNamespaced: true,
};
const REVIEWS = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: reviews }
spec: { hosts: [reviews], http: [{ route: [{ destination: { host: reviews } }] }] }
`;

describe('the command on a cluster', () => {
  let api: FakeApiServer;
  let folder: string;
  const said = { answer: '', messages: '' };

  beforeAll(async () => {
    api = await createFakeApiServer();
    folder = mkdtempSync(join(tmpdir(), 'mizzen-kube-'));
    writeFileSync(join(folder, 'kubeconfig'), api.kubeconfig);
    writeFileSync(join(folder, 'reviews.yaml'), REVIEWS);
  });
  afterAll(async () => {
    await api.close();
    rmSync(folder, { recursive: true });
  });
  beforeEach(() => void Object.assign(said, { answer: '', messages: '' }));

  async function mizzen(...args: string[]): Promise<string> {
    const context: CommandContext = {
      env: { KUBECONFIG: join(folder, 'kubeconfig') },
      workspace: folder,
      clock: systemClock,
      random: Math.random,
      print: (text) => {
        said.answer += text;
      },
      message: (line) => {
        said.messages += `${line}\n`;
      },
      readStdin: async () => '',
    };
    said.answer = '';
    await createProgram(context).parseAsync(['--home', folder, ...args], { from: 'user' });
    return said.answer;
  }

  it('applies, shows and deletes resources as objects of it', async () => {
    const file = join(folder, 'reviews.yaml');
    expect(await mizzen('apply', '--kubernetes', '-n', 'shop', '-f', file)).toBe('virtualservice.networking.istio.io/reviews created\n');
    expect(api.object(VIRTUAL_SERVICE, { name: 'reviews', namespace: 'shop' })).toMatchObject({ spec: { hosts: ['reviews'] } });
    expect(await mizzen('apply', '--kubernetes', '-n', 'shop', '-f', file)).toBe('virtualservice.networking.istio.io/reviews unchanged\n');
    expect(parse(await mizzen('get', '--kubernetes', '-n', 'shop', '-o', 'yaml', 'vs', 'reviews'))).toMatchObject({
      kind: 'VirtualService',
      spec: { hosts: ['reviews'] },
    });
    expect(await mizzen('delete', '--kubernetes', '-n', 'shop', 'vs', 'reviews')).toBe(
      'virtualservice.networking.istio.io/reviews deleted\n',
    );
    await expect(mizzen('delete', '--kubernetes', '-n', 'shop', 'vs', 'reviews')).rejects.toMatchObject({ exitCode: 1 });
  });

  it('says what to do where no control plane runs', async () => {
    await expect(mizzen('proxy-status', '--kubernetes')).rejects.toMatchObject({
      code: 'MIZZEN_NOT_RUNNING',
      message: expect.stringMatching(/no control plane runs in namespace istio-system of http.*`mizzen install`/),
    });
  });

  it('injects by what the ConfigMaps of the cluster say', async () => {
    const { ConfigMap, Node } = KINDS_OF_KUBERNETES;
    const metadata = { namespace: 'istio-system' };
    api.put(ConfigMap, { metadata: { ...metadata, name: 'mizzen-injector' }, data: { values: 'hub: registry.example' } });
    api.put(ConfigMap, { metadata: { ...metadata, name: 'istio' }, data: { mesh: 'trustDomain: shop.example' } });
    api.put(Node, { metadata: { name: 'old' }, status: { nodeInfo: { kubeletVersion: 'v1.30.1' } } });
    const file = join(folder, 'app.yaml');
    writeFileSync(
      file,
      'apiVersion: v1\nkind: Pod\nmetadata: { name: app }\nspec: { containers: [{ name: app, image: app }] }\n---\nkind: Service\n',
    );
    const [pod, service] = parseAllDocuments(await mizzen('kube-inject', '-f', file)).map((document) => document.toJS());
    // A node is too old for native sidecars.
    expect(pod.spec.containers).toMatchObject([{ name: 'app' }, { name: 'istio-proxy', image: 'registry.example/sidecar:0.1.0' }]);
    expect(pod.spec.containers[1].env).toContainEqual({ name: 'MIZZEN_TRUST_DOMAIN', value: 'shop.example' });
    expect(service).toEqual({ kind: 'Service' });
  });

  it('lets tags stand for revisions', async () => {
    const { MutatingWebhookConfiguration, Namespace } = KINDS_OF_KUBERNETES;
    for (const revision of ['default', 'canary']) {
      const service = `injector-of-${revision}`;
      const { webhooks, ...configuration } = injectionWebhooks({ revision, namespace: 'istio-system', service }) as KubeObject & {
        readonly webhooks: readonly { readonly clientConfig: object }[];
      };
      const trusted = webhooks.map((webhook) => ({ ...webhook, clientConfig: { ...webhook.clientConfig, caBundle: `CA of ${revision}` } }));
      api.put(MutatingWebhookConfiguration, { ...configuration, webhooks: trusted });
    }
    api.put(Namespace, { metadata: { name: 'shop', labels: { 'istio.io/rev': 'prod' } } });
    await mizzen('tag', 'set', 'prod', '--revision', 'default');
    expect(await mizzen('tag', 'list', '-o', 'json')).toBe(
      `${JSON.stringify([{ tag: 'prod', revision: 'default', namespaces: ['shop'] }], undefined, 2)}\n`,
    );
    await expect(mizzen('tag', 'set', 'prod', '--revision', 'canary')).rejects.toThrow('stands for revision default; --overwrite moves it');
    await mizzen('tag', 'set', 'prod', '--revision', 'canary', '--overwrite');
    const moved = api.object(MutatingWebhookConfiguration, { name: 'istio-revision-tag-prod' });
    expect(moved?.metadata.labels).toMatchObject({ 'istio.io/rev': 'canary', 'istio.io/tag': 'prod' });
    expect(JSON.stringify(moved)).toContain('injector-of-canary');
    expect(JSON.stringify(moved)).toContain('"values":["prod"]');
    expect(JSON.stringify(moved)).toContain('CA of canary');
    await expect(mizzen('tag', 'set', 'x', '--revision', 'none')).rejects.toThrow('there is no revision none in the cluster; there are');
    await expect(mizzen('tag', 'set', 'canary', '--revision', 'default')).rejects.toThrow('is the name of a revision');
    await mizzen('tag', 'remove', 'prod');
    expect(said.messages).toContain('still named by namespaces shop');
    await expect(mizzen('tag', 'remove', 'prod')).rejects.toThrow('there is no tag prod');
  });

  it('injects by files without a cluster, and refuses what cannot be injected', async () => {
    const config = join(folder, 'injector.yaml');
    writeFileSync(config, 'values: { hub: from.file }\n');
    const file = join(folder, 'job.yaml');
    const job = (cpu: string): string =>
      `apiVersion: batch/v1\nkind: Job\nmetadata: { name: job }\nspec: { template: { metadata: { annotations: { sidecar.istio.io/proxyCPU: ${cpu} } }, spec: { containers: [] } } }\n`;
    writeFileSync(file, job('10m'));
    expect(await mizzen('kube-inject', '-f', file, '--injectConfigFile', config)).toContain('image: from.file/sidecar');
    writeFileSync(file, job('lots'));
    await expect(mizzen('kube-inject', '-f', file, '--injectConfigFile', config)).rejects.toMatchObject({ exitCode: 65 });
    expect(said.messages).toContain('error: Job default/job: annotation sidecar.istio.io/proxyCPU must be a quantity');
  });
});

describe('which mesh a command means', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mizzen-which-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  async function choose(env: Record<string, string>, ...args: string[]): Promise<boolean | undefined> {
    let chosen: boolean | undefined;
    const program = new Command().option('--home <dir>', '', folder).option('--config <dir>');
    addMeshOptions(program.command('get')).action((_, command: Command) => {
      chosen = meansKubernetes(command, { env } as unknown as CommandContext);
    });
    await program.parseAsync(args.includes('get') ? args : ['get', ...args], { from: 'user' });
    return chosen;
  }
  const KUBECONFIG = '/etc/cluster';

  it.each<[string, Record<string, string>, string[], boolean]>([
    ['a cluster that KUBECONFIG names, where nothing else is said', { KUBECONFIG }, [], true],
    ['the local one, where its home is said', { KUBECONFIG }, ['--home', folder, 'get'], false],
    ['the local one, where its configuration is said', { KUBECONFIG }, ['--config', folder, 'get'], false],
    ['the local one, where its debug address is said', { KUBECONFIG }, ['--debug-address', '127.0.0.1:1'], false],
    ['a cluster by --kubernetes, whatever else is said', {}, ['--home', folder, 'get', '--kubernetes'], true],
    ['a cluster by --context', {}, ['--context', 'kind'], true],
    ['a cluster by the environment', { MIZZEN_KUBERNETES: 'true' }, ['--home', folder, 'get'], true],
    ['no cluster by the environment', { MIZZEN_KUBERNETES: 'false' }, ['--home', folder, 'get'], false],
  ])('is %s', async (_, env, args, isKubernetes) => {
    expect(await choose(env, ...args)).toBe(isKubernetes);
  });

  it('is the local one while it runs', async () => {
    const home = mkdtempSync(join(tmpdir(), 'mizzen-which-'));
    mkdirSync(join(home, 'run'));
    writeFileSync(join(home, 'run', 'state.json'), JSON.stringify({ pid: process.pid, config: home }));
    const program = new Command().option('--home <dir>', '', home);
    let chosen: boolean | undefined;
    addMeshOptions(program.command('get')).action((_, command: Command) => {
      chosen = meansKubernetes(command, { env: { KUBECONFIG } } as unknown as CommandContext);
    });
    await program.parseAsync(['get'], { from: 'user' });
    rmSync(home, { recursive: true });
    expect(chosen).toBe(false);
  });
});
