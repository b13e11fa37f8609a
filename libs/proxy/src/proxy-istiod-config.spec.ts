import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { FileAccessLogSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/file/v3/file';
import { FilterConfigSchema as GrpcStatsSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/grpc_stats/v3/config';
import { RouterSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import { HttpConnectionManagerSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { TcpProxySchema } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { UuidRequestIdConfigSchema } from '@mizzen/xds-api/envoy/extensions/request_id/uuid/v3/uuid';
import { FilterConfigSchema as AlpnSchema } from '@mizzen/xds-api/istio/envoy/config/filter/http/alpn/v2alpha1/config';
import { any, Cleanup, exchange, startProxy } from './testing/harness.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const FORMAT = '%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DOWNSTREAM_LOCAL_ADDRESS%\n';

function fileLog(filter: JsonObject): JsonValue {
  const config = any(FileAccessLogSchema, { path: '/dev/stdout', log_format: { text_format_source: { inline_string: FORMAT } } });
  return { name: 'envoy.access_loggers.file', filter, typed_config: config };
}

function listener(filters: JsonValue, more: JsonObject = {}): JsonObject {
  return {
    address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
    traffic_direction: 'OUTBOUND',
    filter_chains: [{ filters }],
    ...more,
  };
}

const TCP = { name: 'envoy.filters.network.tcp_proxy', typed_config: any(TcpProxySchema, { stat_prefix: 'tcp', cluster: 'none' }) };

function typedStruct(typeUrl: string, value: JsonObject): JsonObject {
  return { '@type': 'type.googleapis.com/udpa.type.v1.TypedStruct', type_url: `type.googleapis.com/${typeUrl}`, value };
}

/** What Istio's control plane sends besides what ours does. Source: istio pilot/pkg/networking/core, pilot/pkg/xds/filters (1.32 dev). */
describe('the configuration of Istio', () => {
  it('logs the connections that no filter chain takes, by the access log of the listener', async () => {
    const running = await startProxy(cleanup, '');
    const access_log = [fileLog({ response_flag_filter: { flags: ['NR'] } })];
    const filter_chains = [
      { filter_chain_match: { source_prefix_ranges: [{ address_prefix: '192.0.2.1', prefix_len: 32 }] }, filters: [TCP] },
    ];
    expect(running.apply('listener', { l: listener([], { access_log, filter_chains }) })).toEqual([]);
    const port = running.portOf('l');
    expect(await exchange(port, 'hello')).toBe('');
    expect(await running.logged()).toEqual([`NR filter_chain_not_found 127.0.0.1:${port}\n`]);
  });

  it('refuses access logs of a listener for anything else', async () => {
    const running = await startProxy(cleanup, '');
    const reasonOf = (filter: JsonObject): string =>
      running.apply('listener', { l: listener([TCP], { access_log: [fileLog(filter)] }) })[0]?.reason ?? '';
    expect(reasonOf({ response_flag_filter: { flags: ['NR', 'UF'] } })).toMatch(
      /^access_log\[0\]\.filter: must be a response_flag_filter for NR/,
    );
    expect(reasonOf({ not_health_check_filter: {} })).toMatch(/^access_log\[0\]\.filter: /);
  });

  it('takes the HTTP filters of a sidecar as they come', async () => {
    const running = await startProxy(cleanup, '');
    const headers = { istio_headers: {} };
    const typed_config = any(HttpConnectionManagerSchema, {
      stat_prefix: 'outbound_0.0.0.0_80;',
      route_config: {},
      http_filters: [
        {
          name: 'istio.metadata_exchange',
          typed_config: typedStruct('io.istio.http.peer_metadata.Config', {
            upstream_discovery: [headers, { workload_discovery: {} }],
            upstream_propagation: [{ istio_headers: { skip_external_clusters: true } }],
          }),
        },
        {
          name: 'envoy.filters.http.grpc_stats',
          typed_config: any(GrpcStatsSchema, { emit_filter_state: true, stats_for_all_methods: false }),
        },
        {
          name: 'istio.alpn',
          typed_config: any(AlpnSchema, {
            alpn_override: [
              { upstream_protocol: 'HTTP10', alpn_override: ['istio-http/1.0', 'istio', 'http/1.0'] },
              { upstream_protocol: 'HTTP11', alpn_override: ['istio-http/1.1', 'istio', 'http/1.1'] },
              { upstream_protocol: 'HTTP2', alpn_override: ['istio-h2', 'istio', 'h2'] },
            ],
          }),
        },
        { name: 'istio.stats', typed_config: typedStruct('stats.PluginConfig', { tcp_reporting_duration: '5s' }) },
        { name: 'envoy.filters.http.router', typed_config: any(RouterSchema) },
      ],
      request_id_extension: { typed_config: any(UuidRequestIdConfigSchema, { use_request_id_for_trace_sampling: true }) },
    });
    const manager = { name: 'envoy.filters.network.http_connection_manager', typed_config };
    const exchangeFilter = {
      name: 'istio.metadata_exchange',
      typed_config: typedStruct('envoy.tcp.metadataexchange.config.MetadataExchange', {
        protocol: 'istio-peer-exchange',
        enable_discovery: true,
      }),
    };
    expect(running.apply('listener', { l: listener([exchangeFilter, manager]) })).toEqual([]);
    expect(await exchange(running.portOf('l'), 'GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')).toMatch(/^HTTP\/1\.1 404 /);
    expect(JSON.parse((await running.admin('/config_dump')).body)).toBeDefined();
    expect((await running.admin('/stats/prometheus')).body).toMatch(/istio_requests_total\{/);
  });

  it('refuses a message in a TypedStruct that does not fit, with its place', async () => {
    const running = await startProxy(cleanup, '');
    const filter = { name: 'mx', typed_config: typedStruct('envoy.tcp.metadataexchange.config.MetadataExchange', { protocol: 1 }) };
    expect(running.apply('listener', { l: listener([filter, TCP]) })[0]?.reason).toMatch(
      /^filter_chains\[0\]\.filters\[0\]\.typed_config: /,
    );
  });
});
