import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import { createServer as createHttpsServer, request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { createHostCertificate, freePort, type HostCertificate } from '@mizzen/testing';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';
import { until } from './until.ts';

type Json = Record<string, unknown>;

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const LISTENERS = ['http', 'sni'] as const;
type Ports = Readonly<Record<(typeof LISTENERS)[number], number>>;

const address = (port: number): Json => ({ socket_address: { address: '127.0.0.1', port_value: port } });
const any = (type: string, fields: Json): Json => ({ '@type': `type.googleapis.com/envoy.extensions.${type}`, ...fields });
const cache = (more: Json = {}): Json => ({
  name: 'names',
  dns_lookup_family: 'V4_ONLY',
  dns_query_timeout: '10s',
  dns_refresh_rate: '60s',
  dns_failure_refresh_rate: { base_interval: '60s', max_interval: '60s' },
  host_ttl: '60s',
  max_hosts: 6,
  ...more,
});

function cluster(name: string, more: Json): Json {
  return { name, connect_timeout: '10s', lb_policy: 'CLUSTER_PROVIDED', ...more };
}

function dynamic(fields: Json): Json {
  return {
    cluster_type: {
      name: 'envoy.clusters.dynamic_forward_proxy',
      typed_config: any('clusters.dynamic_forward_proxy.v3.ClusterConfig', fields),
    },
  };
}

function httpOptions(names: Json): Json {
  const given = { explicit_http_config: { http_protocol_options: {} }, upstream_http_protocol_options: names };
  return { typed_extension_protocol_options: { [HTTP_OPTIONS]: { '@type': `type.googleapis.com/${HTTP_OPTIONS}`, ...given } } };
}

function clusters(ca: string): readonly Json[] {
  const tls = any('transport_sockets.tls.v3.UpstreamTlsContext', {
    common_tls_context: { validation_context: { trusted_ca: { inline_string: ca } } },
  });
  return [
    cluster('plain', { ...dynamic({ dns_cache_config: cache(), allow_insecure_cluster_options: true }), ...httpOptions({}) }),
    cluster('secure', {
      ...dynamic({ dns_cache_config: cache() }),
      ...httpOptions({ auto_sni: true, auto_san_validation: true }),
      transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: tls },
    }),
    cluster('older', dynamic({ dns_cache_config: cache() })),
  ];
}

function bootstrap(ports: Ports, backends: { readonly plain: number; readonly secure: number }, ca: string): Json {
  const perRoute = (fields: Json): Json => ({
    typed_per_filter_config: {
      'envoy.filters.http.dynamic_forward_proxy': any('filters.http.dynamic_forward_proxy.v3.PerRouteConfig', fields),
    },
  });
  const routes = [
    { match: { prefix: '/rewritten' }, route: { cluster: 'plain' }, ...perRoute({ host_rewrite_literal: `localhost:${backends.plain}` }) },
    { match: { prefix: '/named' }, route: { cluster: 'plain' }, ...perRoute({ host_rewrite_header: 'X-Host' }) },
    { match: { prefix: '/secure' }, route: { cluster: 'secure' } },
    { match: { prefix: '/older' }, route: { cluster: 'older' } },
    { match: { prefix: '/' }, route: { cluster: 'plain' } },
  ];
  const filter = any('filters.http.dynamic_forward_proxy.v3.FilterConfig', { dns_cache_config: cache() });
  const manager = any('filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: 'http',
    route_config: { name: 'r', virtual_hosts: [{ name: 'all', domains: ['*'], routes }] },
    http_filters: [
      { name: 'envoy.filters.http.dynamic_forward_proxy', typed_config: filter },
      { name: 'envoy.filters.http.router', typed_config: any('filters.http.router.v3.Router', {}) },
    ],
    access_log: [
      {
        name: 'envoy.access_loggers.stdout',
        typed_config: any('access_loggers.stream.v3.StdoutAccessLog', {
          log_format: {
            text_format_source: { inline_string: 'dfp %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n' },
          },
        }),
      },
    ],
  });
  const sni = any('filters.network.sni_dynamic_forward_proxy.v3.FilterConfig', { dns_cache_config: cache(), port_value: backends.secure });
  const tcp = any('filters.network.tcp_proxy.v3.TcpProxy', { stat_prefix: 'sni', cluster: 'plain' });
  return {
    static_resources: {
      clusters: clusters(ca),
      listeners: [
        {
          name: 'http',
          address: address(ports.http),
          filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] }],
        },
        {
          name: 'sni',
          address: address(ports.sni),
          listener_filters: [
            { name: 'envoy.filters.listener.tls_inspector', typed_config: any('filters.listener.tls_inspector.v3.TlsInspector', {}) },
          ],
          filter_chains: [
            {
              filters: [
                { name: 'envoy.filters.network.sni_dynamic_forward_proxy', typed_config: sni },
                { name: 'envoy.filters.network.tcp_proxy', typed_config: tcp },
              ],
            },
          ],
        },
      ],
    },
  };
}

interface Asked {
  readonly path: string;
  readonly host: string;
  readonly headers?: Record<string, string>;
}

async function ask(port: number, { path, host, headers }: Asked): Promise<unknown> {
  const asking = request({ port, host: '127.0.0.1', path, headers: { host, ...headers }, agent: false }).end();
  const [response] = await once(asking, 'response');
  const body = await text(response);
  // What TLS says of a failure is each library's own.
  return [response.statusCode, response.statusCode === 503 && body.includes('TLS') ? 'TLS' : body];
}

async function askThrough(port: number, servername: string): Promise<string> {
  const asking = httpsRequest({ port, host: '127.0.0.1', servername, rejectUnauthorized: false, agent: false }).end();
  try {
    const [response] = await once(asking, 'response');
    return `${response.statusCode} ${await text(response)}`;
  } catch (thrown) {
    return (thrown as { code: string }).code;
  }
}

describeWithEnvoy('needs envoy: dynamic forward proxies of ours and of Envoy', () => {
  const servers: Server[] = [];
  let certificate: HostCertificate;
  let backends: { plain: number; secure: number };
  let at: { readonly envoy: Ports; readonly ours: Ports };
  let envoy: Envoy;
  let proxy: MeshProxy;
  let ourLog = '';
  let adminPort = 0;

  async function listen(server: Server): Promise<number> {
    servers.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  beforeAll(async () => {
    certificate = await createHostCertificate('localhost');
    const { certChainPem: cert, privateKeyPem: key } = certificate;
    backends = {
      plain: await listen(createServer(({ headers }, response) => response.end(`plain ${headers.host}`))),
      secure: await listen(
        createHttpsServer({ cert, key }, ({ headers }, response) => response.end(`secure ${headers.host?.replace(/:.*/, '')}`)),
      ),
    };
    const ports = async (): Promise<Ports> => ({ http: await freePort(), sni: await freePort() });
    at = { envoy: await ports(), ours: await ports() };
    envoy = await startEnvoy(bootstrap(at.envoy, backends, certificate.caPem));
    adminPort = await freePort();
    proxy = await startOurProxy({ ...bootstrap(at.ours, backends, certificate.caPem), admin: { address: address(adminPort) } }, (line) => {
      ourLog += line;
    });
  });

  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    for (const server of servers) server.close().closeAllConnections();
  });

  it('go where requests say, refuse what they cannot resolve and more names than they may keep, and log it, alike', async () => {
    const { plain, secure } = backends;
    const all: readonly Asked[] = [
      { path: '/', host: `localhost:${plain}` },
      { path: '/', host: `localhost:${plain}` },
      { path: '/', host: `127.0.0.1:${plain}` },
      { path: '/', host: 'no-such-name.invalid' },
      { path: '/', host: 'no-such-name.invalid' },
      { path: '/rewritten', host: 'elsewhere.example' },
      { path: '/named', host: 'elsewhere.invalid', headers: { 'x-host': `localhost:${plain}` } },
      { path: '/secure', host: `localhost:${secure}` },
      { path: '/secure', host: `127.0.0.1:${secure}` },
      { path: '/', host: `localhost:${plain}` },
      { path: '/', host: 'localhost:1' },
      { path: '/', host: 'localhost:2' },
    ];
    const inTurn = async (port: number): Promise<unknown[]> => {
      const answers: unknown[] = [];
      for (const asked of all) answers.push(await ask(port, asked));
      return answers;
    };
    expect(await inTurn(at.ours.http)).toEqual(await inTurn(at.envoy.http));
    const lines = (log: string): string[] =>
      log
        .split('\n')
        .filter((line) => line.startsWith('dfp '))
        // The resolver's own words, and TLS's.
        .map((line) => line.replace(/[{|].*$/, '').replace(/(?<=upstream_reset_before_response_started).*$/, ''));
    await until('our log', async () => (lines(ourLog).length >= all.length ? true : undefined));
    await until("Envoy's log", async () => (lines(await envoy.output()).length >= all.length ? true : undefined));
    expect(lines(ourLog)).toEqual(lines(await envoy.output()));
    const names = ['host_added', 'host_overflow', 'num_hosts', 'dns_rq_pending_overflow'].map((name) => `dns_cache.names.${name}`);
    const envoys = await envoy.stats('^dns_cache.names');
    const page = await (await fetch(`http://127.0.0.1:${adminPort}/stats?filter=^dns_cache.names`)).text();
    const ours = Object.fromEntries(page.split('\n').map((line) => [line.split(': ')[0], Number(line.split(': ')[1])]));
    expect(names.map((name) => [name, ours[name]])).toEqual(names.map((name) => [name, envoys[name]]));
  });

  it('go where TLS asks to alike', async () => {
    for (const name of ['localhost', 'no-such-name.invalid'])
      expect([name, await askThrough(at.ours.sni, name)]).toEqual([name, await askThrough(at.envoy.sni, name)]);
  });
});
