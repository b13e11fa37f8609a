import type { JsonObject } from '@bufbuild/protobuf';
import { joinHostPort, splitHostPort } from '@mizzen/core';
import type { CompiledRouteAction } from '@mizzen/matching';
import { addressOf, FILTER_STATE_KEYS } from '../config/filter-state.ts';
import type { ConnectionNeeds, LoadBalancerContext, SocketAddress, UpstreamCluster, UpstreamEndpoint } from '../contract.ts';
import { connectionNeeds, proxyHeaderOf } from './connection-needs.ts';
import type { HttpStream } from './http-stream.ts';
import type { HttpStreamInfo } from './stream-info.ts';

/** What the route's hash policy makes of a request; cookies that it invents go into the response. undefined without a policy. */
export function hashOf(stream: HttpStream, { hash }: CompiledRouteAction): bigint | undefined {
  return hash?.({
    request: stream.info,
    sourceAddress: stream.info.facts.remoteHost,
    setCookie: (value) => stream.setCookies.push(value),
    uniqueValue: () => stream.runtime.newRequestId(),
  });
}

/** What the connection for a request must be like; undefined: any will do. */
export function connectionNeedsOf({ info, runtime }: HttpStream, cluster: UpstreamCluster): ConnectionNeeds | undefined {
  const { connection } = info.facts;
  if (cluster.connectionsByRequest === undefined && info.filterState === undefined && connection.filterState?.objects === undefined)
    return undefined;
  const isTold = runtime.config.tellsProxyHeader || connection.filterState?.proxyHeader !== undefined;
  return connectionNeeds(cluster, {
    authority: info.authority,
    header: (name) => info.requestHeader(name),
    filterState: (key) => info.filterStateObject(key),
    proxyHeader: isTold ? proxyHeaderOf(connection) : undefined,
  });
}

function originalDestinationOf(info: HttpStreamInfo): SocketAddress | undefined {
  const { originalDestination } = info.facts.connection;
  if (info.filterState === undefined && info.facts.connection.filterState?.objects === undefined) return originalDestination;
  return addressOf(info.filterStateObject(FILTER_STATE_KEYS.originalDestination)) ?? originalDestination;
}

/** Where a request to a dynamic forward proxy goes: what filters set of it counts for more than its host. */
export function forwardedHost(info: HttpStreamInfo, defaultPort: number): string {
  const host = info.filterStateObject(FILTER_STATE_KEYS.dynamicHost);
  const port = info.filterStateObject(FILTER_STATE_KEYS.dynamicPort);
  if (host === undefined && port === undefined) return info.authority;
  const asked = splitHostPort(info.authority);
  return joinHostPort(host ?? asked?.host ?? info.authority, Number(port ?? asked?.port ?? defaultPort));
}

/** What load balancers may ask of a request. One for all: it is read while an endpoint is chosen, and by nobody afterwards. */
class BalancedRequest implements LoadBalancerContext {
  askedEndpoint: LoadBalancerContext['askedEndpoint'] = undefined;
  forwardedHost: LoadBalancerContext['forwardedHost'] = undefined;
  hash: LoadBalancerContext['hash'] = undefined;
  metadataMatch: LoadBalancerContext['metadataMatch'] = undefined;
  isExcluded: LoadBalancerContext['isExcluded'] = undefined;
  originalDestination: LoadBalancerContext['originalDestination'] = undefined;
  info: HttpStreamInfo | undefined = undefined;
  readonly header = (name: string): string | undefined => this.info?.requestHeader(name);
  readonly dynamicMetadata = (namespace: string): JsonObject | undefined => this.info?.dynamicMetadata?.get(namespace);
}

const request = new BalancedRequest();

/** The endpoint for the next try. Where every endpoint was tried, a second chance beats none. */
export function chooseEndpoint(
  { info, target, askedEndpoint }: HttpStream,
  cluster: UpstreamCluster,
  asked: { readonly hash: bigint | undefined; readonly isExcluded: LoadBalancerContext['isExcluded'] },
): UpstreamEndpoint | undefined {
  const metadata = info.dynamicMetadata?.get('envoy.lb');
  request.info = info;
  request.askedEndpoint = info.upstreamAttempts === 0 ? askedEndpoint : undefined;
  request.hash = asked.hash;
  // Filters may narrow what the route asks for.
  request.metadataMatch = metadata === undefined ? target?.metadataMatch : { ...target?.metadataMatch, ...metadata };
  request.isExcluded = asked.isExcluded;
  request.originalDestination = originalDestinationOf(info);
  request.forwardedHost = cluster.dynamicHosts === undefined ? undefined : forwardedHost(info, cluster.dynamicHosts.defaultPort);
  let chosen = cluster.chooseEndpoint(request);
  if (chosen === undefined && request.isExcluded !== undefined) {
    request.isExcluded = undefined;
    chosen = cluster.chooseEndpoint(request);
  }
  // Nothing of a request, and of the clusters that it tried, is kept until the next one.
  request.info = undefined;
  request.isExcluded = undefined;
  return chosen;
}
