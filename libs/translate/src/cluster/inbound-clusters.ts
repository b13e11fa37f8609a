import type { InboundService, IpFamily, ProxyView } from '@mizzen/model';
import { Cluster_DiscoveryType, ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import type { BindConfigSchema } from '@mizzen/xds-api/envoy/config/core/v3/address';
import { addressOf } from '../endpoint/load-assignment.ts';
import type { Init } from '../messages.ts';
import { inboundClusterName } from '../names.ts';
import { encodeResource, type TranslatedResource } from '../result.ts';
import { connectionPoolFields } from './connection-pool.ts';
import { originalDestinationFields } from './load-balancer.ts';

/** As long as a duration can be: the application stays at its address. Source: istio cluster_builder.go maxSecondsValue (1.32 dev). */
const NEVER = { seconds: 9_223_372_035n, nanos: 0 };

/** One cluster for each port of the workload: the application behind the proxy. */
export function inboundClusters(view: ProxyView): TranslatedResource[] {
  return view.inbound.map((inbound) => inboundCluster(view, inbound));
}

function inboundCluster(view: ProxyView, inbound: InboundService): TranslatedResource {
  const name = inboundClusterName(inbound.port);
  const { isCaptured, protocol } = inbound;
  return encodeResource(ClusterSchema, name, {
    name,
    ...connectionPoolFields(undefined, { protocol, meshConnectTimeout: view.mesh.connectTimeout, isCaptured }),
    ...(isCaptured && inbound.defaultEndpoint === '' ? wantedPort(view) : applicationPort(view, name, inbound)),
    metadata: {
      filterMetadata: {
        istio: { services: inbound.services.map(({ host, name: service, namespace }) => ({ host, name: service, namespace })) },
      },
    },
  });
}

/** The address and port of the workload that the connection was for. */
function wantedPort(view: ProxyView): Init<typeof ClusterSchema> {
  return {
    ...originalDestinationFields(true),
    cleanupInterval: NEVER,
    upstreamBindConfig: inboundBindConfig(view.node.ipFamily),
  };
}

function applicationPort(view: ProxyView, name: string, inbound: InboundService): Init<typeof ClusterSchema> {
  const endpoint = { address: applicationAddress(inbound.defaultEndpoint, inbound.port) };
  const isLocal = /^(unix:|127\.0\.0\.1:|\[::1\]:)/.test(inbound.defaultEndpoint);
  return {
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC },
    loadAssignment: { clusterName: name, endpoints: [{ lbEndpoints: [{ hostIdentifier: { case: 'endpoint', value: endpoint } }] }] },
    ...(inbound.isCaptured && !isLocal && { upstreamBindConfig: inboundBindConfig(view.node.ipFamily) }),
  };
}

/** What the network does not lead back into the proxy. Source: istio pilot/pkg/networking/core/cluster.go InboundPassthroughBindIpv4 (1.32 dev). */
const INBOUND_SOURCE = { ipv4: '127.0.0.6', ipv6: '::6' } as const;

/** Where connections to the application come from. */
export function inboundBindConfig(ipFamily: IpFamily): Init<typeof BindConfigSchema> {
  const source = (family: 'ipv4' | 'ipv6') => ({
    address: INBOUND_SOURCE[family],
    portSpecifier: { case: 'portValue', value: 0 } as const,
  });
  return {
    sourceAddress: source(ipFamily === 'ipv6' ? 'ipv6' : 'ipv4'),
    ...(ipFamily === 'dual' && { extraSourceAddresses: [{ address: source('ipv6') }] }),
  };
}

/** `unix:///path`, `127.0.0.1:5000` or `[::1]:5000`. Anything else is the port itself on the loopback address. */
function applicationAddress(text: string, port: number) {
  const [, host, number] = /^\[?([^[\]]+?)\]?:(\d+)$/.exec(text) ?? [];
  if (text.startsWith('unix://')) return addressOf(text, 0);
  return host !== undefined && number !== undefined ? addressOf(host, Number(number)) : addressOf('127.0.0.1', port);
}
