import type { CompiledRoute } from '@mizzen/matching';
import type { HttpStream } from './http-stream.ts';
import { streamDurationMs } from './router-timeouts.ts';

/** Puts a stream on its route: chooses the target, and notes what logs, metrics and deadlines take from both. */
export function takeRoute(stream: HttpStream, route: CompiledRoute): void {
  const { info, runtime, deadlines } = stream;
  stream.route = route;
  info.route = route;
  info.routeName = route.name;
  info.operation = route.decoratorOperation;
  info.virtualHostName = route.virtualHost.name;
  if (route.action.kind !== 'route') return;
  const { route: action } = route.action;
  const target = action.chooseTarget(info);
  stream.target = target;
  // Known from here on, so that what a filter answers in place of the upstream is logged and counted as the upstream's.
  const cluster = target === undefined ? undefined : runtime.context.cluster(target.cluster);
  info.upstreamCluster = cluster?.name ?? '';
  info.cluster = cluster;
  info.destinationService = cluster?.service;
  if (action.idleTimeoutMs !== undefined) deadlines.setIdleMs(action.idleTimeoutMs);
  const maxMs = streamDurationMs(info, action, runtime.config.maxStreamDurationMs);
  if (maxMs > 0) deadlines.armMaxDuration(maxMs);
}

/** Matches the route of a stream once more. */
export function routeAgain(stream: HttpStream): void {
  const { info } = stream;
  stream.route = undefined;
  stream.target = undefined;
  info.routeName = '';
  info.virtualHostName = '';
  info.upstreamCluster = '';
  info.cluster = undefined;
  info.route = undefined;
  info.destinationService = undefined;
  const route = stream.runtime.routeTable()?.match(info);
  if (route !== undefined) takeRoute(stream, route);
}

/** Whether the upgrade or CONNECT that a request asks for is allowed: by its route, else by the connection manager. */
export function mayUpgrade({ info, route, runtime }: HttpStream): boolean {
  if (route === undefined) return true;
  const type = info.method === 'CONNECT' ? 'connect' : info.head.upgrade;
  const ofRoute = route.action.kind === 'route' ? route.action.route.upgrades.get(type) : undefined;
  return ofRoute?.isEnabled ?? runtime.config.upgrades.get(type) ?? false;
}
