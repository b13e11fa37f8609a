import { describe, expect, it } from '@jest/globals';
import { stringify } from 'yaml';
import { findKind, KIND_NAMES, KINDS, preferredApiVersion } from './kinds.ts';
import { type ParsedResource, parseResource } from './parse-resource.ts';
import { manifestOf } from './resource.ts';
import { parseYaml } from './yaml.ts';

function parse(text: string): ParsedResource {
  return parseResource(parseYaml(text, 'test.yaml').documents[0]!);
}

const REVIEWS = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  labels: {app: reviews}
spec:
  hosts: [reviews]
  http:
  - match:
    - headers:
        end-user: {exact: jason}
    route:
    - destination: {host: reviews, subset: v2}
    timeout: 1.5s
`;

describe('parseResource', () => {
  it('gives what was written, with the namespace defaulted and the lines of its fields', () => {
    const { resource, diagnostics } = parse(`# a comment\n${REVIEWS}`);
    expect(diagnostics).toEqual([]);
    expect(resource).toMatchObject({
      apiVersion: 'networking.istio.io/v1',
      kind: 'VirtualService',
      metadata: { name: 'reviews', namespace: 'default', labels: { app: 'reviews' }, annotations: {}, generation: 1 },
      position: { file: 'test.yaml', line: 2 },
      spec: { hosts: ['reviews'], http: [{ timeout: '1.5s' }] },
    });
    expect(resource?.lineOf?.(['spec', 'http', 0, 'timeout'])).toBe(15);
  });

  it('is written again as it was read', () => {
    const { resource } = parse(REVIEWS);
    expect(parse(stringify(manifestOf(resource!))).resource?.spec).toEqual(resource?.spec);
  });

  it.each(KIND_NAMES.flatMap((kind) => KINDS[kind].versions.map((version) => ({ kind, apiVersion: `${KINDS[kind].group}/${version}` }))))(
    'serves $apiVersion $kind',
    ({ kind, apiVersion }) => {
      const specs: Record<string, unknown> = {
        VirtualService: { hosts: ['a'], http: [{ route: [{ destination: { host: 'a' } }] }] },
        DestinationRule: { host: 'a' },
        Gateway: { servers: [{ port: { number: 80, name: 'http', protocol: 'HTTP' }, hosts: ['*'] }] },
        ServiceEntry: { hosts: ['a.example.com'], ports: [{ number: 443, name: 'tls', protocol: 'TLS' }], resolution: 'DNS' },
        WorkloadEntry: { address: '10.0.0.1' },
        WorkloadGroup: { template: { ports: { http: 80 } } },
        Sidecar: { egress: [{ hosts: ['./*'] }] },
        WasmPlugin: { url: 'oci://example.com/plugin' },
        TrafficExtension: { lua: { inlineCode: 'x' } },
        RateLimit: { rules: [{ name: 'a', limit: { requests: 1 } }] },
      };
      const { resource, diagnostics } = parse(
        stringify({ apiVersion, kind, metadata: { name: 'a', namespace: 'b' }, spec: specs[kind] ?? {} }),
      );
      expect(diagnostics).toEqual([]);
      expect(resource).toMatchObject({ kind, apiVersion, metadata: { namespace: 'b' } });
    },
  );

  it('takes null for absent, but keeps it in opaque objects', () => {
    const { resource } = parse(
      stringify({
        apiVersion: 'networking.istio.io/v1alpha3',
        kind: 'EnvoyFilter',
        metadata: { name: 'a', namespace: null, creationTimestamp: null },
        spec: { workloadSelector: null, configPatches: [{ applyTo: 'CLUSTER', patch: { operation: 'MERGE', value: { a: null } } }] },
      }),
    );
    expect(resource?.spec).toEqual({ configPatches: [{ applyTo: 'CLUSTER', patch: { operation: 'MERGE', value: { a: null } } }] });
  });

  it('accepts what the Kubernetes API server adds', () => {
    const metadata = {
      name: 'a',
      uid: 'x',
      resourceVersion: '1',
      managedFields: [{}],
      generation: 4,
      creationTimestamp: '2024-05-01T10:00:00Z',
    };
    const { resource, diagnostics } = parse(
      stringify({ apiVersion: 'security.istio.io/v1', kind: 'PeerAuthentication', metadata, spec: {}, status: {} }),
    );
    expect(diagnostics).toEqual([]);
    expect(resource?.metadata).toMatchObject({ creationTimestamp: '2024-05-01T10:00:00.000Z', generation: 4 });
  });

  it.each([
    {
      name: 'a field in the wrong place',
      from: 'timeout: 1.5s',
      to: 'timeot: 1.5s',
      code: 'unknown-field',
      line: 14,
      path: 'spec.http[0].timeot',
      message: /no field "timeot" here; did you mean "timeout"\?/,
    },
    {
      name: 'a field with nothing like it',
      from: 'timeout: 1.5s',
      to: 'zebra: 1',
      code: 'unknown-field',
      line: 14,
      path: 'spec.http[0].zebra',
      message: /no field "zebra" here$/,
    },
    {
      name: 'a duration without a unit',
      from: '1.5s',
      to: '"7"',
      code: 'IST0106',
      line: 14,
      path: 'spec.http[0].timeout',
      message: /duration of at least 1ms, such as 7s/,
    },
    {
      name: 'a duration of zero',
      from: '1.5s',
      to: '0s',
      code: 'IST0106',
      line: 14,
      path: 'spec.http[0].timeout',
      message: /at least 1ms/,
    },
    {
      name: 'a number where a string must be',
      from: 'exact: jason',
      to: 'exact: 7',
      code: 'IST0106',
      line: 11,
      path: 'spec.http[0].match[0].headers.end-user.exact',
      message: /must be a string, but is the number 7; write it in quotes: "7"/,
    },
    {
      name: 'a list where an object must be',
      from: '{host: reviews, subset: v2}',
      to: '[]',
      code: 'IST0106',
      line: 13,
      path: 'spec.http[0].route[0].destination',
      message: /must be an object, but is a list/,
    },
    {
      name: 'a required field that is missing',
      from: 'host: reviews, ',
      to: '',
      code: 'IST0106',
      line: 13,
      path: 'spec.http[0].route[0].destination.host',
      message: /"host" is required/,
    },
    {
      name: 'a misspelt kind',
      from: 'kind: VirtualService',
      to: 'kind: VirtualServise',
      code: 'unknown-kind',
      line: 2,
      path: 'kind',
      message: /did you mean VirtualService\?/,
    },
    {
      name: 'a version that is not served',
      from: 'networking.istio.io/v1',
      to: 'networking.istio.io/v2',
      code: 'unknown-kind',
      line: 1,
      path: 'apiVersion',
      message: /served as networking\.istio\.io\/v1, /,
    },
    {
      name: 'a misspelt group',
      from: 'networking.istio.io/v1',
      to: 'networking.istio.oi/v1',
      code: 'unknown-kind',
      line: 1,
      path: 'apiVersion',
      message: /has no apiVersion/,
    },
    {
      name: 'a kind of Istio in no group',
      from: 'networking.istio.io/v1',
      to: 'v1',
      code: 'unknown-kind',
      line: 1,
      path: 'apiVersion',
      message: /served as/,
    },
    {
      name: 'no apiVersion',
      from: 'apiVersion: networking.istio.io/v1\n',
      to: '',
      code: 'unknown-kind',
      line: 1,
      path: 'apiVersion',
      message: /"apiVersion" is required, such as networking\.istio\.io\/v1/,
    },
    {
      name: 'a name with capitals',
      from: 'name: reviews',
      to: 'name: Reviews',
      code: 'IST0106',
      line: 4,
      path: 'metadata.name',
      message: /"Reviews" is not a name/,
    },
    {
      name: 'no name',
      from: 'name: reviews\n',
      to: 'namespace: a\n',
      code: 'IST0106',
      line: 3,
      path: 'metadata.name',
      message: /"name" is required/,
    },
    {
      name: 'labels that are not strings',
      from: '{app: reviews}',
      to: '{app: true}',
      code: 'IST0106',
      line: 5,
      path: 'metadata.labels.app',
      message: /write it in quotes: "true"/,
    },
    {
      name: 'an unknown field at the top',
      from: 'spec:',
      to: 'specs:',
      code: 'unknown-field',
      line: 6,
      path: 'specs',
      message: /did you mean "spec"\?/,
    },
  ])('refuses $name with its place', ({ from, to, code, line, path, message }) => {
    expect(REVIEWS).toContain(from);
    const { resource, diagnostics } = parse(REVIEWS.replace(from, to));
    expect(resource).toBeUndefined();
    const [found] = diagnostics;
    expect(found).toMatchObject({
      code,
      severity: 'error',
      position: { file: 'test.yaml', line },
      message: expect.stringMatching(message),
    });
    expect(
      found?.path
        ?.map((step) => (typeof step === 'number' ? `[${step}]` : step))
        .join('.')
        .replaceAll('.[', '['),
    ).toBe(path);
  });

  it('reports everything that is wrong at once', () => {
    const { diagnostics } = parse(
      REVIEWS.replace('1.5s', 'soon').replace('exact: jason', 'exakt: jason').replace('hosts: [reviews]', 'hosts: reviews'),
    );
    expect(diagnostics).toHaveLength(3);
  });

  it.each([
    { apiVersion: 'apps/v1', kind: 'Deployment' },
    { apiVersion: 'v1', kind: 'Service' },
    { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway' },
    { apiVersion: 'networking.k8s.io/v1', kind: 'Ingress' },
    { apiVersion: 'example.com/v1', kind: 'Sidecar' },
    { apiVersion: 'install.istio.io/v1alpha1', kind: 'IstioOperator' },
  ])('leaves $kind of $apiVersion alone', ({ apiVersion, kind }) => {
    const { resource, diagnostics } = parse(stringify({ apiVersion, kind, metadata: { name: 'a' }, spec: { anything: 1 } }));
    expect(resource).toBeUndefined();
    expect(diagnostics).toMatchObject([{ code: 'unknown-kind', severity: 'info' }]);
  });

  it.each(['just text', '[1, 2]', '7'])('refuses the document %s', (text) => {
    expect(parse(text)).toMatchObject({ diagnostics: [{ code: 'IST0106', severity: 'error' }] });
  });
});

describe('kinds', () => {
  it.each([
    ['vs', 'VirtualService'],
    ['serviceentry', 'ServiceEntry'],
    ['ServiceEntries', 'ServiceEntry'],
    ['gateways.networking.istio.io', 'Gateway'],
    ['authorizationpolicy', 'AuthorizationPolicy'],
    ['telemetry', 'Telemetry'],
  ])('finds %s', (name, kind) => {
    expect(findKind(name)).toBe(kind);
  });

  it('finds nothing for what is not a kind', () => {
    expect(findKind('pods')).toBeUndefined();
    expect(preferredApiVersion('EnvoyFilter')).toBe('networking.istio.io/v1alpha3');
  });
});
