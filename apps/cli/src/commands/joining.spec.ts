import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '@mizzen/core';
import { KINDS_OF_KUBERNETES, type KubeObject } from '@mizzen/kube';
import { createFakeApiServer, type FakeApiServer } from '@mizzen/kube/testing';
import { kubeKindOf } from '@mizzen/mesh-api';
import { parse } from 'yaml';
import { createProgram } from '../program.ts';

const { ConfigMap, Service, ServiceAccount } = KINDS_OF_KUBERNETES;
const ROOT = 'istio-system';

describe('the commands for what is outside of a cluster', () => {
  let folder: string;
  let api: FakeApiServer;
  let kubeconfig: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mizzen-joining-'));
    api = await createFakeApiServer();
    kubeconfig = join(folder, 'kubeconfig');
    await writeFile(kubeconfig, api.kubeconfig);
  });
  afterEach(async () => {
    await api.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function mizzen(...args: string[]): Promise<{ printed: string; messages: string[] }> {
    let printed = '';
    const messages: string[] = [];
    const program = createProgram({
      env: {},
      workspace: folder,
      clock: systemClock,
      random: () => 0,
      print: (text) => {
        printed += text;
      },
      message: (line) => void messages.push(line),
      readStdin: async () => '',
    });
    await program.parseAsync(['--home', join(folder, 'home'), ...args], { from: 'user' });
    return { printed, messages };
  }

  describe('register', () => {
    const inCluster = (...args: string[]): Promise<{ printed: string }> => mizzen(...args, '--kubeconfig', kubeconfig);
    const entries = (): readonly KubeObject[] => api.objects<KubeObject>(kubeKindOf('WorkloadEntry'));

    it('makes a service and its endpoint in one line, in a directory of configuration', async () => {
      const config = join(folder, 'config');
      const { printed } = await mizzen('register', 'mysql', '10.0.0.7', 'mysql:3306', '--config', config);
      expect(printed).toBe('serviceentry.networking.istio.io/mysql created\nworkloadentry.networking.istio.io/mysql-10-0-0-7 created\n');
      const files = await readdir(join(config, 'default'));
      const specs = await Promise.all(files.sort().map(async (file) => parse(await readFile(join(config, 'default', file), 'utf8')).spec));
      expect(specs).toEqual([
        {
          hosts: ['mysql.default.svc.cluster.local'],
          location: 'MESH_EXTERNAL',
          resolution: 'STATIC',
          ports: [{ name: 'mysql', number: 3306, protocol: 'MYSQL' }],
          workloadSelector: { labels: { app: 'mysql' } },
        },
        { address: '10.0.0.7', ports: { mysql: 3306 }, labels: { app: 'mysql' } },
      ]);
    });

    it('does the same in a cluster, and adds endpoints to the service from then on', async () => {
      await inCluster('register', 'mysql', '10.0.0.7', '3306', '-n', 'shop');
      const { printed } = await inCluster('register', 'mysql', 'fd00::7', '-n', 'shop', '--labels', 'version=v2');
      expect(printed).toBe('workloadentry.networking.istio.io/mysql-fd00-7 created\n');
      expect(api.objects<KubeObject>(kubeKindOf('ServiceEntry'))).toMatchObject([
        { metadata: { name: 'mysql', namespace: 'shop' }, spec: { ports: [{ name: 'tcp-3306', number: 3306, protocol: 'TCP' }] } },
      ]);
      expect(entries()).toMatchObject([
        { spec: { address: '10.0.0.7' } },
        { spec: { address: 'fd00::7', labels: { app: 'mysql', version: 'v2' } } },
      ]);
    });

    it('gives a Kubernetes Service one more endpoint that it selects, with an identity', async () => {
      api.put(Service, { metadata: { name: 'reviews', namespace: 'default' }, spec: { selector: { app: 'reviews', tier: 'web' } } });
      await inCluster('register', 'reviews', '10.0.0.8', 'http:9080', '--service-account', 'bookinfo-reviews');
      expect(api.objects(kubeKindOf('ServiceEntry'))).toEqual([]);
      expect(entries()).toMatchObject([
        {
          spec: {
            serviceAccount: 'bookinfo-reviews',
            labels: { app: 'reviews', tier: 'web', 'security.istio.io/tlsMode': 'istio' },
            ports: { http: 9080 },
          },
        },
      ]);
    });

    it('adds to the endpoints that a ServiceEntry lists itself, and takes them back', async () => {
      const kind = kubeKindOf('ServiceEntry');
      const spec = {
        hosts: ['db.example'],
        ports: [{ number: 5432, name: 'tcp' }],
        resolution: 'STATIC',
        endpoints: [{ address: '10.0.0.1' }],
      };
      api.put(kind, { apiVersion: kind.apiVersion, kind: 'ServiceEntry', metadata: { name: 'db', namespace: 'default' }, spec });
      const addresses = (): unknown =>
        (api.objects<KubeObject & { spec: { endpoints: { address: string }[] } }>(kind)[0]?.spec.endpoints ?? []).map(
          ({ address }) => address,
        );
      await inCluster('register', 'db', '10.0.0.2');
      expect(addresses()).toEqual(['10.0.0.1', '10.0.0.2']);
      await inCluster('deregister', 'db', '10.0.0.1');
      expect(addresses()).toEqual(['10.0.0.2']);
    });

    it('takes back what it made, once', async () => {
      await inCluster('register', 'mysql', '10.0.0.7', '3306');
      await inCluster('deregister', 'mysql', '10.0.0.7');
      expect(entries()).toEqual([]);
      await expect(inCluster('deregister', 'mysql', '10.0.0.7')).rejects.toThrow(/10\.0\.0\.7 is no registered endpoint of mysql/);
    });

    it.each([
      ['an address that is none', ['mysql', 'db.example', '3306'], /must be an IP address, not "db\.example"/],
      ['a port that is none', ['mysql', '10.0.0.7', 'mysql:99999'], /must be PORT or NAME:PORT such as http:8080, not "mysql:99999"/],
      ['a service that is not there, without a port', ['mysql', '10.0.0.7'], /no service mysql in namespace default yet; say its ports/],
      ['a name with dots', ['mysql.shop', '10.0.0.7', '3306'], /must be a name in its namespace/],
    ])('refuses %s', async (_, args, reason) => {
      await expect(inCluster('register', ...args)).rejects.toThrow(reason);
      expect(entries()).toEqual([]);
    });
  });

  describe('workload', () => {
    const out = (): string => join(folder, 'out');
    const read = (name: string): Promise<string> => readFile(join(out(), name), 'utf8');
    const configure = (...args: string[]): Promise<{ messages: string[] }> =>
      mizzen('workload', 'configure', '--directory', out(), '--kubeconfig', kubeconfig, ...args);

    beforeEach(() => {
      api.put(ConfigMap, { metadata: { name: 'istio', namespace: ROOT }, data: { mesh: 'trustDomain: example.org' } });
      api.put(ConfigMap, { metadata: { name: 'istio-ca-root-cert', namespace: ROOT }, data: { 'root-cert.pem': 'ROOT' } });
      for (const [name, clusterIP] of [
        ['istiod', '10.96.0.1'],
        ['mizzen-ca', '10.96.0.2'],
        ['mizzen-telemetry', '10.96.0.3'],
      ] as const)
        api.put(Service, { metadata: { name, namespace: ROOT }, spec: { clusterIP } });
      api.put(ServiceAccount, { metadata: { name: 'ratings', namespace: 'shop' } });
      api.put(kubeKindOf('WorkloadGroup'), {
        metadata: { name: 'ratings-vm', namespace: 'shop' },
        spec: { metadata: { labels: { app: 'ratings', version: 'v1' } }, template: { serviceAccount: 'ratings', ports: { http: 9080 } } },
      });
    });

    it('group create prints a WorkloadGroup', async () => {
      const flags = [
        '--name',
        'vm',
        '-n',
        'shop',
        '--labels',
        'app=ratings,version=v1',
        '--ports',
        'http=9080',
        '--service-account',
        'ratings',
      ];
      const { printed } = await mizzen('workload', 'group', 'create', ...flags);
      expect(parse(printed)).toEqual({
        apiVersion: 'networking.istio.io/v1',
        kind: 'WorkloadGroup',
        metadata: { name: 'vm', namespace: 'shop' },
        spec: {
          metadata: { labels: { app: 'ratings', version: 'v1' }, annotations: {} },
          template: { ports: { http: 9080 }, serviceAccount: 'ratings' },
        },
      });
    });

    it('configure writes what the machine needs, with a token for the CA', async () => {
      const { messages } = await configure('--name', 'ratings-vm', '-n', 'shop');
      expect((await readdir(out())).sort()).toEqual(['cluster.env', 'hosts', 'istio-token', 'mesh.yaml', 'root-cert.pem', 'sidecar.env']);
      expect(await read('root-cert.pem')).toBe('ROOT');
      expect(await read('hosts')).toBe(
        '10.96.0.1 istiod.istio-system.svc\n10.96.0.2 mizzen-ca.istio-system.svc\n10.96.0.3 mizzen-telemetry.istio-system.svc\n',
      );
      expect(messages.join()).toMatch(/cluster IPs, which only a machine with routes into the cluster reaches/);
      expect((await stat(join(out(), 'istio-token'))).mode & 0o777).toBe(0o600);
      const asked = api.requests.find(({ path }) => path.endsWith('/serviceaccounts/ratings/token'));
      expect(asked?.body).toMatchObject({ spec: { audiences: ['istio-ca'], expirationSeconds: 3600 } });
      expect(await read('sidecar.env')).toMatch(/^MIZZEN_CA_ADDRESS='10\.96\.0\.2:15013'$/m);
      for (const line of [
        "MIZZEN_CA_SERVER_NAME='mizzen-ca.istio-system.svc'",
        "MIZZEN_WORKLOAD_GROUP='ratings-vm'",
        "MIZZEN_LABELS='app=ratings,version=v1'",
        "MIZZEN_TRUST_DOMAIN='example.org'",
        "MIZZEN_INTERCEPTION_MODE='REDIRECT'",
      ])
        expect((await read('sidecar.env')).split('\n')).toContain(line);
      expect((await read('cluster.env')).split('\n')).toContain("ISTIO_META_AUTO_REGISTER_GROUP='ratings-vm'");
      expect(parse(await read('mesh.yaml'))).toMatchObject({ discoveryAddress: 'istiod.istio-system.svc:15012' });
    });

    it('configure leads everything to the address given, or to the east-west gateway', async () => {
      api.put(Service, {
        metadata: { name: 'istio-eastwestgateway', namespace: ROOT },
        status: { loadBalancer: { ingress: [{ ip: '203.0.113.9' }] } },
      });
      await configure('--name', 'ratings-vm', '-n', 'shop');
      expect(await read('hosts')).toContain('203.0.113.9 istiod.istio-system.svc');
      await configure('--name', 'ratings-vm', '-n', 'shop', '--external-address', '198.51.100.1');
      expect(await read('hosts')).toMatch(/^(198\.51\.100\.1 \S+\n){3}$/);
    });

    it('configure takes a file, and no capture', async () => {
      const file = join(folder, 'group.yaml');
      await writeFile(
        file,
        'apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: vm, namespace: shop}\nspec: {template: {serviceAccount: ratings}}\n',
      );
      await configure('-f', file, '--interception-mode', 'NONE', '--inbound', '9080=127.0.0.1:5000');
      const lines = (await read('sidecar.env')).split('\n');
      expect(lines).toContain("MIZZEN_INBOUND='9080=127.0.0.1:5000'");
      expect(lines.some((line) => line.startsWith('MIZZEN_DNS_CAPTURE'))).toBe(false);
    });

    it.each([
      ['no group', [], /say which WorkloadGroup/],
      ['a group that is not there', ['--name', 'other', '-n', 'shop'], /WorkloadGroup other does not exist in namespace shop/],
    ])('configure refuses %s', async (_, args, reason) => {
      await expect(configure(...args)).rejects.toThrow(reason);
    });

    it('configure says what is missing in the cluster', async () => {
      api.remove(ServiceAccount, { name: 'ratings', namespace: 'shop' });
      await expect(configure('--name', 'ratings-vm', '-n', 'shop')).rejects.toThrow(/kubectl create serviceaccount ratings -n shop/);
      api.remove(ConfigMap, { name: 'istio-ca-root-cert', namespace: ROOT });
      await expect(configure('--name', 'ratings-vm', '-n', 'shop')).rejects.toThrow(/there is no trust bundle/);
    });
  });
});
