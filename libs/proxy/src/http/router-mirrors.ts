import type { CompiledRouteAction } from '@mizzen/matching';
import type { HttpStream } from './http-stream.ts';
import { Mirror } from './mirror.ts';

const NONE: readonly Mirror[] = [];

/**
 * Starts the copies of a request that the route asks for. Upgrades and CONNECT have none; a cluster that does not exist is passed over.
 * Source: envoy Filter::decodeHeaders, getShadowCluster (1.40).
 */
export function startMirrors(
  stream: HttpStream,
  action: CompiledRouteAction,
  options: { readonly timeoutMs: number; readonly isRequestDone: boolean },
): readonly Mirror[] {
  if (action.mirrors.length === 0) return NONE;
  const { info, runtime } = stream;
  if (info.head.upgrade !== '' || info.method === 'CONNECT') return NONE;
  const mirrors: Mirror[] = [];
  for (const mirror of action.mirrors) {
    if (mirror.ratio < 1 && runtime.context.random() >= mirror.ratio) continue;
    const name = mirror.clusterHeader === '' ? mirror.cluster : info.requestHeader(mirror.clusterHeader);
    const cluster = name === undefined ? undefined : runtime.context.cluster(name);
    if (cluster === undefined) continue;
    const copy = new Mirror(runtime, { cluster, info, appendsShadowSuffix: mirror.appendsShadowSuffix, timeoutMs: options.timeoutMs });
    mirrors.push(copy);
    copy.start(options.isRequestDone);
  }
  return mirrors;
}
