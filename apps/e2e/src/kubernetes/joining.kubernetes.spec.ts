import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { freePort } from '@mizzen/testing';
import { until as untilWithin } from '../until.ts';
import { workspace } from '../workspace.ts';
import { createNamespace, describeOnKubernetes, inPod, kubectl, mizzen, nodeAddress, readyPod } from './cluster.ts';
import { ensureInstalled } from './installation.ts';

const NAMESPACE = 'mizzen-joining';
const ME = `spiffe://cluster.local/ns/${NAMESPACE}/sa/legacy`;
const CALLER = `spiffe://cluster.local/ns/${NAMESPACE}/sa/caller`;

// Commands and pods of a busy machine take their time.
const until = <T>(what: string, probe: () => Promise<T | undefined>): Promise<T> => untilWithin(what, probe, 60_000);

interface Call {
  readonly url: string;
  readonly xfcc: string;
}

/** A process on this machine, no pod: it has routes into the cluster, as a machine in the same network has. */
describeOnKubernetes('a process outside the cluster (needs kubernetes)', () => {
  let namespace: AsyncDisposable;
  let folder: string;
  let appPort: number;
  let app: Server | undefined;
  let sidecar: ChildProcess;
  let httpProxyPort: number;
  const calls: Call[] = [];
  let isWell = false;

  beforeAll(async () => {
    await ensureInstalled();
    namespace = await createNamespace(NAMESPACE, { isInjected: true });
    folder = await mkdtemp(join(tmpdir(), 'mizzen-joining-'));
    [appPort, httpProxyPort] = [await freePort(), await freePort()];
    await kubectl(['apply', '-n', NAMESPACE, '-f', '-'], manifests(appPort));
    await readyPod(NAMESPACE, 'app=caller');
  }, 300_000);

  afterAll(async () => {
    if (sidecar?.exitCode === null) {
      sidecar.kill('SIGKILL');
      await once(sidecar, 'exit');
    }
    app?.close();
    await rm(folder, { recursive: true, force: true });
    await namespace?.[Symbol.asyncDispose]();
  }, 150_000);

  async function startApp(): Promise<void> {
    app = createServer((incoming, response) => {
      if (incoming.url === '/probe') {
        response.writeHead(isWell ? 200 : 503).end();
        return;
      }
      const { 'x-forwarded-client-cert': xfcc = '' } = incoming.headers;
      calls.push({ url: incoming.url ?? '', xfcc: String(xfcc) });
      response.end('legacy');
    }).listen(appPort, '127.0.0.1');
    await once(app, 'listening');
  }

  /** `mizzen sidecar` with the settings that were written, as `set -a; . ./sidecar.env` gives them. */
  async function startSidecar(): Promise<void> {
    const text = await readFile(join(folder, 'sidecar.env'), 'utf8');
    const settings = Object.fromEntries([...text.matchAll(/^([A-Z_]+)='(.*)'$/gm)].map(([, name, value]) => [name, value]));
    const own = { MIZZEN_ADDRESS: await nodeAddress(), MIZZEN_HTTP_PROXY_PORT: String(httpProxyPort), MIZZEN_INSTANCE: 'legacy-1' };
    const ports = Object.fromEntries(['ADMIN', 'STATUS', 'READINESS', 'METRICS'].map((name) => [`MIZZEN_${name}_PORT`, '0']));
    const main = join(workspace, 'apps/sidecar/src/main.ts');
    sidecar = spawn(process.execPath, ['--no-warnings', main], {
      cwd: folder,
      env: { PATH: process.env['PATH'], ...settings, ...own, ...ports },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    for await (const line of createInterface({ input: sidecar.stdout as NodeJS.ReadableStream })) if (line.includes('"ready":true')) break;
    sidecar.stdout?.resume();
  }

  const entries = (): Promise<string> =>
    kubectl(['-n', NAMESPACE, 'get', 'workloadentries', '-o', 'jsonpath={range .items[*]}{.metadata.name} {.spec.address}{end}']);

  /** A call of the pod: the status and the body. */
  async function callFromPod(url: string): Promise<string> {
    const script = `fetch('${url}').then(async (r) => console.log(r.status, await r.text()))`;
    return (await inPod(await readyPod(NAMESPACE, 'app=caller'), 'caller', ['node', '-e', script])).stdout.trim();
  }

  function callOut(url: string): Promise<{ status: number; headers: IncomingMessage['headers']; body: string }> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        { host: '127.0.0.1', port: httpProxyPort, path: url, headers: { host: new URL(url).host } },
        async (response) => {
          let body = '';
          for await (const chunk of response) body += chunk;
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
        },
      );
      outgoing.on('error', reject).end();
    });
  }

  it("finds the mesh's root in its namespace, also after somebody deleted it", async () => {
    const root = (namespace: string): Promise<string> =>
      kubectl(['-n', namespace, 'get', 'configmap', 'istio-ca-root-cert', '-o', 'jsonpath={.data.root-cert\\.pem}']);
    const published = await root('istio-system');
    expect(published).toContain('BEGIN CERTIFICATE');
    await kubectl(['-n', NAMESPACE, 'delete', 'configmap', 'istio-ca-root-cert']);
    await until('it is back', async () => ((await root(NAMESPACE)) === published ? true : undefined));
  }, 200_000);

  it('is given what it needs by one command', async () => {
    const inbound = ['--interception-mode', 'NONE', '--inbound', `9080=127.0.0.1:${appPort}`];
    await mizzen('workload', 'configure', '--name', 'legacy', '-n', NAMESPACE, '--directory', folder, ...inbound);
    expect(await readFile(join(folder, 'root-cert.pem'), 'utf8')).toContain('BEGIN CERTIFICATE');
  }, 200_000);

  it('registers itself once its probe says that it is well, and is called by mutual TLS', async () => {
    await startApp();
    await startSidecar();
    expect(await entries()).toBe('');
    isWell = true;
    await until('the workload is registered', async () =>
      (await entries()) === `legacy-legacy-1 ${await nodeAddress()}` ? true : undefined,
    );
    await until('the pod reaches it', async () => ((await callFromPod('http://legacy:9080/hello')) === '200 legacy' ? true : undefined));
    expect(calls.at(-1)?.url).toBe('/hello');
    expect(calls.at(-1)?.xfcc).toContain(`By=${ME}`);
    expect(calls.at(-1)?.xfcc).toContain(`URI=${CALLER}`);
  }, 200_000);

  it('calls services of the cluster that let in nobody without mutual TLS', async () => {
    const answer = await until('it reaches the pod', async () => {
      const result = await callOut(`http://caller.${NAMESPACE}.svc.cluster.local:8080/who`);
      return result.status === 200 ? result : undefined;
    });
    expect(JSON.parse(answer.body)).toEqual({ url: '/who', xfcc: expect.stringContaining(`URI=${ME}`) });
  }, 200_000);

  it('is no endpoint any more when its probe fails, and one again when it is well', async () => {
    isWell = false;
    await until('the workload is taken out', async () => (/^503 /.test(await callFromPod('http://legacy:9080/gone')) ? true : undefined));
    isWell = true;
    await until('the workload is back', async () => ((await callFromPod('http://legacy:9080/back')) === '200 legacy' ? true : undefined));
  }, 200_000);

  it('takes its registration back when it ends', async () => {
    sidecar.kill('SIGTERM');
    await once(sidecar, 'exit');
    await until('the entry is gone', async () => ((await entries()) === '' ? true : undefined));
  }, 200_000);

  it('a program without a sidecar is one service with one endpoint by one line', async () => {
    const database = createServer((_, response) => response.end('database')).listen(0, await nodeAddress());
    await once(database, 'listening');
    const { port } = database.address() as AddressInfo;
    try {
      await mizzen('register', 'database', await nodeAddress(), `tcp:${port}`, '-n', NAMESPACE);
      const url = `http://database.${NAMESPACE}.svc.cluster.local:${port}/`;
      await until('the pod reaches the database by its name', async () => ((await callFromPod(url)) === '200 database' ? true : undefined));
      await mizzen('deregister', 'database', await nodeAddress(), '-n', NAMESPACE);
      expect(await entries()).toBe('');
    } finally {
      database.close();
    }
  }, 200_000);
});

const manifests = (probePort: number): string => `
apiVersion: v1
kind: ServiceAccount
metadata: { name: legacy }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: caller }
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: { name: legacy }
spec:
  metadata: { labels: { app: legacy, version: v1 } }
  template: { serviceAccount: legacy, ports: { http: 9080 } }
  probe: { periodSeconds: 1, failureThreshold: 1, httpGet: { host: 127.0.0.1, port: ${probePort}, path: /probe } }
---
apiVersion: v1
kind: Service
metadata: { name: legacy }
spec: { selector: { app: legacy }, ports: [{ name: http, port: 9080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: caller }
spec: { selector: { app: caller }, ports: [{ name: http, port: 8080 }] }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default }
spec: { mtls: { mode: STRICT } }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: caller }
spec:
  selector: { matchLabels: { app: caller } }
  template:
    metadata:
      labels: { app: caller }
      annotations:
        sidecar.istio.io/proxyCPU: 10m
        proxy.istio.io/config: '{"proxyMetadata":{"ISTIO_META_DNS_CAPTURE":"true"}}'
    spec:
      serviceAccountName: caller
      containers:
        - name: caller
          image: mizzen/bookinfo-ratings-v1:dev
          imagePullPolicy: IfNotPresent
          command:
            - node
            - -e
            - >-
              require('http').createServer((q, r) => r.end(JSON.stringify({ url: q.url,
              xfcc: q.headers['x-forwarded-client-cert'] }))).listen(8080)
`;
