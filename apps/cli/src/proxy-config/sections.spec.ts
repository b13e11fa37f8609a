import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { createSelfSignedRoot } from '@mizzen/identity';
import { clusterSection } from './clusters.ts';
import { readConfigDump } from './config-dump.ts';
import { endpointSection } from './endpoints.ts';
import { listenerSection } from './listeners.ts';
import { routeSection } from './routes.ts';
import { secretSection } from './secrets.ts';
import type { ProxyDump, Section, SectionFilter } from './section.ts';

const CERTIFICATE = (
  await createSelfSignedRoot({ trustDomain: 'cluster.local', now: Date.parse('2020-01-01T00:02:00Z'), ttlMs: 86_400_000 })
).certificatePem;
const SERIAL = new X509Certificate(CERTIFICATE).serialNumber.toLowerCase();

const part = (type: string, fields: object): object => ({ '@type': `type.googleapis.com/envoy.admin.v3.${type}`, ...fields });
const metadata = (kind: string, name: string): object => ({
  filter_metadata: { istio: { config: `/apis/networking.istio.io/v1/namespaces/default/${kind}/${name}` } },
});

const ENVOY_STYLE = {
  configs: [
    part('BootstrapConfigDump', { bootstrap: { node: { id: 'x' } } }),
    part('ClustersConfigDump', {
      static_clusters: [{ cluster: { name: 'xds-grpc' } }],
      dynamic_active_clusters: [
        {
          cluster: {
            name: 'outbound|9080|v3|reviews.default.svc.cluster.local',
            type: 'EDS',
            metadata: metadata('destination-rule', 'reviews'),
          },
        },
        { cluster: { name: 'inbound|9080||', type: 'STATIC' } },
      ],
    }),
    part('ListenersConfigDump', {
      dynamic_listeners: [
        {
          name: '127.0.0.1_40123',
          active_state: {
            listener: {
              name: '127.0.0.1_40123',
              address: { socket_address: { address: '127.0.0.1', port_value: 40123 } },
              filter_chains: [
                {
                  filter_chain_match: { transport_protocol: 'tls', application_protocols: ['istio', 'istio-http/1.1'] },
                  filters: [{ name: 'hcm', typed_config: { route_config: { name: 'inbound|9080||' } } }],
                },
                { filters: [{ name: 'tcp', typed_config: { cluster: 'outbound|3306||mysqldb' } }] },
              ],
              default_filter_chain: { filters: [{ name: 'hcm', typed_config: { rds: { route_config_name: 'http_proxy' } } }] },
            },
          },
        },
      ],
    }),
    part('RoutesConfigDump', {
      dynamic_route_configs: [
        {
          route_config: {
            name: 'http_proxy',
            virtual_hosts: [
              {
                name: 'reviews:9080',
                domains: ['reviews.default.svc.cluster.local:9080', 'reviews:9080'],
                routes: [
                  { match: { prefix: '/', headers: [{ name: 'end-user' }] }, metadata: metadata('virtual-service', 'reviews') },
                  { match: { path: '/health' }, direct_response: { status: 200 } },
                ],
              },
              { name: 'empty', domains: ['*'] },
            ],
          },
        },
      ],
    }),
    part('SecretsConfigDump', {
      dynamic_active_secrets: [
        {
          name: 'default',
          secret: {
            name: 'default',
            tls_certificate: { certificate_chain: { inline_bytes: Buffer.from(CERTIFICATE).toString('base64') } },
          },
        },
        { name: 'ROOTCA', secret: { name: 'ROOTCA', validation_context: { trusted_ca: { inline_string: CERTIFICATE } } } },
      ],
      dynamic_warming_secrets: [
        { name: 'kubernetes://late', secret: { name: 'kubernetes://late', tls_certificate: { certificate_chain: {} } } },
      ],
    }),
  ],
};

const CLUSTERS = {
  cluster_statuses: [
    {
      name: 'outbound|9080|v3|reviews.default.svc.cluster.local',
      host_statuses: [
        { address: { socket_address: { address: '127.0.0.1', port_value: 40123 } }, health_status: { eds_health_status: 'HEALTHY' } },
        { address: { pipe: { path: '/run/x.sock' } }, health_status: { eds_health_status: 'UNHEALTHY', failed_outlier_check: true } },
      ],
    },
  ],
};

/** The same dump as the standard JSON mapping of protobuf would write it. */
function camelCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(camelCase);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()), camelCase(inner)]),
  );
}

describe.each([
  ["Envoy's field names", (value: unknown) => value],
  ["protobuf's JSON field names", camelCase],
])('proxy-config of a dump with %s', (_, spelling) => {
  const proxy: ProxyDump = { dump: readConfigDump(spelling(ENVOY_STYLE)), clusterStatuses: spelling(CLUSTERS) };
  const rows = (section: Section, filter: SectionFilter = {}): unknown[] =>
    section.select(proxy, filter).flatMap((resource) => section.rows(resource));

  it('shows clusters with service, port, subset, direction and DestinationRule', () => {
    expect(rows(clusterSection)).toEqual([
      ['', '9080', '-', 'inbound', 'STATIC', ''],
      ['reviews.default.svc.cluster.local', '9080', 'v3', 'outbound', 'EDS', 'reviews.default'],
      ['xds-grpc', '-', '-', '-', 'STATIC', ''],
    ]);
    expect(rows(clusterSection, { fqdn: 'reviews', subset: 'v3', port: 9080, direction: 'outbound' })).toHaveLength(1);
    expect(rows(clusterSection, { subset: 'v1' })).toEqual([]);
  });

  it('shows a row for each filter chain of a listener', () => {
    expect(rows(listenerSection)).toEqual([
      ['127.0.0.1', '40123', 'Trans: tls; App: istio,istio-http/1.1', 'Inline Route: inbound|9080||'],
      ['127.0.0.1', '40123', 'ALL', 'Cluster: outbound|3306||mysqldb'],
      ['127.0.0.1', '40123', 'ALL', 'Route: http_proxy'],
    ]);
    expect(rows(listenerSection, { port: 1 })).toEqual([]);
  });

  it('shows routes with the VirtualService they come from', () => {
    expect(rows(routeSection, { name: 'http_proxy' })).toEqual([
      ['http_proxy', 'reviews:9080', 'reviews:9080, +1 more...', '/* [end-user]', 'reviews.default'],
      ['http_proxy', 'reviews:9080', 'reviews:9080, +1 more...', '/health', '200'],
      ['http_proxy', 'empty', '*', '-', '404'],
    ]);
  });

  it('shows endpoints with their health', () => {
    expect(rows(endpointSection)).toEqual([
      ['127.0.0.1:40123', 'HEALTHY', 'OK', 'outbound|9080|v3|reviews.default.svc.cluster.local'],
      ['unix:///run/x.sock', 'UNHEALTHY', 'FAILED', 'outbound|9080|v3|reviews.default.svc.cluster.local'],
    ]);
    expect(rows(endpointSection, { status: 'unhealthy' })).toHaveLength(1);
  });

  it('shows secrets with serial number and validity, and those that have not come yet', () => {
    const dates = [SERIAL, '2020-01-02T00:02:00Z', '2020-01-01T00:00:00Z'];
    expect(rows(secretSection)).toEqual([
      ['default', 'Cert Chain', 'ACTIVE', 'false', ...dates],
      ['ROOTCA', 'CA', 'ACTIVE', 'false', ...dates],
      ['kubernetes://late', 'Cert Chain', 'WARMING', 'false', '-', '-', '-'],
    ]);
  });

  it('gives the resources themselves, as the proxy wrote them, for -o json', () => {
    const [cluster] = clusterSection.select(proxy, { fqdn: 'reviews' });
    expect(cluster?.raw).toMatchObject({ name: 'outbound|9080|v3|reviews.default.svc.cluster.local', type: 'EDS' });
    expect(proxy.dump.bootstrap?.raw).toEqual({ node: { id: 'x' } });
    expect(proxy.dump.listeners[0]?.raw).toMatchObject({ name: '127.0.0.1_40123' });
  });
});
