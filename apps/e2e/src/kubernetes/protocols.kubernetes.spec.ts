import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { until } from '../until.ts';
import { createNamespace, describeOnKubernetes, inPod, kubectl, type Pod, readyPod, rolledOut } from './cluster.ts';
import { ensureInstalled } from './installation.ts';

const NAMESPACE = 'mizzen-protocols';
/** A name that no DNS server knows. */
const ENTRY = 'entry.mesh.invalid';

/** HTTP at 8080 and 7000, a server that speaks first at 3306, an echo at 6000. */
const SERVER = `
const { createServer: http } = require('node:http');
const { createServer: tcp } = require('node:net');
const answer = (q, r) => r.end(JSON.stringify({ host: q.headers.host, from: q.socket.remoteAddress, caller: q.headers['x-forwarded-client-cert'] ?? '' }));
for (const port of [8080, 7000]) http(answer).listen(port);
tcp((s) => s.on('error', () => {}).end('first from ' + s.remoteAddress)).listen(3306);
tcp((s) => s.on('error', () => {}).once('data', (data) => s.end('echo ' + data))).listen(6000);
`;

/** Calls \`http://…\` or \`tcp://…\`, with something to say after \`#\`, and prints what comes back. */
const CLIENT = `
const { hostname, port, protocol, hash } = new URL(process.argv[1]);
if (protocol === 'http:') fetch(process.argv[1]).then(async (r) => console.log(r.status, await r.text()), (error) => console.log('failed', error.cause?.code));
else {
  const socket = require('node:net').connect(Number(port), hostname);
  socket.on('error', (error) => console.log('failed', error.code)).setEncoding('utf8').on('data', (data) => console.log(data));
  if (hash) socket.write(hash.slice(1));
}
`;

function manifests(): string {
  const container = { name: 'app', image: 'mizzen/cli:dev', imagePullPolicy: 'IfNotPresent' };
  const deployment = (name: string, more: object, annotations = {}) => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name }, annotations },
        spec: { terminationGracePeriodSeconds: 1, containers: [{ ...container, ...more }] },
      },
    },
  });
  const service = (name: string, spec: object) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: { selector: { app: 'server' }, ...spec },
  });
  const items = [
    deployment('server', { command: ['node', '-e', SERVER], ports: [{ name: 'web', containerPort: 8080 }] }),
    deployment(
      'client',
      { command: ['sleep', 'infinity'] },
      { 'proxy.istio.io/config': 'proxyMetadata: { ISTIO_META_DNS_CAPTURE: "true" }' },
    ),
    service('server', {
      ports: [
        { name: 'http', port: 80, targetPort: 'web' },
        { name: 'database', port: 3306 },
        { name: 'undeclared', port: 7000 },
        { name: 'undeclared-too', port: 6000 },
      ],
    }),
    service('headless', {
      clusterIP: 'None',
      ports: [
        { name: 'tcp', port: 6000 },
        { name: 'http', port: 8080 },
      ],
    }),
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'ServiceEntry',
      metadata: { name: 'entry' },
      spec: {
        hosts: [ENTRY],
        location: 'MESH_INTERNAL',
        resolution: 'STATIC',
        ports: [{ number: 6000, name: 'tcp', protocol: 'TCP' }],
        workloadSelector: { labels: { app: 'server' } },
      },
    },
    {
      apiVersion: 'security.istio.io/v1',
      kind: 'PeerAuthentication',
      metadata: { name: 'default' },
      spec: { mtls: { mode: 'STRICT' } },
    },
  ];
  return JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
}

/** Every server here takes nothing but mutual TLS: what is answered came by it. */
describeOnKubernetes('what pods speak to each other (needs kubernetes)', () => {
  let namespace: AsyncDisposable | undefined;
  let client: Pod;

  beforeAll(async () => {
    await ensureInstalled();
    namespace = await createNamespace(NAMESPACE, { isInjected: true });
    await kubectl(['apply', '-n', NAMESPACE, '-f', '-'], manifests());
    await rolledOut(NAMESPACE, 'server', 'client');
    client = await readyPod(NAMESPACE, 'app=client');
  }, 420_000);

  afterAll(async () => {
    await namespace?.[Symbol.asyncDispose]();
  }, 150_000);

  async function call(url: string): Promise<string> {
    const { stdout, stderr } = await inPod(client, 'app', ['node', '-e', CLIENT, url]);
    return stdout.trim() || stderr.trim();
  }

  const answered = (url: string, expected: RegExp) =>
    until(`${url} answers`, async () => {
      const answer = await call(url);
      return expected.test(answer) ? answer : Promise.reject(new Error(answer));
    });

  it.each([
    ['HTTP at a port by its name', 'http://server/', 'server'],
    ['HTTP at a port that says nothing', 'http://server:7000/', 'server:7000'],
    ['HTTP to an endpoint of a headless service', 'http://headless:8080/', 'headless:8080'],
  ])('%s is routed, and the server is told who calls', async (_, url, host) => {
    const answer = await answered(url, /^200 /);
    expect(JSON.parse(answer.slice(4))).toEqual({
      host,
      from: '::ffff:127.0.0.6',
      caller: expect.stringContaining(`URI=spiffe://cluster.local/ns/${NAMESPACE}/sa/default`),
    });
  });

  it.each([
    ['a server that speaks first', 'tcp://server:3306', 'first from ::ffff:127.0.0.6'],
    ['bytes at a port that says nothing', 'tcp://server:6000#hello', 'echo hello'],
    ['bytes to pods that a ServiceEntry selects, at an address that only the mesh knows', `tcp://${ENTRY}:6000#hello`, 'echo hello'],
    ['bytes to an endpoint of a headless service', 'tcp://headless:6000#hello', 'echo hello'],
  ])('%s is carried', async (_, url, answer) => {
    expect(await answered(url, /^(first|echo)/)).toBe(answer);
  });

  it('under REGISTRY_ONLY, what the mesh does not know is refused, and what it knows is not', async () => {
    const spec = { egress: [{ hosts: ['./*'] }], outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' } };
    const sidecar = { apiVersion: 'networking.istio.io/v1', kind: 'Sidecar', metadata: { name: 'default' }, spec };
    await kubectl(['apply', '-n', NAMESPACE, '-f', '-'], JSON.stringify(sidecar));
    await answered('http://headless:8080/', /^200 /);
    const { status } = await readyPod(NAMESPACE, 'app=server');
    await answered(`http://${status.podIP}:8080/`, /^502/);
    expect(await call(`tcp://${status.podIP}:9#hello`)).toMatch(/^(failed|$)/);
    await kubectl(['delete', '-n', NAMESPACE, 'sidecar.networking.istio.io', 'default']);
  });

  it('a call past the mesh, to the address of the pod, is refused', async () => {
    const { status } = await readyPod(NAMESPACE, 'app=server');
    expect(await call(`http://${status.podIP}:7000/`)).toMatch(/^(failed|503)/);
  });
});
