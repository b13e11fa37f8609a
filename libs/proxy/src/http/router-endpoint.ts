import type { CompiledRouteAction } from '@mizzen/matching';
import type { LoadBalancerContext, UpstreamCluster, UpstreamEndpoint } from '../contract.ts';
import type { HttpStream } from './http-stream.ts';

/** What the route's hash policy makes of a request; cookies that it invents go into the response. undefined without a policy. */
export function hashOf(stream: HttpStream, { hash }: CompiledRouteAction): bigint | undefined {
  return hash?.({
    request: stream.info,
    sourceAddress: stream.info.facts.remoteHost,
    setCookie: (value) => stream.setCookies.push(value),
    uniqueValue: () => stream.runtime.newRequestId(),
  });
}

/** The endpoint for the next try. Where every endpoint was tried, a second chance beats none. */
export function chooseEndpoint(
  stream: HttpStream,
  cluster: UpstreamCluster,
  asked: { readonly hash: bigint | undefined; readonly isExcluded: LoadBalancerContext['isExcluded'] },
): UpstreamEndpoint | undefined {
  const { info, target } = stream;
  const { dynamicMetadata } = info;
  const metadata = dynamicMetadata?.get('envoy.lb');
  const context: LoadBalancerContext = {
    hash: asked.hash,
    // Filters may narrow what the route asks for.
    metadataMatch: metadata === undefined ? target?.metadataMatch : { ...target?.metadataMatch, ...metadata },
    isExcluded: asked.isExcluded,
    originalDestination: info.facts.connection.originalDestination,
    header: (name) => info.requestHeader(name),
    dynamicMetadata: dynamicMetadata === undefined ? undefined : (namespace) => dynamicMetadata.get(namespace),
  };
  const chosen = cluster.chooseEndpoint(context);
  return chosen ?? (asked.isExcluded === undefined ? undefined : cluster.chooseEndpoint({ ...context, isExcluded: undefined }));
}
