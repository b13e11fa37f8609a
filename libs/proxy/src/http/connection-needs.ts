import { isIP } from 'node:net';
import { stripPort } from '@mizzen/matching';
import { applicationProtocols, FILTER_STATE_KEYS } from '../config/filter-state.ts';
import type { ConnectionNeeds, ConnectionsByRequest, DownstreamConnection, ProxyHeader, UpstreamCluster } from '../contract.ts';

/** What is looked at of a request. */
interface NeedyRequest {
  /** undefined where it is none of HTTP. */
  readonly authority: string | undefined;
  readonly header?: (name: string) => string | undefined;
  /** What filters set; undefined for most requests. */
  readonly filterState?: ((key: string) => string | undefined) | undefined;
  /** Of the client; undefined for requests of the proxy's own. */
  readonly proxyHeader?: ProxyHeader | undefined;
}

/**
 * What a connection for a request must be like; undefined: as every other one. What filters set counts for more than the cluster's automatism.
 * Source: envoy Router::Filter::continueDecodeHeaders, TransportSocketOptionsUtility::fromFilterState (1.40).
 */
export function connectionNeeds(cluster: UpstreamCluster, request: NeedyRequest): ConnectionNeeds | undefined {
  const { connectionsByRequest: asked } = cluster;
  const { filterState } = request;
  if (asked === undefined && filterState === undefined) return undefined;
  const host = asked === undefined ? undefined : askedHost(asked, request);
  const automaticName = asked?.setsServerName === true && host !== undefined && isIP(host) === 0 ? host : undefined;
  const serverName = filterState?.(FILTER_STATE_KEYS.upstreamServerName) ?? automaticName;
  const automaticNames = asked?.verifiesHost === true && host !== undefined ? [host] : undefined;
  const subjectAltNames = filterState?.(FILTER_STATE_KEYS.upstreamSubjectAltNames)?.split(',') ?? automaticNames;
  const alpn = applicationProtocols(filterState?.(FILTER_STATE_KEYS.applicationProtocols));
  const proxyHeader = asked?.sendsProxyHeader === true ? request.proxyHeader : undefined;
  if (serverName === undefined && subjectAltNames === undefined && alpn === undefined && proxyHeader === undefined) return undefined;
  const key = [serverName ?? '', subjectAltNames?.join() ?? '', alpn?.join() ?? '', proxyHeader === undefined ? '' : clientOf(proxyHeader)];
  return { key: key.join('\n'), serverName, subjectAltNames, alpn, proxyHeader };
}

/** What a PROXY header says of the client of a connection: what it said itself of the one before it, else its own addresses. */
export function proxyHeaderOf({ filterState, remoteAddress, localAddress }: DownstreamConnection): ProxyHeader {
  return filterState?.proxyHeader ?? { addresses: { source: remoteAddress, destination: localAddress }, tlvs: [] };
}

/** The host without port; that of a name in the header that is to be read instead, where the request has it. */
function askedHost({ hostHeader }: ConnectionsByRequest, { authority, header }: NeedyRequest): string | undefined {
  const named = hostHeader === '' ? undefined : header?.(hostHeader);
  const given = named === undefined || named === '' ? authority : named;
  if (given === undefined) return undefined;
  const host = stripPort(given);
  return host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
}

function clientOf({ addresses, tlvs }: ProxyHeader): string {
  return JSON.stringify([addresses, tlvs.map(({ type, value }) => [type, value.toString('base64')])]);
}
