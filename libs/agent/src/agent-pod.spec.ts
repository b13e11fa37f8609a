import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { freePort } from '@mizzen/testing';
import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { type NameTable, NameTableSchema } from '@mizzen/xds-api/istio/networking/nds/v1/nds';
import { type Agent, createAgent } from './agent.ts';
import type { AgentOptions, PodOptions } from './options.ts';
import { agentOptions, RecordingProxy, type ScriptedControlPlane, startScriptedControlPlane } from './testing.ts';

const TABLE = create(NameTableSchema, {
  table: {
    'ratings.default.svc.cluster.local': { ips: ['10.96.0.9'], registry: 'Kubernetes', shortname: 'ratings', namespace: 'default' },
  },
});

const POD: PodOptions = {
  addresses: ['127.0.0.1', 'fd00::7'],
  interceptionMode: 'REDIRECT',
  clusterId: undefined,
  nodeName: 'node-1',
  owner: 'kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1',
  ports: [{ name: 'http', containerPort: 9080, protocol: 'TCP' }],
  readinessPort: 0,
  metricsPort: 0,
  dns: undefined,
  appProbes: new Map(),
  prometheus: undefined,
  outlivesProgram: false,
};
const VIRTUAL = (): string[] => ['virtualOutbound', 'virtualInbound'];

describe('the agent of a captured pod', () => {
  const closers: (() => unknown)[] = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  async function controlPlane(
    listenersFor: (node: Node) => readonly string[] = VIRTUAL,
    names?: Promise<NameTable>,
  ): Promise<ScriptedControlPlane> {
    const server = await startScriptedControlPlane(listenersFor, names);
    closers.push(() => server.close());
    return server;
  }

  function newAgent(proxy: RecordingProxy, options: Partial<AgentOptions> & Pick<AgentOptions, 'xdsAddress' | 'pod'>): Agent {
    const createProxy: AgentOptions['createProxy'] = ({ bootstrap }) => {
      proxy.bootstrap = bootstrap;
      return proxy;
    };
    const agent = createAgent(agentOptions({ createProxy, ...options }));
    closers.push(() => agent.close());
    return agent;
  }

  it('says where it is and how it is captured, and opens the ports of a pod', async () => {
    const { address, nodes } = await controlPlane();
    const ports = await newAgent(new RecordingProxy(), { xdsAddress: address, pod: POD }).start();
    const [node] = nodes.value;
    expect(node?.id).toBe('sidecar~127.0.0.1~reviews-v1-1.default~default.svc.cluster.local');
    expect(node?.metadata).toMatchObject({
      INTERCEPTION_MODE: 'REDIRECT',
      INSTANCE_IPS: '127.0.0.1,fd00::7',
      POD_PORTS: '[{"name":"http","containerPort":9080,"protocol":"TCP"}]',
      CLUSTER_ID: 'Kubernetes',
      NODE_NAME: 'node-1',
      OWNER: POD.owner,
      LABELS: { app: 'reviews', version: 'v1', 'security.istio.io/tlsMode': 'disabled' },
    });
    for (const absent of ['INBOUND', 'HTTP_PROXY_PORT', 'DNS_CAPTURE']) expect(node?.metadata).not.toHaveProperty(absent);
    expect((await fetch(`http://127.0.0.1:${ports.readiness}/healthz/ready`)).status).toBe(200);
    // The recording proxy has no admin port.
    expect((await fetch(`http://127.0.0.1:${ports.metrics}/stats/prometheus`)).status).toBe(500);
  });

  it('is ready only with both virtual listeners and the name table, and serves DNS from then on', async () => {
    let give: (table: NameTable) => void = () => undefined;
    const names = new Promise<NameTable>((resolve) => {
      give = resolve;
    });
    const { address } = await controlPlane(VIRTUAL, names);
    const folder = await mkdtemp(join(tmpdir(), 'mizzen-agent-'));
    closers.push(() => rm(folder, { recursive: true, force: true }));
    const resolvConfFile = join(folder, 'resolv.conf');
    writeFileSync(resolvConfFile, 'nameserver 127.0.0.1\n');
    const proxy = new RecordingProxy();
    const pod = { ...POD, dns: { port: 0, resolvConfFile } };
    const started = newAgent(proxy, { xdsAddress: address, pod }).start();
    await proxy.ready.until((isReady) => isReady);
    const metadata = proxy.bootstrap?.node?.metadata;
    expect(metadata).toMatchObject({ DNS_CAPTURE: 'true' });
    const status = `http://127.0.0.1:${String(metadata?.['STATUS_PORT'])}`;
    const ready = await fetch(`${status}/healthz/ready`);
    expect([ready.status, await ready.text()]).toEqual([503, 'starting: the control plane has sent no name table yet\n']);
    expect((await fetch(`${status}/debug/ndsz`)).status).toBe(404);

    give(TABLE);
    const ports = await started;
    expect(ports.dns).toBeGreaterThan(0);
    expect((await fetch(`${status}/healthz/ready`)).status).toBe(200);
    expect(await (await fetch(`${status}/debug/ndsz`)).json()).toMatchObject({
      table: { 'ratings.default.svc.cluster.local': { ips: ['10.96.0.9'] } },
    });
  });

  it('says which virtual listener is missing', async () => {
    const { address } = await controlPlane(() => ['virtualOutbound']);
    const proxy = new RecordingProxy();
    const agent = newAgent(proxy, { xdsAddress: address, pod: POD });
    const started = expect(agent.start()).rejects.toThrow();
    await proxy.ready.until((isReady) => isReady);
    const ready = await fetch(`http://127.0.0.1:${String(proxy.bootstrap?.node?.metadata?.['STATUS_PORT'])}/healthz/ready`);
    expect(await ready.text()).toBe('starting: the control plane has sent no listener virtualInbound yet\n');
    await agent.close();
    await started;
  });

  it('is registered once the ports of its program accept, where it joins a WorkloadGroup', async () => {
    const { address, nodes } = await controlPlane();
    const sources: (string | undefined)[] = [];
    const server = createServer((socket) => {
      sources.push(socket.remoteAddress);
      socket.end();
    });
    const port = await freePort();
    const { workload } = agentOptions({ createProxy: () => new RecordingProxy(), xdsAddress: '' });
    const pod = {
      ...POD,
      ports: [
        { containerPort: port, protocol: 'TCP' },
        { containerPort: 1, protocol: 'UDP' },
      ],
    };
    const started = newAgent(new RecordingProxy(), {
      xdsAddress: address,
      pod,
      workload: { ...workload, workloadGroup: 'reviews-v1' },
    }).start();
    await nodes.until((all) => all.length === 1);
    expect(nodes.value[0]?.metadata).not.toHaveProperty('AUTO_REGISTER_GROUP');
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    closers.push(() => new Promise((resolve) => server.close(resolve)));
    await started;
    expect(nodes.value.map(({ metadata }) => metadata?.['AUTO_REGISTER_GROUP'])).toEqual([undefined, 'reviews-v1']);
    expect(new Set(sources)).toEqual(new Set([process.platform === 'linux' ? '127.0.0.6' : '127.0.0.1']));
  });

  it('listens for others where they reach it, and for its program on the loopback address, where nothing is captured', async () => {
    const { address, nodes } = await controlPlane(({ metadata }) => {
      const inbound = metadata?.['INBOUND'] as unknown as { bind: string; listenPort: number }[];
      return [...inbound.map(({ bind, listenPort }) => `${bind}_${listenPort}`), `127.0.0.1_${String(metadata?.['HTTP_PROXY_PORT'])}`];
    });
    const elsewhere = process.platform === 'linux' ? '127.0.0.9' : '127.0.0.1';
    const ports = await newAgent(new RecordingProxy(), {
      xdsAddress: address,
      pod: { ...POD, addresses: [elsewhere], interceptionMode: 'NONE' },
      inbound: [{ port: 9080, endpoint: '127.0.0.1:5000' }],
      httpProxyPort: 0,
    }).start();
    expect(nodes.value[0]?.metadata).toMatchObject({
      INTERCEPTION_MODE: 'NONE',
      INSTANCE_IPS: elsewhere,
      INBOUND: [{ port: 9080, bind: elsewhere, listenPort: ports.inbound?.['9080'], defaultEndpoint: '127.0.0.1:5000' }],
      HTTP_PROXY_PORT: String(ports.httpProxy),
      ADMIN_ADDRESS: `127.0.0.1:${ports.admin}`,
    });
  });

  it('drains when it is told that the pod goes, and keeps its configuration until it ends', async () => {
    const { address, gracefulEnds } = await controlPlane();
    const proxy = new RecordingProxy();
    let endsAtClose = -1;
    const close = proxy.close.bind(proxy);
    const agent = newAgent(proxy, { xdsAddress: address, pod: POD, terminationDrainDurationMs: 100 });
    const ports = await agent.start();
    const status = `http://127.0.0.1:${ports.status}`;
    const drained = new Promise<void>((resolve) => {
      const drain = proxy.drain.bind(proxy);
      proxy.drain = (options) => {
        endsAtClose = gracefulEnds.value;
        resolve();
        return drain(options);
      };
    });
    const startedAt = performance.now();
    expect((await fetch(`${status}/drain`, { method: 'POST' })).status).toBe(200);
    expect(await (await fetch(`${status}/healthz/ready`)).text()).toBe('draining\n');
    await drained;
    proxy.close = close;
    await agent.close();
    // Nothing is left of it, and yet the program may call others for as long as it was promised.
    expect(performance.now() - startedAt).toBeGreaterThan(95);
    expect(endsAtClose).toBe(0);
    expect(proxy.events).toEqual(['start', 'drain inbound', 'close']);
  });

  it('does not stay longer than its connections where its program ended before', async () => {
    const { address } = await controlPlane();
    const proxy = new RecordingProxy();
    const agent = newAgent(proxy, { xdsAddress: address, pod: { ...POD, outlivesProgram: true }, terminationDrainDurationMs: 3_600_000 });
    await agent.start();
    await agent.close();
    expect(proxy.events).toEqual(['start', 'drain inbound', 'close']);
  });

  it('goes with the last connection where it is told to, without a limit', async () => {
    const { address } = await controlPlane();
    const proxy = new RecordingProxy();
    let finish: () => void = () => undefined;
    proxy.drained = new Promise((resolve) => {
      finish = resolve;
    });
    const agent = newAgent(proxy, { xdsAddress: address, pod: { ...POD, minimumDrainMs: 0 }, terminationDrainDurationMs: 10 });
    await agent.start();
    let isClosed = false;
    const closed = agent.close().then(() => {
      isClosed = true;
    });
    await new Promise<void>((resolve) => {
      const drain = proxy.drain.bind(proxy);
      proxy.drain = (options) => {
        resolve();
        return drain(options);
      };
    });
    const { promise: later, resolve: pass } = Promise.withResolvers<void>();
    agentOptions({ createProxy: () => proxy, xdsAddress: '' }).clock.after(60, pass);
    await later;
    expect(isClosed).toBe(false);
    finish();
    await closed;
    expect(proxy.events).toEqual(['start', 'drain inbound', 'drain', 'close']);
  });
});
