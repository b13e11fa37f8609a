import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { FileAccessLogSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/file/v3/file';
import { RouterSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import { HttpConnectionManagerSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { TcpProxySchema } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { HttpProtocolOptionsSchema } from '@mizzen/xds-api/envoy/extensions/upstreams/http/v3/http_protocol_options';
import { any } from './harness.ts';

/** xDS resources as JSON, as specs of the whole proxy want them. */

export function address(port: number): JsonValue {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

export function assignment(name: string, ports: readonly number[]): JsonValue {
  return { cluster_name: name, endpoints: [{ lb_endpoints: ports.map((port) => ({ endpoint: { address: address(port) } })) }] };
}

export function staticCluster(name: string, ports: readonly number[], more: JsonObject = {}): JsonValue {
  return { name, type: 'STATIC', connect_timeout: '10s', load_assignment: assignment(name, ports), ...more };
}

/** Fields of a cluster whose endpoints speak HTTP/2. */
export const HTTP2_UPSTREAM: JsonObject = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': any(HttpProtocolOptionsSchema, {
      explicit_http_config: { http2_protocol_options: {} },
    }),
  },
};

const LOG = {
  name: 'log',
  typed_config: any(FileAccessLogSchema, {
    path: '/dev/stdout',
    log_format: { text_format_source: { inline_string: '%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_CLUSTER%' } },
  }),
};

/** A filter chain of a connection manager; logs `protocol code flags cluster`. */
export function httpChain(fields: JsonObject): JsonObject {
  const manager = any(HttpConnectionManagerSchema, {
    stat_prefix: 'http',
    access_log: [LOG],
    http_filters: [{ name: 'router', typed_config: any(RouterSchema) }],
    ...fields,
  });
  return { filters: [{ name: 'hcm', typed_config: manager }] };
}

/** Everything to one cluster. */
export function routesTo(cluster: string, route: JsonObject = {}, name = 'routes'): JsonValue {
  return { name, virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster, ...route } }] }] };
}

export function httpListener(fields: JsonObject, listener: JsonObject = {}): JsonValue {
  return { address: address(0), filter_chains: [httpChain(fields)], ...listener };
}

export function tcpListener(cluster: string, listener: JsonObject = {}): JsonValue {
  const proxy = any(TcpProxySchema, { stat_prefix: 'tcp', cluster, access_log: [LOG] });
  return { address: address(0), filter_chains: [{ filters: [{ name: 'tcp', typed_config: proxy }] }], ...listener };
}
