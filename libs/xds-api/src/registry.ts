import { createRegistry, type Registry } from '@bufbuild/protobuf';
import { BootstrapSchema } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { ClusterLoadAssignmentSchema } from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import { OpenTelemetryConfigSchema } from '@mizzen/xds-api/envoy/config/trace/v3/opentelemetry';
import { FileAccessLogSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/file/v3/file';
import { StderrAccessLogSchema, StdoutAccessLogSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/stream/v3/stream';
import { InternalListenerSchema } from '@mizzen/xds-api/envoy/extensions/bootstrap/internal_listener/v3/internal_listener';
import { CorsPolicySchema, CorsSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/cors/v3/cors';
import { HTTPFaultSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/fault/v3/fault';
import { RouterSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import { HttpInspectorSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/http_inspector/v3/http_inspector';
import { OriginalDstSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/original_dst/v3/original_dst';
import { TlsInspectorSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector';
import { HttpConnectionManagerSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { TcpProxySchema } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { PreviousHostsPredicateSchema } from '@mizzen/xds-api/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts';
import { SinkConfigSchema } from '@mizzen/xds-api/envoy/extensions/stat_sinks/open_telemetry/v3/open_telemetry';
import { InternalUpstreamTransportSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/internal_upstream/v3/internal_upstream';
import { RawBufferSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer';
import { SecretSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import { DownstreamTlsContextSchema, UpstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { HttpProtocolOptionsSchema } from '@mizzen/xds-api/envoy/extensions/upstreams/http/v3/http_protocol_options';
import { ConfigSchema as PeerMetadataConfigSchema } from '@mizzen/xds-api/io/istio/http/peer_metadata/config';
import { NameTableSchema } from '@mizzen/xds-api/istio/networking/nds/v1/nds';
import { PluginConfigSchema as StatsPluginConfigSchema } from '@mizzen/xds-api/stats/config';

/** Every message that may stand inside an Any of a configuration: what JSON and YAML are read and written with. */
export const xdsRegistry: Registry = createRegistry(
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
