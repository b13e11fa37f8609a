export { byAge } from './age.ts';
export {
  type DestinationRuleConfig,
  type DestinationRuleIndex,
  findDestinationRule,
  type Subset,
  type TrafficPolicy,
} from './destination-rule.ts';
export type { Endpoint, ServiceEndpoints } from './endpoints.ts';
export { type GatewayConfig, type GatewayHost, type GatewayServer, parseGatewayHost } from './gateway.ts';
export type { GatewayPorts } from './gateway-ports.ts';
export {
  compareHostSpecificity,
  HostIndex,
  hostsOverlap,
  isHostWithin,
  isWildcardHost,
  parseServiceHost,
  resolveShortName,
} from './host.ts';
export type { InboundService, PassthroughPort } from './inbound.ts';
export { canonicalRevision, canonicalService, type Labels, labelsKey, selects } from './labels.ts';
export {
  buildMeshSnapshot,
  findSidecar,
  hasEndpointsInCluster,
  type MeshInputs,
  type MeshSnapshot,
  ofKind,
  type WorkloadChange,
  withWorkloads,
} from './mesh-snapshot.ts';
export { type EgressListener, indexByHost, matchesSource, type OutboundScope } from './outbound-scope.ts';
export { type MtlsMode, resolvePeerAuthentication } from './peer-authentication.ts';
export { isHttp, isHttp2, isTls, type Protocol, parseProtocol, selectProtocol } from './protocol.ts';
export {
  type ClientKind,
  type EnvoyNode,
  type InboundPort,
  type IpFamily,
  isCaptured,
  type PodPort,
  type ProxyNode,
  type ProxyType,
  parseProxyNode,
} from './proxy-node.ts';
export { buildProxyView, type ProxyView } from './proxy-view.ts';
export {
  hasGlobalRule,
  isGlobal,
  RATE_LIMIT_PORT,
  type RateLimitIndex,
  type RateLimitService,
  rateLimitService,
} from './rate-limit.ts';
export { isHeadless, isOfKubernetes, type Resolution, type Service, type ServicePort, servicePort } from './service.ts';
export {
  type Destination,
  type HttpMatch,
  type HttpRule,
  MESH_GATEWAY,
  resolveGatewayName,
  type TcpRule,
  type TlsRule,
  type VirtualServiceConfig,
} from './virtual-service.ts';
export { isVisibleIn, parseVisibility, type Visibility } from './visibility.ts';
export {
  AUTO_REGISTRATION_GROUP_ANNOTATION,
  type EndpointMembership,
  TLS_MODE_LABEL,
  type TlsMode,
  type Workload,
  workloadFromEntry,
} from './workload.ts';
