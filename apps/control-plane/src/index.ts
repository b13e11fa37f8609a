import { hostname } from 'node:os';
import { type App, CloseStack, type Logger, type Running, systemClock } from '@mizzen/core';
import { muteGrpcLog } from '@mizzen/xds-server';
import manifest from '../package.json' with { type: 'json' };
import { type ControlPlane, createControlPlane } from './control-plane.ts';
import { type ControlPlaneIdentity, startIdentity } from './identity.ts';
import { createClusterSide } from './kubernetes/cluster.ts';
import { type ControlPlaneSettings, controlPlaneSettings } from './settings.ts';
import { startSources } from './sources.ts';

export { type ControlPlane, type ControlPlaneOptions, createControlPlane } from './control-plane.ts';
export type { PipelineSources } from './pipeline.ts';
export { type ControlPlaneSettings, controlPlaneSettings } from './settings.ts';

export interface ControlPlanePorts {
  readonly xds: number;
  readonly xdsMtls?: number;
  readonly debug: number;
}

/** A control plane that listens. */
export interface RunningControlPlane extends Running {
  readonly ports: ControlPlanePorts;
  readonly controlPlane: ControlPlane;
  /** The certificate behind the port with mutual TLS, as it rotates; absent without a CA. */
  readonly identity?: ControlPlaneIdentity['tls'];
}

/** Sources → identity → control plane → controllers on Kubernetes → ports. */
export async function startControlPlane(settings: ControlPlaneSettings, logger: Logger): Promise<RunningControlPlane> {
  const clock = systemClock;
  const stack = new CloseStack();
  try {
    const { sources, kubernetes } = stack.use(await startSources(settings, { clock, logger }));
    const { trustDomain, rootNamespace } = sources.mesh.value.mesh;
    const identity =
      settings.caAddress === undefined ? undefined : stack.use(startIdentity(settings, { trustDomain, rootNamespace, clock, logger }));
    const cluster =
      kubernetes &&
      createClusterSide({
        client: kubernetes.client,
        ingressStatuses: kubernetes.ingressStatuses,
        namespace: rootNamespace ?? settings.podNamespace,
        podName: settings.podName ?? hostname(),
        debugPort: settings.debugPort,
        disconnectGraceMs: settings.disconnectGrace,
        clock,
        random: Math.random,
        logger,
      });
    const controlPlane = stack.use(
      createControlPlane({
        ...cluster?.options,
        sources,
        clock,
        logger,
        version: manifest.version,
        hasIdentity: identity !== undefined,
        notReady: () => (identity && identity.tls.value === undefined ? 'the CA has not certified this control plane yet' : undefined),
        debounceQuietMs: settings.debounceQuiet,
        debounceMaxMs: settings.debounceMax,
        disconnectGraceMs: settings.disconnectGrace,
        registrationSettleMs: settings.registrationSettle,
        staleAfterMs: settings.staleAfter,
      }),
    );
    controlPlane.start(identity && { reachable: identity.tls.until((tls) => tls !== undefined) });
    if (cluster) stack.use(cluster.start(controlPlane));
    // A pod is reached from outside of it, by whoever the network lets through; on a host only its own processes are meant.
    const host = settings.kubernetes ? '0.0.0.0' : '127.0.0.1';
    const debug = await controlPlane.listenDebug({ host: settings.debugHost ?? host, port: settings.debugPort });
    const xds = await controlPlane.listenXds({ host: settings.xdsHost, port: settings.xdsPort });
    const xdsMtls =
      identity &&
      (await controlPlane.listenXds({ host: settings.xdsMtlsHost ?? host, port: settings.xdsMtlsPort, credentials: identity.credentials }));
    return {
      controlPlane,
      ...(identity && { identity: identity.tls }),
      ports: { xds, ...(xdsMtls !== undefined && { xdsMtls }), debug },
      close: () => stack.close(),
    };
  } catch (thrown) {
    await stack.close();
    throw thrown;
  }
}

export const controlPlaneApp: App<typeof controlPlaneSettings> = {
  name: 'control-plane',
  summary: 'Reads Istio configuration from a directory or a Kubernetes cluster and serves it to proxies by xDS.',
  schema: controlPlaneSettings,
  async start({ settings, logger }) {
    // grpc-js prints text to standard error, where only JSON lines belong; every error that it prints is also thrown.
    muteGrpcLog();
    const running = await startControlPlane(settings, logger);
    process.stdout.write(`${JSON.stringify({ ready: true, app: 'control-plane', ports: running.ports })}\n`);
    return running;
  },
};
