import type { CloseStack, Running } from '@mizzen/core';
import { serveHttp } from '@mizzen/telemetry';
import type { AgentMetrics } from './agent-metrics.ts';
import { AppProber } from './app-prober.ts';
import { sourceAddressOf } from './interception.ts';
import { MergedMetrics } from './merged-metrics.ts';
import { type AgentOptions, DEFAULT_HOST } from './options.ts';
import { type PortReservation, reservePort } from './port-reservation.ts';
import { serveReadiness, serveStatus } from './status-server.ts';

/** The ports that are the agent's own, and the proxy's admin port, which is held until the proxy starts. */
export interface OwnPorts {
  readonly admin: PortReservation;
  readonly status: number;
  readonly readiness?: number;
  readonly metrics?: number;
}

/** What stands behind them. */
export interface OwnPortHooks {
  readonly metrics: AgentMetrics;
  readonly notReadyReason: () => string | undefined;
  readonly nameTable: () => string | undefined;
  readonly onDrain: () => void;
}

/** Opens them; whatever was opened is closed with `stack`. Throws MIZZEN_PORT_IN_USE or MIZZEN_ADDRESS. */
export async function openOwnPorts(options: AgentOptions, hooks: OwnPortHooks, stack: CloseStack): Promise<OwnPorts> {
  const { pod, logger } = options;
  // The admin port can end the process: it is for this machine, or this pod, only.
  const loopback = pod === undefined ? (options.host ?? DEFAULT_HOST) : DEFAULT_HOST;
  const admin = await reservePort({ host: loopback, port: options.adminPort, what: 'the admin port' });
  stack.defer(() => admin.release());
  const host = pod === undefined ? loopback : undefined;
  const metrics = new MergedMetrics({ admin, metrics: hooks.metrics, app: pod?.prometheus });
  const prober = new AppProber({
    probes: pod?.appProbes ?? new Map(),
    address: pod?.addresses[0] ?? loopback,
    sourceAddress: sourceAddressOf(pod),
    logger,
  });
  const open = async (starting: Promise<Running & { port: number }>): Promise<number> => stack.use(await starting).port;
  const { notReadyReason, nameTable, onDrain } = hooks;
  const status = await open(
    serveStatus({ host, port: options.statusPort, notReadyReason, metrics, prober, nameTable, onDrain, onQuit: options.onQuit }),
  );
  if (pod === undefined) return { admin, status };
  const answer = (request: Parameters<MergedMetrics['collectProxy']>[0]): ReturnType<MergedMetrics['collectProxy']> =>
    metrics.collectProxy(request);
  return {
    admin,
    status,
    readiness: await open(serveReadiness({ host, port: pod.readinessPort, notReadyReason })),
    metrics: await open(serveHttp({ host, port: pod.metricsPort, what: 'the metrics port', answer })),
  };
}
