import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { createSelfSignedRoot } from '@mizzen/identity';
import { freePort } from '@mizzen/testing';
import { TYPE_URL } from '@mizzen/xds-api';
import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { type Agent, createAgent } from './agent.ts';
import type { AgentOptions } from './options.ts';
import { agentOptions, RecordingProxy, type ScriptedControlPlane, startScriptedControlPlane } from './testing.ts';

interface InboundMetadata {
  readonly port: number;
  readonly bind: string;
  readonly listenPort: number;
  readonly defaultEndpoint: string;
}

const inboundOf = (node: Node | undefined): InboundMetadata[] => node?.metadata?.['INBOUND'] as unknown as InboundMetadata[];
function listenersOf(node: Node): string[] {
  const httpProxyPort = node.metadata?.['HTTP_PROXY_PORT'];
  const inbound = (inboundOf(node) ?? []).map(({ bind, listenPort }) => `${bind}_${listenPort}`);
  return typeof httpProxyPort === 'string' ? [...inbound, `127.0.0.1_${httpProxyPort}`] : inbound;
}

describe('an agent', () => {
  const closers: (() => unknown)[] = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  async function controlPlane(listenersFor: (node: Node) => readonly string[] = listenersOf): Promise<ScriptedControlPlane> {
    const server = await startScriptedControlPlane(listenersFor);
    closers.push(() => server.close());
    return server;
  }

  function newAgent(proxy: RecordingProxy, options: Partial<AgentOptions> & { xdsAddress: string }): Agent {
    const createProxy: AgentOptions['createProxy'] = ({ bootstrap }) => {
      proxy.bootstrap = bootstrap;
      return proxy;
    };
    const agent = createAgent(agentOptions({ createProxy, ...options }));
    closers.push(() => agent.close());
    return agent;
  }

  async function program(): Promise<{ endpoint: string; server: Server }> {
    const server = createServer((socket) => socket.end());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(() => new Promise((resolve) => server.close(resolve)));
    return { endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`, server };
  }

  const workload = { ...agentOptions({ createProxy: () => new RecordingProxy(), xdsAddress: '' }).workload, workloadGroup: 'reviews-v1' };

  it('announces the ports it holds and is ready once the listeners are in force', async () => {
    const { address, nodes } = await controlPlane();
    const { endpoint } = await program();
    const proxy = new RecordingProxy();
    const agent = newAgent(proxy, { xdsAddress: address, inbound: [{ port: 9080, endpoint }], httpProxyPort: 0, workload });
    const ports = await agent.start();

    const { metadata } = nodes.value[0] as Node;
    expect(inboundOf(nodes.value[0])).toEqual([
      { port: 9080, bind: '127.0.0.1', listenPort: ports.inbound?.['9080'], defaultEndpoint: endpoint },
    ]);
    expect(metadata).toMatchObject({
      NAMESPACE: 'default',
      SERVICE_ACCOUNT: 'reviews',
      AUTO_REGISTER_GROUP: 'reviews-v1',
      HTTP_PROXY_PORT: String(ports.httpProxy),
      ADMIN_ADDRESS: `127.0.0.1:${ports.admin}`,
      STATUS_PORT: String(ports.status),
    });
    expect(proxy.bootstrap?.node?.id).toBe('sidecar~127.0.0.1~reviews-v1-1.default~default.svc.cluster.local');
    const ready = await fetch(`http://127.0.0.1:${ports.status}/healthz/ready`);
    expect([ready.status, await ready.text()]).toEqual([200, 'ready\n']);
  });

  it('serves a program that asks other services before it listens, and registers it only then', async () => {
    const { address, nodes } = await controlPlane();
    const port = await freePort();
    const endpoint = `127.0.0.1:${port}`;
    const proxy = new RecordingProxy();
    const agent = newAgent(proxy, { xdsAddress: address, inbound: [{ port: 9080, endpoint }], httpProxyPort: 0, workload });
    const started = agent.start();
    // The proxy has its listeners, that of the program's outgoing requests among them.
    await proxy.ready.until((isReady) => isReady);
    const [asking] = nodes.value;
    const names = proxy.updates.flatMap(({ upserts }) => upserts.map(({ name }) => name));
    expect(names).toContain(`127.0.0.1_${String(asking?.metadata?.['HTTP_PROXY_PORT'])}`);
    expect(asking?.metadata).not.toHaveProperty('AUTO_REGISTER_GROUP');
    const status = `http://127.0.0.1:${String(asking?.metadata?.['STATUS_PORT'])}/healthz/ready`;
    expect((await fetch(status)).status).toBe(503);

    const server = createServer((socket) => socket.end()).listen(port, '127.0.0.1');
    closers.push(() => new Promise((resolve) => server.close(resolve)));
    await started;
    expect(nodes.value).toHaveLength(2);
    expect(nodes.value[1]?.metadata).toEqual({ ...asking?.metadata, AUTO_REGISTER_GROUP: 'reviews-v1' });
    expect(proxy.events).toEqual(['start']);
    expect((await fetch(status)).status).toBe(200);
  });

  it('gives up, and leaves nothing open, when its program never listens', async () => {
    const { address, nodes } = await controlPlane();
    const { endpoint, server } = await program();
    await new Promise((resolve) => server.close(resolve));
    const proxy = new RecordingProxy();
    const agent = newAgent(proxy, { xdsAddress: address, inbound: [{ port: 9080, endpoint }], workload, appReadyTimeoutMs: 1500 });
    await expect(agent.start()).rejects.toThrow(`the program does not listen on ${endpoint} after 1.5s`);
    expect(proxy.events).toEqual(['start', 'close']);
    expect(nodes.value.map(({ metadata }) => metadata?.['AUTO_REGISTER_GROUP'])).toEqual([undefined]);
  });

  it('announces another port when somebody takes one in the moment it is let go', async () => {
    const { address, nodes } = await controlPlane();
    const proxy = new RecordingProxy();
    let refused = '';
    proxy.reject = (update) => {
      const name = update.typeUrl === TYPE_URL.listener ? (update.upserts[0]?.name ?? '') : '';
      if (refused !== '' || name === '') return [];
      refused = name;
      return [{ name, reason: `cannot bind ${name}: address already in use` }];
    };
    const { endpoint } = await program();
    const ports = await newAgent(proxy, { xdsAddress: address, inbound: [{ port: 9080, endpoint }] }).start();
    expect(nodes.value).toHaveLength(2);
    const [first, second] = nodes.value.map((node) => inboundOf(node)[0]?.listenPort);
    expect(refused).toBe(`127.0.0.1_${first}`);
    expect(second).not.toBe(first);
    expect(ports.inbound).toEqual({ '9080': second });
  });

  it('is not ready while the listener of a port that it announced is refused, and says why', async () => {
    const { address } = await controlPlane();
    const { endpoint } = await program();
    const proxy = new RecordingProxy();
    let reject: (name: string) => void = () => undefined;
    const refused = new Promise<string>((resolve) => {
      reject = resolve;
    });
    proxy.reject = (update) => {
      const { name = '' } = update.upserts[0] ?? {};
      proxy.ready.set(true);
      reject(name);
      return [{ name, reason: 'filter_chains: a listener needs a filter chain' }];
    };
    const agent = newAgent(proxy, { xdsAddress: address, inbound: [{ port: 9080, endpoint }] });
    const started = expect(agent.start()).rejects.toThrow();
    const name = await refused;
    const ready = await fetch(`http://127.0.0.1:${String(proxy.bootstrap?.node?.metadata?.['STATUS_PORT'])}/healthz/ready`);
    expect([ready.status, await ready.text()]).toEqual([
      503,
      `starting: the listener ${name} was refused: filter_chains: a listener needs a filter chain\n`,
    ]);
    await agent.close();
    await started;
  });

  it('leaves the mesh first, then waits for inbound connections to drain, then closes', async () => {
    const { address, gracefulEnds } = await controlPlane();
    const proxy = new RecordingProxy();
    let finish: () => void = () => undefined;
    proxy.drained = new Promise((resolve) => {
      finish = resolve;
    });
    let endsBeforeDrain = -1;
    const drain = proxy.drain.bind(proxy);
    const drainCalled = new Promise<void>((resolve) => {
      proxy.drain = (options) => {
        endsBeforeDrain = gracefulEnds.value;
        resolve();
        return drain(options);
      };
    });
    const agent = newAgent(proxy, { xdsAddress: address, terminationDrainDurationMs: 60_000 });
    await agent.start();
    const closed = agent.close();
    await drainCalled;
    expect(endsBeforeDrain).toBe(1);
    expect(proxy.events).toEqual(['start', 'drain inbound']);
    finish();
    await closed;
    expect(proxy.events).toEqual(['start', 'drain inbound', 'close']);
  });

  it('is not ready any more as soon as it leaves', async () => {
    const { address, gracefulEnds } = await controlPlane();
    const proxy = new RecordingProxy();
    const { promise: drained, resolve: finish } = Promise.withResolvers<void>();
    proxy.drained = drained;
    const agent = newAgent(proxy, { xdsAddress: address, terminationDrainDurationMs: 60_000 });
    const { status } = await agent.start();
    const closed = agent.close();
    await gracefulEnds.until((ends) => ends === 1);
    const ready = await fetch(`http://127.0.0.1:${status}/healthz/ready`);
    expect([ready.status, await ready.text()]).toEqual([503, 'draining\n']);
    finish();
    await closed;
  });

  it('does not wait for a request that never ends longer than it was told to', async () => {
    const { address } = await controlPlane();
    const proxy = new RecordingProxy();
    proxy.drained = new Promise(() => undefined);
    const agent = newAgent(proxy, { xdsAddress: address, terminationDrainDurationMs: 50 });
    await agent.start();
    await agent.close();
    expect(proxy.events).toEqual(['start', 'drain inbound', 'close']);
  });

  it('gives the secrets that lie in files and follows which are wanted', async () => {
    const { address } = await controlPlane();
    const folder = await mkdtemp(join(tmpdir(), 'mizzen-agent-'));
    closers.push(() => rm(folder, { recursive: true, force: true }));
    const { certificatePem } = await createSelfSignedRoot({ trustDomain: 'example', now: Date.now() });
    const file = join(folder, 'ca.crt');
    await writeFile(file, certificatePem);
    const proxy = new RecordingProxy();
    await newAgent(proxy, { xdsAddress: address }).start();
    const given = new Promise((resolve) => {
      proxy.setSecret = (name) => resolve(name);
    });
    proxy.want({ typeUrl: TYPE_URL.secret, names: new Set(['default', `file-root:${file}`]) });
    expect(await given).toBe(`file-root:${file}`);
  });

  it('drains everything at a gateway, and announces how its ports are mapped', async () => {
    const { address, nodes } = await controlPlane();
    const proxy = new RecordingProxy();
    const agent = newAgent(proxy, { xdsAddress: address, proxyType: 'router', portMap: new Map([[80, 8080]]) });
    expect(await agent.start()).toMatchObject({ portMap: { '80': 8080 } });
    expect(nodes.value[0]?.id).toMatch(/^router~/);
    expect(nodes.value[0]?.metadata).toMatchObject({ PORT_MAP: { '80': 8080 } });
    await agent.close();
    expect(proxy.events).toEqual(['start', 'drain', 'close']);
  });

  it('says which port is in use', async () => {
    const { address } = await controlPlane();
    const { endpoint } = await program();
    const agent = newAgent(new RecordingProxy(), { xdsAddress: address, httpProxyPort: Number(endpoint.split(':')[1]) });
    await expect(agent.start()).rejects.toThrow(`the HTTP proxy port cannot listen on ${endpoint}: the port is in use`);
  });

  it('passes on what its own port is asked to do', async () => {
    const { address } = await controlPlane();
    const proxy = new RecordingProxy();
    let quits = 0;
    // Callers are given time to learn of it before connections are asked to end.
    const drained = new Promise<void>((resolve) => {
      const drain = proxy.drain.bind(proxy);
      proxy.drain = (how) => drain(how).then(resolve);
    });
    const { status } = await newAgent(proxy, { xdsAddress: address, onQuit: () => void quits++ }).start();
    const url = `http://127.0.0.1:${status}`;
    expect((await fetch(`${url}/quitquitquit`)).status).toBe(405);
    expect(quits).toBe(0);
    expect((await fetch(`${url}/quitquitquit`, { method: 'POST' })).status).toBe(200);
    expect((await fetch(`${url}/drain`, { method: 'POST' })).status).toBe(200);
    expect((await fetch(`${url}/nothing`)).status).toBe(404);
    expect(quits).toBe(1);
    await drained;
    expect(proxy.events).toContain('drain inbound');
    const metrics = await (await fetch(`${url}/stats/prometheus`)).text();
    expect(metrics).toMatch(/^istio_agent_startup_duration_seconds \d+(\.\d+)?$/m);
    // The recording proxy has no admin port: the agent's own metrics come all the same.
    expect(metrics).toMatch(/^istio_agent_scrape_failures_total\{type="envoy"\} 1$/m);
  });

  it('stays ready and comes back when the control plane goes away', async () => {
    const first = await startScriptedControlPlane(listenersOf);
    const proxy = new RecordingProxy();
    const { status } = await newAgent(proxy, { xdsAddress: first.address }).start();
    first.close();
    const url = `http://127.0.0.1:${status}`;
    while (!/^istio_agent_istiod_connection_terminations 1$/m.test(await (await fetch(`${url}/metrics`)).text()));
    expect((await fetch(`${url}/healthz/ready`)).status).toBe(200);
  });
});
