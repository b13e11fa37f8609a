import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { systemClock } from '@mizzen/core';
import { type ConnectedKubeClient, connectKubernetes, isKubeError, type KubeObject } from '@mizzen/kube';
import { describeOnKubernetes } from '@mizzen/kube/testing';
import { renderCrds } from '@mizzen/manifests';
import { isKind, KIND_NAMES, KINDS, type Kind } from '@mizzen/mesh-api';
import { parse, parseAllDocuments } from 'yaml';
import { applyCrds } from './apply-installation.ts';

const samples = path.resolve(import.meta.dirname, '../../../../deploy/samples/bookinfo/networking');

const attach = { selector: { matchLabels: { app: 'a' } }, targetRefs: [{ kind: 'Service', name: 'a' }] };
const route = (over: string): string => `{ hosts: [a], http: [{ route: [{ destination: { host: a } }], ${over} }] }`;
const serviceEntry = (over: string): string => `{ hosts: [a.example.com], ports: [{ number: 80, name: http }], ${over} }`;

/** What the API server itself refuses, and the words that it does so with. */
const INVALID: readonly (readonly [kind: Kind, spec: string | object, message: string])[] = [
  ['VirtualService', route('timeout: 0.1ms'), 'valid duration greater than 1ms'],
  ['VirtualService', route('match: [{ uri: { exact: /a, prefix: /b } }]'), 'only one of exact, prefix, regex'],
  ['VirtualService', route('match: [{ headers: { end-user: { exact: a, regex: b } } }]'), 'only one of exact, prefix, regex'],
  ['VirtualService', route('fault: { abort: { httpStatus: 500, grpcStatus: OK } }'), 'only one of httpStatus'],
  ['VirtualService', route('fault: { abort: { httpStatus: 700 } }'), 'less than or equal to 599'],
  ['VirtualService', route('redirect: { port: 80, derivePort: FROM_REQUEST_PORT }'), 'only one of port, derivePort'],
  ['VirtualService', '{ hosts: [a], http: [{ route: [{ destination: {} }] }] }', 'host: Required value'],
  ['DestinationRule', '{}', 'host: Required value'],
  ['DestinationRule', '{ host: a, trafficPolicy: { loadBalancer: { simple: RANDOM, consistentHash: { useSourceIp: true } } } }', 'oneOf'],
  ['DestinationRule', '{ host: a, trafficPolicy: { loadBalancer: { simple: SLOWEST } } }', 'Unsupported value: "SLOWEST"'],
  ['DestinationRule', '{ host: a, trafficPolicy: { connectionPool: { tcp: { idleTimeout: soon } } } }', 'should match'],
  ['DestinationRule', '{ host: a, workloadSelector: { matchLabels: { app: "a*" } } }', 'wildcard'],
  ['Gateway', '{ servers: [{ port: { number: 70000, protocol: HTTP, name: http }, hosts: ["*"] }] }', 'less than or equal to 65535'],
  [
    'Gateway',
    '{ servers: [{ port: { number: 443, protocol: HTTPS, name: s }, hosts: ["*"], tls: { credentialName: a, credentialNames: [b] } }] }',
    'only one of credentialName, credentialNames',
  ],
  [
    'ServiceEntry',
    serviceEntry('workloadSelector: { labels: { a: b } }, endpoints: [{ address: 10.0.0.1 }]'),
    'only one of workloadSelector',
  ],
  ['ServiceEntry', serviceEntry('resolution: DNS, addresses: [10.0.0.0/8]'), 'CIDR addresses'],
  ['ServiceEntry', serviceEntry('endpoints: [{ address: 10.0.0.1 }]'), 'NONE mode cannot set endpoints'],
  ['ServiceEntry', serviceEntry('resolution: DNS_ROUND_ROBIN, endpoints: [{ address: a.b }, { address: c.d }]'), 'multiple endpoints'],
  ['ServiceEntry', '{ hosts: ["*"], ports: [{ number: 80, name: http }] }', 'hostname cannot be wildcard'],
  ['ServiceEntry', '{ hosts: [a.b], ports: [{ number: 80, name: a }, { number: 80, name: b }] }', 'port number cannot be duplicated'],
  ['WorkloadEntry', '{ labels: { app: a } }', 'Address is required'],
  ['WorkloadEntry', '{ address: "unix:///run/a.sock", ports: { http: 80 } }', 'UDS may not include ports'],
  ['WorkloadEntry', '{ address: "unix://run/a.sock" }', 'UDS must be an absolute path'],
  ['WorkloadEntry', '{ address: 10.0.0.1, ports: { "-a": 80 } }', 'port name must be valid'],
  ['WorkloadGroup', '{ template: {}, probe: { tcpSocket: { port: 80 }, grpc: { port: 80 } } }', 'only one of httpGet'],
  ['Sidecar', '{ egress: [{ hosts: [] }] }', 'should have at least 1 items'],
  ['EnvoyFilter', '{ workloadSelector: { labels: { a: b } }, targetRefs: [{ kind: Service, name: a }] }', 'only one of workloadSelector'],
  ['EnvoyFilter', '{ configPatches: [{ match: { context: WAYPOINT, cluster: { name: a } } }] }', 'only support waypointMatch'],
  ['ProxyConfig', '{ concurrency: -1 }', 'greater than or equal to 0'],
  ['PeerAuthentication', '{ portLevelMtls: { "80": { mode: STRICT } } }', 'portLevelMtls requires selector'],
  ['PeerAuthentication', '{ selector: { matchLabels: { a: b } }, portLevelMtls: { "70000": { mode: STRICT } } }', 'port must be between'],
  ['PeerAuthentication', '{ mtls: { mode: SOMETIMES } }', 'Unsupported value: "SOMETIMES"'],
  ['RequestAuthentication', '{ jwtRules: [{ issuer: a, jwks: "{}", jwksUri: "https://a.b/c" }] }', 'only one of jwksUri'],
  ['RequestAuthentication', '{ jwtRules: [{ issuer: a, jwksUri: "ftp://a.b/c" }] }', 'http:// or https://'],
  ['AuthorizationPolicy', '{ action: CUSTOM }', 'provider and action CUSTOM'],
  ['AuthorizationPolicy', '{ provider: { name: a } }', 'provider and action CUSTOM'],
  ['AuthorizationPolicy', '{ rules: [{ from: [{ source: { serviceAccounts: [a], principals: [b] } }] }] }', 'Cannot set serviceAccounts'],
  ['AuthorizationPolicy', attach, 'only one of selector, targetRef, targetRefs'],
  ['AuthorizationPolicy', { targetRefs: [{ kind: 'Service', name: 'a', namespace: 'other' }] }, 'cross namespace referencing'],
  ['Telemetry', '{ metrics: [{ overrides: [{ tagOverrides: { a: { operation: UPSERT } } }] }] }', 'value must be set'],
  ['Telemetry', '{ metrics: [{ overrides: [{ tagOverrides: { a: { operation: REMOVE, value: b } } }] }] }', 'value must not be set'],
  ['Telemetry', '{ tracing: [{ customTags: { a: { literal: { value: b }, header: { name: c } } } }] }', 'only one of literal'],
  ['WasmPlugin', '{ url: "ftp://a.b/c.wasm" }', 'url must have schema'],
  ['WasmPlugin', '{ url: a.b/c, vmConfig: { env: [{ name: A, valueFrom: HOST, value: b }] } }', 'value may only be set when valueFrom'],
  ['TrafficExtension', '{}', 'exactly one of wasm or lua'],
  ['RateLimit', '{ rules: [] }', 'should have at least 1 items'],
  ['RateLimit', '{ rules: [{ name: a, limit: { requests: 0 } }] }', 'greater than or equal to 1'],
];

/** One resource of each kind with what is peculiar to its schema: opaque objects, maps, nulls, enums, durations. */
const VALID: readonly (readonly [kind: Kind, spec: string])[] = [
  ['VirtualService', route('timeout: 1h30m, mirror_percent: null, retries: { attempts: 0, retryRemoteLocalities: null }')],
  ['DestinationRule', '{ host: a, trafficPolicy: { connectionPool: { tcp: { idleTimeout: 0s, connectTimeout: 1.5s } } } }'],
  ['Gateway', '{ selector: { istio: ingressgateway }, servers: [{ port: { number: 80, protocol: HTTP, name: http }, hosts: ["*"] }] }'],
  ['ServiceEntry', serviceEntry('resolution: STATIC, addresses: [10.0.0.0/8], endpoints: [{ address: 10.0.0.1, ports: { http: 8080 } }]')],
  ['WorkloadEntry', '{ address: 10.0.0.1, ports: { http: 8080 }, weight: 5 }'],
  ['WorkloadGroup', '{ template: { serviceAccount: a }, probe: { httpGet: { port: 80, scheme: "" } } }'],
  ['Sidecar', '{ egress: [{ hosts: ["./*"] }] }'],
  ['EnvoyFilter', '{ configPatches: [{ applyTo: CLUSTER, patch: { operation: MERGE, value: { any: { thing: [1, a] } } } }] }'],
  ['ProxyConfig', '{ concurrency: 2, environmentVariables: { A: b } }'],
  ['PeerAuthentication', '{ selector: { matchLabels: { a: b } }, portLevelMtls: { "80": { mode: STRICT } } }'],
  ['RequestAuthentication', '{ jwtRules: [{ issuer: a, jwksUri: "https://a.example.com/jwks", timeout: 2s }] }'],
  ['AuthorizationPolicy', '{ rules: [{ from: [{ source: { principals: ["*"] } }] }] }'],
  ['Telemetry', '{ tracing: [{ randomSamplingPercentage: 12.5, customTags: { a: { literal: { value: b } } } }] }'],
  ['WasmPlugin', '{ url: "oci://a.example.com/b:1", pluginConfig: { any: { thing: [1, a] } } }'],
  ['TrafficExtension', '{ lua: { inlineCode: "return" } }'],
  [
    'RateLimit',
    '{ rules: [{ name: a, scope: GLOBAL, match: { headers: { x-a: {} } }, by: [{ attribute: CALLER }], limit: { requests: 9, unit: DAY } }] }',
  ],
];

describeOnKubernetes('the kinds in a real API server (needs kubernetes)', () => {
  let client: ConnectedKubeClient;
  beforeAll(async () => {
    client = await connectKubernetes();
    await applyCrds(client, renderCrds(), { clock: systemClock, timeoutMs: 60_000 });
  }, 90_000);
  afterAll(() => client.close());

  const tryOut = (kind: Kind, version: string, object: KubeObject): Promise<KubeObject> =>
    client.create(
      { apiVersion: `${KINDS[kind].group}/${version}`, kind, plural: KINDS[kind].plural, isNamespaced: true },
      { ...object, metadata: { ...object.metadata, namespace: 'default' } },
      { dryRun: true },
    );
  const resource = (spec: unknown): KubeObject => ({ metadata: { name: 'crd-spec' }, spec });
  const read = (spec: string | object): unknown => (typeof spec === 'string' ? parse(spec) : spec);

  it.each(INVALID)('refuses a %s of %j: %s', async (kind, spec, message) => {
    const thrown = await tryOut(kind, KINDS[kind].versions[0] as string, resource(read(spec))).catch((error: unknown) => error);
    expect(isKubeError(thrown) && thrown.reason).toBe('Invalid');
    expect(String((thrown as Error).message)).toContain(message);
  });

  it.each(VALID)('keeps a %s as it is written in every version: %s', async (kind, spec) => {
    for (const version of KINDS[kind].versions) {
      const kept = await tryOut(kind, version, resource(read(spec)));
      expect(withoutNulls(kept['spec'])).toEqual(withoutNulls(read(spec)));
    }
  });

  it('has an example of every kind', () => {
    expect(new Set(VALID.map(([kind]) => kind))).toEqual(new Set(KIND_NAMES));
  });

  it.each(readdirSync(samples).filter((file) => file.endsWith('.yaml')))('takes %s of the sample', async (file) => {
    for (const document of parseAllDocuments(readFileSync(path.join(samples, file), 'utf8'))) {
      const object = document.toJS() as KubeObject & { kind: string; apiVersion: string };
      if (!isKind(object.kind)) continue;
      const version = object.apiVersion.slice(object.apiVersion.indexOf('/') + 1);
      const kept = await tryOut(object.kind, version, resource(object['spec']));
      expect(kept['spec']).toEqual(object['spec']);
    }
  });
});

function withoutNulls(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_, inner) => (inner === null ? undefined : inner)));
}
