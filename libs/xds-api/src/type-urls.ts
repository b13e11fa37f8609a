/** The resource types of xDS v3 that Mizzen speaks, by their short names. */
export const TYPE_URL = {
  cluster: 'type.googleapis.com/envoy.config.cluster.v3.Cluster',
  endpoint: 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
  listener: 'type.googleapis.com/envoy.config.listener.v3.Listener',
  route: 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration',
  secret: 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
  nameTable: 'type.googleapis.com/istio.networking.nds.v1.NameTable',
} as const;

/**
 * No resource: the request by which an agent tells how its workload is, with an `error_detail` where it is not well.
 * Source: istio pilot/pkg/xds/v3/model.go HealthInfoType (1.32).
 */
export const HEALTH_TYPE_URL = 'type.googleapis.com/istio.v1.HealthInformation';

export type TypeName = keyof typeof TYPE_URL;
export type TypeUrl = (typeof TYPE_URL)[TypeName];

/**
 * Make before break: what is referred to arrives before what refers to it.
 * Source: xDS protocol, "Eventual consistency considerations"; istio pilot/pkg/xds/ads.go PushOrder (1.32).
 */
export const PUSH_ORDER: readonly TypeUrl[] = [
  TYPE_URL.cluster,
  TYPE_URL.endpoint,
  TYPE_URL.listener,
  TYPE_URL.route,
  TYPE_URL.secret,
  TYPE_URL.nameTable,
];

/** `CDS`, `EDS`, … as people and istioctl call the types. */
export const DISCOVERY_NAME: Readonly<Record<TypeUrl, string>> = {
  [TYPE_URL.cluster]: 'CDS',
  [TYPE_URL.endpoint]: 'EDS',
  [TYPE_URL.listener]: 'LDS',
  [TYPE_URL.route]: 'RDS',
  [TYPE_URL.secret]: 'SDS',
  [TYPE_URL.nameTable]: 'NDS',
};
