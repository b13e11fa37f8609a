import { type App, CloseStack, type Logger, type Running, systemClock } from '@mizzen/core';
import { muteGrpcLog } from '@mizzen/xds-server';
import manifest from '../package.json' with { type: 'json' };
import { type ControlPlane, createControlPlane } from './control-plane.ts';
import { type ControlPlaneIdentity, startIdentity } from './identity.ts';
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

/** Sources → control plane → identity → ports. */
export async function startControlPlane(settings: ControlPlaneSettings, logger: Logger): Promise<RunningControlPlane> {
  const clock = systemClock;
  const stack = new CloseStack();
  try {
    const { sources } = stack.use(await startSources(settings, { clock, logger }));
    const { trustDomain, rootNamespace } = sources.mesh.value.mesh;
    const identity =
      settings.caAddress === undefined ? undefined : stack.use(startIdentity(settings, { trustDomain, rootNamespace, clock, logger }));
    const controlPlane = stack.use(
      createControlPlane({
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
    const debug = await controlPlane.listenDebug({ host: settings.debugHost, port: settings.debugPort });
    const xds = await controlPlane.listenXds({ host: settings.xdsHost, port: settings.xdsPort });
    const xdsMtls =
      identity &&
      (await controlPlane.listenXds({ host: settings.xdsMtlsHost, port: settings.xdsMtlsPort, credentials: identity.credentials }));
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
  summary: 'Reads Istio configuration from a directory and serves it to proxies by xDS.',
  schema: controlPlaneSettings,
  async start({ settings, logger }) {
    // grpc-js prints text to standard error, where only JSON lines belong; every error that it prints is also thrown.
    muteGrpcLog();
    const running = await startControlPlane(settings, logger);
    process.stdout.write(`${JSON.stringify({ ready: true, app: 'control-plane', ports: running.ports })}\n`);
    return running;
  },
};
