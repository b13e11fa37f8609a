import type { UpstreamCluster } from '../contract.ts';
import type { HttpStream } from './http-stream.ts';
import { clusterNotFound, dropOverload, type LocalReply } from './local-reply.ts';
import { refuseByHeaders } from './router-config.ts';

/**
 * What the router answers itself before any upstream is asked: redirects and direct responses of the route, a cluster that does not exist,
 * headers that it cannot use, requests that are to be dropped. Else the cluster to go to.
 * Source: envoy Filter::decodeHeaders (1.40).
 */
export function answerOrCluster(stream: HttpStream): { readonly reply: LocalReply } | { readonly cluster: UpstreamCluster } | undefined {
  const { info, route, runtime, target } = stream;
  if (route === undefined) return undefined;
  const { action } = route;
  if (action.kind === 'direct-response') {
    runtime.stats.rqDirectResponse++;
    return { reply: directly(action.status, action.body) };
  }
  if (action.kind === 'redirect') {
    runtime.stats.rqRedirect++;
    const { status, location } = action.redirect;
    return { reply: { ...directly(status, ''), headers: [['location', location(info)]] } };
  }
  const cluster = target === undefined ? undefined : runtime.context.cluster(target.cluster);
  if (cluster === undefined) {
    runtime.stats.noCluster++;
    return { reply: clusterNotFound(action.route.clusterNotFoundStatus) };
  }
  const { strictHeaders, suppressesEnvoyHeaders } = runtime.config;
  const refusal = strictHeaders.length === 0 ? undefined : refuseByHeaders(info.head.headers, strictHeaders);
  if (refusal !== undefined) return { reply: refusal };
  return cluster.shouldDrop?.() === true ? { reply: dropOverload(!suppressesEnvoyHeaders) } : { cluster };
}

function directly(status: number, body: string | Buffer): LocalReply {
  return { status, details: 'direct_response', flag: undefined, body };
}
