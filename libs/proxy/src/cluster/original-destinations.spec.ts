import { once } from 'node:events';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Cleanup, startProxy } from '../testing/harness.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

async function startServer(): Promise<number> {
  const server = createServer((asked, response) => response.end(`for ${asked.headers.host}`));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanup.add(() => server.closeAllConnections());
  cleanup.add(() => server.close());
  return (server.address() as AddressInfo).port;
}

function bootstrap(lbConfig: string): string {
  return `
static_resources:
  listeners:
  - name: http
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config: {name: all, virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: wanted}}]}]}
  clusters:
  - name: wanted
    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
    connect_timeout: 10s
    original_dst_lb_config: ${lbConfig}
`;
}

async function get(port: number, host: string): Promise<string> {
  const sent = request({ host: '127.0.0.1', port, headers: { host }, agent: false }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return text(response);
}

describe('an ORIGINAL_DST cluster', () => {
  it('connects to the address that a header names', async () => {
    const server = await startServer();
    const { portOf } = await startProxy(cleanup, bootstrap('{use_http_header: true, http_header_name: ":authority"}'));
    expect(await get(portOf('http'), `127.0.0.1:${server}`)).toBe(`for 127.0.0.1:${server}`);
  });

  it('connects to another port of it where it is told to', async () => {
    const server = await startServer();
    const { portOf } = await startProxy(
      cleanup,
      bootstrap(`{use_http_header: true, http_header_name: ":authority", upstream_port_override: ${server}}`),
    );
    expect(await get(portOf('http'), '127.0.0.1:1')).toBe('for 127.0.0.1:1');
  });
});
