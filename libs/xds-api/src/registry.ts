import { createRegistry, type Registry } from '@bufbuild/protobuf';
import { BootstrapSchema } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { ClusterLoadAssignmentSchema } from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import { DatadogConfigSchema } from '@mizzen/xds-api/envoy/config/trace/v3/datadog';
import { OpenTelemetryConfigSchema } from '@mizzen/xds-api/envoy/config/trace/v3/opentelemetry';
import { SkyWalkingConfigSchema } from '@mizzen/xds-api/envoy/config/trace/v3/skywalking';
import { ZipkinConfigSchema } from '@mizzen/xds-api/envoy/config/trace/v3/zipkin';
import { FileAccessLogSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/file/v3/file';
import { HttpGrpcAccessLogConfigSchema, TcpGrpcAccessLogConfigSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/grpc/v3/als';
import { OpenTelemetryAccessLogConfigSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/open_telemetry/v3/logs_service';
import { StderrAccessLogSchema, StdoutAccessLogSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/stream/v3/stream';
import { InternalListenerSchema } from '@mizzen/xds-api/envoy/extensions/bootstrap/internal_listener/v3/internal_listener';
import { CorsPolicySchema, CorsSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/cors/v3/cors';
import { ExtAuthzPerRouteSchema, ExtAuthzSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/ext_authz/v3/ext_authz';
import { HTTPFaultSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/fault/v3/fault';
import {
  JwtAuthenticationSchema,
  PerRouteConfigSchema as JwtPerRouteConfigSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/http/jwt_authn/v3/config';
import { RBACPerRouteSchema, RBACSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/rbac/v3/rbac';
import { RouterSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import { HttpInspectorSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/http_inspector/v3/http_inspector';
import { OriginalDstSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/original_dst/v3/original_dst';
import { TlsInspectorSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector';
import { ExtAuthzSchema as NetworkAuthzSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/ext_authz/v3/ext_authz';
import { HttpConnectionManagerSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { RBACSchema as NetworkRbacSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/rbac/v3/rbac';
import { TcpProxySchema } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { MetadataSchema as MetadataFormatterSchema } from '@mizzen/xds-api/envoy/extensions/formatter/metadata/v3/metadata';
import { ReqWithoutQuerySchema } from '@mizzen/xds-api/envoy/extensions/formatter/req_without_query/v3/req_without_query';
import { HeaderMutationSchema as EarlyHeaderMutationSchema } from '@mizzen/xds-api/envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation';
import { CustomHeaderConfigSchema } from '@mizzen/xds-api/envoy/extensions/http/original_ip_detection/custom_header/v3/custom_header';
import { XffConfigSchema } from '@mizzen/xds-api/envoy/extensions/http/original_ip_detection/xff/v3/xff';
import { AllowListedRoutesConfigSchema } from '@mizzen/xds-api/envoy/extensions/internal_redirect/allow_listed_routes/v3/allow_listed_routes_config';
import { PreviousRoutesConfigSchema } from '@mizzen/xds-api/envoy/extensions/internal_redirect/previous_routes/v3/previous_routes_config';
import { SafeCrossSchemeConfigSchema } from '@mizzen/xds-api/envoy/extensions/internal_redirect/safe_cross_scheme/v3/safe_cross_scheme_config';
import { UriTemplateMatchConfigSchema } from '@mizzen/xds-api/envoy/extensions/path/match/uri_template/v3/uri_template_match';
import { PreviousHostsPredicateSchema } from '@mizzen/xds-api/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts';
import { SinkConfigSchema } from '@mizzen/xds-api/envoy/extensions/stat_sinks/open_telemetry/v3/open_telemetry';
import { EnvironmentResourceDetectorConfigSchema } from '@mizzen/xds-api/envoy/extensions/tracers/opentelemetry/resource_detectors/v3/environment_resource_detector';
import { StaticConfigResourceDetectorConfigSchema } from '@mizzen/xds-api/envoy/extensions/tracers/opentelemetry/resource_detectors/v3/static_config_resource_detector';
import { AlwaysOnSamplerConfigSchema } from '@mizzen/xds-api/envoy/extensions/tracers/opentelemetry/samplers/v3/always_on_sampler';
import { InternalUpstreamTransportSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/internal_upstream/v3/internal_upstream';
import { RawBufferSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer';
import { SecretSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import { DownstreamTlsContextSchema, UpstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { HttpProtocolOptionsSchema } from '@mizzen/xds-api/envoy/extensions/upstreams/http/v3/http_protocol_options';
import { ConfigSchema as PeerMetadataConfigSchema } from '@mizzen/xds-api/io/istio/http/peer_metadata/config';
import { NameTableSchema } from '@mizzen/xds-api/istio/networking/nds/v1/nds';
import { PluginConfigSchema as StatsPluginConfigSchema } from '@mizzen/xds-api/stats/config';
import { CLUSTER_MESSAGES } from './registry-clusters.ts';
import { CONNECTION_MESSAGES } from './registry-connections.ts';
import { HTTP_FILTER_MESSAGES } from './registry-filters.ts';

/** Every message that may stand inside an Any of a configuration: what JSON and YAML are read and written with. */
export const xdsRegistry: Registry = createRegistry(
  NetworkAuthzSchema,
  UriTemplateMatchConfigSchema,
  StaticConfigResourceDetectorConfigSchema,
  EnvironmentResourceDetectorConfigSchema,
  AlwaysOnSamplerConfigSchema,
  ...HTTP_FILTER_MESSAGES,
  ...CLUSTER_MESSAGES,
  ...CONNECTION_MESSAGES,
  EarlyHeaderMutationSchema,
  CustomHeaderConfigSchema,
  XffConfigSchema,
  AllowListedRoutesConfigSchema,
  PreviousRoutesConfigSchema,
  SafeCrossSchemeConfigSchema,
  HttpGrpcAccessLogConfigSchema,
  TcpGrpcAccessLogConfigSchema,
  OpenTelemetryAccessLogConfigSchema,
  ZipkinConfigSchema,
  ReqWithoutQuerySchema,
  MetadataFormatterSchema,
  DatadogConfigSchema,
  SkyWalkingConfigSchema,
  NetworkRbacSchema,
  ExtAuthzSchema,
  ExtAuthzPerRouteSchema,
  JwtPerRouteConfigSchema,
  JwtAuthenticationSchema,
  RBACSchema,
  RBACPerRouteSchema,
  BootstrapSchema,
  ClusterLoadAssignmentSchema,
  ClusterSchema,
  CorsPolicySchema,
  CorsSchema,
  DownstreamTlsContextSchema,
  FileAccessLogSchema,
  HTTPFaultSchema,
  HttpConnectionManagerSchema,
  HttpInspectorSchema,
  HttpProtocolOptionsSchema,
  InternalListenerSchema,
  InternalUpstreamTransportSchema,
  ListenerSchema,
  NameTableSchema,
  OpenTelemetryConfigSchema,
  OriginalDstSchema,
  PeerMetadataConfigSchema,
  PreviousHostsPredicateSchema,
  RawBufferSchema,
  RouteConfigurationSchema,
  RouterSchema,
  SecretSchema,
  SinkConfigSchema,
  StatsPluginConfigSchema,
  StderrAccessLogSchema,
  StdoutAccessLogSchema,
  TcpProxySchema,
  TlsInspectorSchema,
  UpstreamTlsContextSchema,
);
