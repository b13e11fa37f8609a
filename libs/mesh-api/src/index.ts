export { type LeafPath, leafPaths, unsupportedFields } from './field-paths.ts';
export { GRPC_STATUSES } from './grpc-status.ts';
export { IGNORED_NAMESPACES } from './ignored-namespaces.ts';
export type {
  ClientTlsSettings,
  ConnectionPoolSettings,
  DestinationRuleSpec,
  LoadBalancerSettings,
  LocalityLbSetting,
  OutlierDetection,
  PortTrafficPolicy,
  Subset,
  TrafficPolicy,
} from './kinds/destination-rule.ts';
export type { EnvoyConfigPatch, EnvoyFilterSpec } from './kinds/envoy-filter.ts';
export type { TrafficExtensionSpec, WasmPluginSpec } from './kinds/extensions.ts';
export type { GatewayServer, GatewaySpec } from './kinds/gateway.ts';
export type { ProxyConfigSpec } from './kinds/proxy-config.ts';
export { RATE_LIMIT_ATTRIBUTES, type RateLimitMatch, type RateLimitRule, type RateLimitSpec } from './kinds/rate-limit.ts';
export type {
  AuthorizationPolicySpec,
  AuthorizationRule,
  JwtRule,
  MutualTlsMode,
  PeerAuthenticationSpec,
  RequestAuthenticationSpec,
} from './kinds/security.ts';
export type { ServiceEntrySpec, ServicePort } from './kinds/service-entry.ts';
export type {
  Destination,
  HeaderOperations,
  Headers,
  LabelSelector,
  ServerTlsSettings,
  StringMatch,
  TargetRef,
  WorkloadSelector,
} from './kinds/shared.ts';
export type { SidecarEgressListener, SidecarIngressListener, SidecarSpec } from './kinds/sidecar.ts';
export type { TelemetrySpec } from './kinds/telemetry.ts';
export type {
  CorsPolicy,
  HttpDirectResponse,
  HttpFaultInjection,
  HttpMatchRequest,
  HttpRedirect,
  HttpRetry,
  HttpRewrite,
  HttpRoute,
  HttpRouteDestination,
  RouteDestination,
  TcpRoute,
  TlsRoute,
  VirtualServiceSpec,
} from './kinds/virtual-service.ts';
export type { WorkloadEntrySpec } from './kinds/workload-entry.ts';
export type { ReadinessProbe, WorkloadGroupSpec } from './kinds/workload-group.ts';
export {
  findKind,
  isKind,
  isOwnKind,
  KIND_NAMES,
  KINDS,
  type Kind,
  type KindInfo,
  kubeKindOf,
  preferredApiVersion,
  type SpecOf,
} from './kinds.ts';
export type { ExtensionProvider } from './mesh-config/extension-providers.ts';
export { defaultMeshConfig, fillMeshConfig, type MeshConfig, type MeshConfigInput, type ProxySettings } from './mesh-config/mesh-config.ts';
export type { ProxySettingsInput } from './mesh-config/proxy-config.ts';
export { type ParsedMeshConfig, parseMeshConfig } from './parse-mesh-config.ts';
export { type ParsedProxySettings, parseProxySettings } from './parse-proxy-settings.ts';
export { hasOwnTimestamp, type ParsedResource, parseResource } from './parse-resource.ts';
export { type AnyResource, isOfKind, manifestOf, type Resource, type ResourceMetadata, refOf, resourceKey } from './resource.ts';
export { suggest } from './suggest.ts';
export { type ParsedYaml, parseYaml, type YamlDocument } from './yaml.ts';
