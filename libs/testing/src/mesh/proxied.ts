import { type Agent, type AgentOptions, type AgentPorts, createAgent } from '@mizzen/agent';
import { type Logger, type Running, systemClock, type Watchable } from '@mizzen/core';
import { createProxy, type Proxy as DataPlane } from '@mizzen/proxy';
import type { XdsSubscription } from '@mizzen/xds-api';
import type { MeshIdentity } from './identity.ts';
import { Recorder } from './recorder.ts';
import { type SettlingProxy, watchSubscriptions } from './settled.ts';

/** What every agent of a mesh is started with. */
export interface MeshContext {
  readonly trustDomain: string;
  readonly identity: MeshIdentity | undefined;
  readonly xdsAddress: string;
  readonly telemetryAddress: string | undefined;
  readonly logger: Logger;
}

/** An agent with its proxy, in this process. */
export interface Proxied extends Running, SettlingProxy {
  readonly proxy: DataPlane;
  readonly ports: AgentPorts;
  readonly accessLog: Recorder<string>;
}

export type ProxiedOptions = Pick<AgentOptions, 'proxyType' | 'workload' | 'inbound' | 'httpProxyPort' | 'portMap'>;

/** Starts an agent and its proxy; resolves once the proxy serves its first configuration. */
export async function startProxied(options: ProxiedOptions, context: MeshContext): Promise<Proxied> {
  const { workload, proxyType } = options;
  const { identity, logger, trustDomain, xdsAddress, telemetryAddress } = context;
  const accessLog = new Recorder<string>(`access log line of ${workload.instance}`);
  let made: { proxy: DataPlane; subscriptions: Watchable<ReadonlyMap<string, XdsSubscription>> } | undefined;
  const agent: Agent = createAgent({
    ...options,
    trustDomain,
    xdsAddress,
    telemetryAddress,
    identity: identity && {
      caAddress: identity.caAddress,
      caRootFile: identity.rootFile,
      joinToken: () => identity.joinToken(workload),
    },
    adminPort: 0,
    statusPort: 0,
    appReadyTimeoutMs: 10_000,
    drainDelayMs: 0,
    terminationDrainDurationMs: 500,
    onQuit: () => undefined,
    createProxy: (proxyOptions) => {
      const proxy = createProxy({ ...proxyOptions, drainTimeMs: 500, accessLogStdout: { write: (line) => accessLog.add(line) } });
      made = { proxy, subscriptions: watchSubscriptions(proxy) };
      return proxy;
    },
    clock: systemClock,
    random: Math.random,
    logger,
  });
  const ports = await agent.start();
  if (!made) throw new Error('the agent has started without a proxy');
  const { namespace, instance } = workload;
  return {
    ...made,
    ports,
    accessLog,
    nodeId: `${proxyType}~127.0.0.1~${instance}.${namespace}~${namespace}.svc.cluster.local`,
    close: () => agent.close(),
  };
}
