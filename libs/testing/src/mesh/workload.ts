import { connect, type Socket } from 'node:net';
import { CloseStack, type Running } from '@mizzen/core';
import { type Echo, type EchoApp, startEchoApp } from './echo-app.ts';
import { type Answer, openTunnel, type ProxiedRequest, requestThroughProxy } from './http-client.ts';
import { type MeshContext, type Proxied, startProxied } from './proxied.ts';
import type { Recorder } from './recorder.ts';
import type { WorkloadPlan } from './service-resources.ts';

/** A program with its sidecar, as tests see it. */
export interface Workload {
  readonly name: string;
  /** What its program received. */
  readonly requests: Recorder<Echo>;
  /** TCP connections that its program took. */
  readonly connections: () => number;
  readonly accessLog: Recorder<string>;
  /** Port of its sidecar's HTTP proxy. */
  readonly httpProxyPort: number;
  /** Port of its sidecar's inbound listener: what other proxies connect to. */
  readonly inboundPort: number;
  readonly adminPort: number;
  /** The sidecar's metrics, as Prometheus would read them. */
  metrics(): string;
  /** As its program would call out, by its HTTP proxy. */
  call(request: ProxiedRequest): Promise<Answer>;
  /** A CONNECT tunnel as its program would open one. */
  tunnel(authority: string): Promise<Socket>;
  /** A connection to one of its sidecar's listeners, plain. */
  connect(port: number): Socket;
}

export interface RunningWorkload extends Running {
  readonly workload: Workload;
  readonly proxied: Proxied;
}

/** Starts program, agent and proxy of a plan. */
export async function startWorkload(plan: WorkloadPlan, context: MeshContext): Promise<RunningWorkload> {
  const stack = new CloseStack();
  try {
    const app = stack.use(await startEchoApp(plan.name, plan.options));
    const { name, service, version, namespace, serviceAccount, port } = plan;
    const proxied = stack.use(
      await startProxied(
        {
          proxyType: 'sidecar',
          workload: { namespace, serviceAccount, name, instance: name, labels: { app: service, version }, workloadGroup: name },
          inbound: [{ port, endpoint: `127.0.0.1:${app.port}` }],
          httpProxyPort: 0,
          portMap: new Map(),
        },
        context,
      ),
    );
    return { workload: describeWorkload(plan, app, proxied), proxied, close: () => stack.close() };
  } catch (thrown) {
    await stack.close();
    throw thrown;
  }
}

function describeWorkload({ name, port }: WorkloadPlan, app: EchoApp, { ports, accessLog, proxy }: Proxied): Workload {
  const httpProxyPort = ports.httpProxy ?? 0;
  return {
    name,
    requests: app.requests,
    connections: app.connections,
    accessLog,
    httpProxyPort,
    inboundPort: ports.inbound?.[port] ?? 0,
    adminPort: ports.admin,
    metrics: () => proxy.registry.renderPrometheus(),
    call: (request) => requestThroughProxy(httpProxyPort, request),
    tunnel: (authority) => openTunnel(httpProxyPort, authority),
    connect: (listenerPort) => connect({ port: listenerPort, host: '127.0.0.1', allowHalfOpen: true }),
  };
}
