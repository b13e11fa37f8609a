/** Names that Istio's tools and dashboards know. Source: istio pilot/pkg/model/service.go BuildSubsetKey (1.32 dev). */
export function outboundClusterName(target: { host: string; port: number; subset?: string | undefined }): string {
  return `outbound|${target.port}|${target.subset ?? ''}|${target.host}`;
}

export function inboundClusterName(port: number): string {
  return `inbound|${port}||`;
}

/** What the client's proxy puts into the server name. Source: istio pilot/pkg/model/service.go BuildDNSSrvSubsetKey (1.32 dev). */
export function dnsSrvName(target: { host: string; port: number; subset?: string | undefined }): string {
  return `outbound_.${target.port}_.${target.subset ?? ''}_.${target.host}`;
}

/** The parts of an outbound cluster's name, or undefined for any other cluster. */
export function parseOutboundClusterName(name: string): { host: string; port: number; subset: string } | undefined {
  const [direction, port, subset, host, rest] = name.split('|');
  if (direction !== 'outbound' || port === undefined || subset === undefined || !host || rest !== undefined || !/^\d+$/.test(port))
    return undefined;
  return { host, port: Number(port), subset };
}

export const BLACK_HOLE_CLUSTER = 'BlackHoleCluster';
export const PASSTHROUGH_CLUSTER = 'PassthroughCluster';
/** To the port of the workload that a captured connection was for. */
export const INBOUND_PASSTHROUGH_CLUSTER = 'InboundPassthroughCluster';
/** The listeners that the network leads connections to. Source: istio pilot/pkg/model/context.go (1.32 dev). */
export const VIRTUAL_OUTBOUND = 'virtualOutbound';
export const VIRTUAL_INBOUND = 'virtualInbound';
/** Leads what comes out of a CONNECT tunnel back into the same routes; also the name of the internal listener. */
export const CONNECT_HTTP = 'connect_http';
/** Route configuration of the explicit proxy. */
export const HTTP_PROXY_ROUTES = 'http_proxy';
/** A static cluster of the bootstrap. */
export const OTLP_CLUSTER = 'otlp-collector';
/** A static cluster of a stock Envoy's bootstrap that istio-agent serves. */
export const SDS_CLUSTER = 'sds-grpc';

/** `/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews`, as Istio marks what a resource made. */
export function configPath(kind: 'virtual-service' | 'destination-rule', ref: { namespace: string; name: string }): string {
  return `/apis/networking.istio.io/v1/namespaces/${ref.namespace}/${kind}/${ref.name}`;
}
