import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import { freePort } from '@mizzen/testing';
import { createProxy, loadBootstrap } from '../index.ts';

/** As `.ci/run` installs it: `go install github.com/summerwind/h2spec/cmd/h2spec`. */
const binary = process.env['MIZZEN_H2SPEC'] ?? join(homedir(), '.cache/h2spec/h2spec');
const describeWithH2spec = existsSync(binary) ? describe : describe.skip;

interface Expectation {
  readonly test: string;
  readonly codec: string;
  readonly reason: string;
}

describeWithH2spec('h2spec against the proxy (needs h2spec)', () => {
  it.each(['AUTO', 'HTTP2'])(
    'finds nothing but what is expected with codec_type %s',
    async (codec) => {
      const expectations = JSON.parse(await readFile(new URL('./h2spec-expectations.json', import.meta.url), 'utf8')) as Expectation[];
      const backend = createServer((request, response) => {
        request.resume();
        request.on('end', () => response.end('hello'));
      });
      backend.listen(0, '127.0.0.1');
      await once(backend, 'listening');
      const port = await freePort();
      const bootstrap = await loadBootstrap(JSON.stringify(bootstrapAt(port, (backend.address() as AddressInfo).port, codec)), 'json');
      const proxy = createProxy({ bootstrap, clock: systemClock, random: Math.random, logger: silentLogger, drainTimeMs: 0 });
      await proxy.start();
      const { total, failed } = await runH2spec(port);
      await proxy.close();
      backend.closeAllConnections();
      backend.close();
      expect(total).toBeGreaterThan(140);
      expect(failed).toEqual(expectations.filter((expectation) => expectation.codec === codec).map(({ test }) => test));
    },
    120_000,
  );
});

async function runH2spec(port: number): Promise<{ readonly total: number; readonly failed: readonly string[] }> {
  const folder = await mkdtemp(join(tmpdir(), 'mizzen-h2spec-'));
  const report = join(folder, 'report.xml');
  // It ends with 1 where a test failed: the report says which.
  await new Promise<void>((resolve) => {
    execFile(binary, ['-h', '127.0.0.1', '-p', String(port), '-j', report], () => resolve());
  });
  const xml = await readFile(report, 'utf8');
  await rm(folder, { recursive: true });
  const cases = [...xml.matchAll(/<testcase package="([^"]+)" classname="([^"]+)"[^>]*>([\s\S]*?)<\/testcase>/g)];
  const failed = cases.filter(([, , , inside]) => /<(?:failure|error)>/.test(inside as string));
  return { total: cases.length, failed: failed.map(([, section, name]) => `${section}: ${name}`) };
}

function bootstrapAt(port: number, backend: number, codec: string): Record<string, unknown> {
  const address = (portValue: number): unknown => ({ socket_address: { address: '127.0.0.1', port_value: portValue } });
  const route = { match: { prefix: '/' }, route: { cluster: 'backend' } };
  const manager = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'h2spec',
    codec_type: codec,
    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [route] }] },
    http_filters: [{ name: 'router', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' } }],
  };
  const endpoint = { endpoint: { address: address(backend) } };
  return {
    static_resources: {
      listeners: [{ name: 'in', address: address(port), filter_chains: [{ filters: [{ name: 'hcm', typed_config: manager }] }] }],
      clusters: [
        {
          name: 'backend',
          type: 'STATIC',
          connect_timeout: '10s',
          load_assignment: { cluster_name: 'backend', endpoints: [{ lb_endpoints: [endpoint] }] },
        },
      ],
    },
  };
}
