import { describe, expect, it } from '@jest/globals';
import { formatPath } from '@mizzen/core';
import { leafPaths } from '@mizzen/mesh-api';
import { readCase } from '../testing/translation-case.ts';
import { diagnoseSnapshot } from './diagnose-snapshot.ts';
import { SUPPORTED_FIELDS } from './supported-fields.ts';

const SERVICE = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: a }
spec:
  hosts: [a.default.svc.cluster.local]
  ports: [{ number: 80, name: http, protocol: HTTP }]
  resolution: STATIC
  workloadSelector: { labels: { app: a } }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: a }
spec: { host: a, subsets: [{ name: v1 }] }`;

function virtualService(name: string, spec: string): string {
  return `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name} }
spec: ${spec}`;
}

/** `code severity path` of everything that is found, in order. */
function findings(...documents: string[]): string[] {
  const { snapshot } = readCase(
    ['nodes: {}', SERVICE, ...documents.map((text) => text.replace(/^---\n/, ''))].join('\n---\n'),
    'test.yaml',
  );
  return diagnoseSnapshot(snapshot).map(({ code, severity, path }) => `${code} ${severity} ${formatPath(path ?? [])}`);
}

describe('diagnoseSnapshot', () => {
  it('finds nothing wrong with what is right', () => {
    expect(findings(virtualService('a', '{ hosts: [a], http: [{ route: [{ destination: { host: a, subset: v1 } }] }] }'))).toEqual([]);
  });

  it.each([
    [
      'a missing subset',
      '{ hosts: [a], http: [{ route: [{ destination: { host: a, subset: v9 } }] }] }',
      'IST0101 error spec.http[0].route[0].destination.subset',
    ],
    [
      'a missing host',
      '{ hosts: [a], http: [{ route: [{ destination: { host: gone } }] }] }',
      'IST0101 error spec.http[0].route[0].destination.host',
    ],
    [
      'a missing mirror',
      '{ hosts: [a], http: [{ route: [{ destination: { host: a } }], mirror: { host: gone } }] }',
      'IST0101 error spec.http[0].mirror.host',
    ],
    [
      'a missing host of a TCP route',
      '{ hosts: [a], tcp: [{ route: [{ destination: { host: gone } }] }] }',
      'IST0101 error spec.tcp[0].route[0].destination.host',
    ],
    [
      'a missing gateway',
      '{ hosts: [a], gateways: [mesh, gone], http: [{ route: [{ destination: { host: a } }] }] }',
      'IST0101 error spec.gateways[1]',
    ],
    [
      'a rule behind a catch-all',
      '{ hosts: [a], http: [{ route: [{ destination: { host: a } }] }, { route: [{ destination: { host: a } }] }] }',
      'IST0130 warning spec.http[1]',
    ],
    [
      'a regular expression that RE2 refuses',
      '{ hosts: [a], http: [{ match: [{ uri: { regex: "(?=x)" } }], route: [{ destination: { host: a } }] }] }',
      'IST0106 error spec.http[0].match[0].uri.regex',
    ],
    [
      'a field that has no effect',
      '{ hosts: [a], http: [{ route: [{ destination: { host: a } }], fault: { delay: { exponentialDelay: 1s } } }] }',
      'unsupported-field warning spec.http[0].fault.delay.exponentialDelay',
    ],
  ])('names %s', (_, spec, expected) => {
    expect(findings(virtualService('x', spec))).toEqual([expected]);
  });

  it.each([
    [
      'claims of a JWT, which nothing verifies',
      '{ hosts: [a], gateways: [gone], http: [{ match: [{ headers: { "@request.auth.claims.sub": { exact: x } } }], route: [{ destination: { host: a } }] }] }',
      ['IST0149 error spec.http[0].match[0].headers.@request.auth.claims.sub', 'IST0101 error spec.gateways[0]'],
    ],
    [
      'a pseudo-header among the headers',
      '{ hosts: [a], http: [{ match: [{ headers: { method: { exact: GET } } }], route: [{ destination: { host: a } }] }] }',
      ['no-effect warning spec.http[0].match[0].headers.method'],
    ],
    [
      'subnets, which would widen the match',
      '{ hosts: [a], tcp: [{ match: [{ destinationSubnets: [10.0.0.0/8], sourceSubnet: 10.0.0.1 }], route: [{ destination: { host: a } }] }] }',
      ['unsupported-field error spec.tcp[0].match[0].sourceSubnet', 'no-effect info spec.tcp[0].match[0].destinationSubnets'],
    ],
    [
      'a delegate that does not exist',
      '{ hosts: [a], http: [{ delegate: { name: gone } }] }',
      ['IST0101 error spec.http[0].delegate.name'],
    ],
    ['a delegate that nobody uses', '{ http: [{ route: [{ destination: { host: a } }] }] }', ['no-effect warning spec']],
  ])('names %s', (_, spec, expected) => {
    expect(findings(virtualService('x', spec))).toEqual(expected);
  });

  it('looks into delegates, and names their rules that contradict the root', () => {
    const root = '{ hosts: [a], http: [{ match: [{ headers: { x: { exact: a } } }], delegate: { name: leaf } }] }';
    const leaf =
      '{ http: [{ match: [{ headers: { x: { exact: b } } }], route: [{ destination: { host: a } }] }, { match: [{ uri: { regex: "(" } }], route: [{ destination: { host: gone } }] }] }';
    expect(findings(virtualService('root', root), virtualService('leaf', leaf))).toEqual([
      'IST0106 error spec.http[1].match[0].uri.regex',
      'IST0101 error spec.http[1].route[0].destination.host',
      'no-effect warning spec.http[0].match',
    ]);
  });

  it('names what an older resource decides', () => {
    const security = (name: string, spec: string) =>
      `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: ${name}\nspec: ${spec}`;
    const rule = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: b }
spec: { host: a, subsets: [{ name: v1 }], trafficPolicy: { loadBalancer: { simple: RANDOM } } }`;
    const sidecar = (name: string) => `apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: ${name} }
spec: { egress: [{ hosts: ["*/*"] }] }`;
    expect(
      findings(
        security('{ name: one }', '{ mtls: { mode: PERMISSIVE } }'),
        security('{ name: two }', '{ mtls: { mode: STRICT } }'),
        security('{ name: three, namespace: istio-system }', '{ selector: { matchLabels: { app: a } }, mtls: { mode: STRICT } }'),
        rule,
        rule.replace('name: b', 'name: c'),
        sidecar('one'),
        sidecar('two'),
      ),
    ).toEqual([
      'no-effect error spec',
      'no-effect error spec.selector',
      'no-effect warning spec.subsets[0]',
      'no-effect warning spec.trafficPolicy',
      'no-effect warning spec.subsets[0]',
      'no-effect warning spec',
    ]);
  });

  it('names the younger of two VirtualServices for one host', () => {
    const spec = '{ hosts: [a], http: [{ route: [{ destination: { host: a } }] }] }';
    expect(findings(virtualService('one', spec), virtualService('two', spec))).toEqual(['IST0109 error spec.hosts[0]']);
  });

  it('calls an ignored authorization an error, because it leaves a door open', () => {
    const policy = (kind: string, spec: string) => `apiVersion: security.istio.io/v1\nkind: ${kind}\nmetadata: { name: p }\nspec: ${spec}`;
    expect(findings(policy('AuthorizationPolicy', '{ action: DENY, rules: [{}] }'), policy('RequestAuthentication', '{}'))).toEqual([
      'unsupported-field error spec',
      'unsupported-field error spec',
    ]);
  });

  it('names values that are not translated', () => {
    const gateway = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: g }
spec: { selector: { a: b }, servers: [{ port: { number: 443, name: tls, protocol: TLS }, hosts: ["*"], tls: { mode: AUTO_PASSTHROUGH } }] }`;
    expect(findings(gateway)).toEqual(['unsupported-field warning spec.servers[0].tls.mode']);
  });

  it('has nothing against HTTP/2 where it is asked for', () => {
    const entry = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: g }
spec: { hosts: [g.example.com], ports: [{ number: 80, name: grpc, protocol: grpc }], resolution: DNS }`;
    const rule = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: g }
spec: { host: g.example.com, trafficPolicy: { connectionPool: { http: { h2UpgradePolicy: UPGRADE } } } }`;
    expect(findings(entry, rule)).toEqual([]);
  });

  it('names an endpoint that a static service cannot have', () => {
    const entry = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: named, labels: { app: a } }
spec: { address: db.example.com }`;
    expect(findings(entry)).toEqual(['IST0106 error spec.resolution']);
  });

  it('says so where a server cannot share its port', () => {
    const gateway = (name: string, protocol: string) => `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: ${name} }
spec: { selector: { a: b }, servers: [{ port: { number: 80, name: p, protocol: ${protocol} }, hosts: ["*"] }] }`;
    expect(findings(gateway('one', 'HTTP'), gateway('two', 'HTTP'))).toEqual([]);
    expect(findings(gateway('one', 'HTTP'), gateway('two', 'TCP'))).toEqual(['IST0145 error spec.servers[0].port.number']);
    expect(findings(gateway('one', 'TCP'), gateway('two', 'TCP'))).toEqual(['IST0145 error spec.servers[0].port.number']);
  });

  it('says so where two Gateways claim the same TLS host', () => {
    const gateway = (name: string) => `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: ${name} }
spec: { selector: { a: b }, servers: [{ port: { number: 443, name: https, protocol: HTTPS }, hosts: [x.example.com], tls: { mode: SIMPLE, credentialName: c } }] }`;
    expect(findings(gateway('one'), gateway('two'))).toEqual(['IST0145 error spec.servers[0].hosts[0]']);
  });
});

describe('the supported fields', () => {
  it.each(Object.entries(SUPPORTED_FIELDS))('of %s exist', (kind, paths) => {
    const leaves = leafPaths(kind as never).map(({ path }) => path);
    const unknown = (paths ?? []).filter(
      (path) => !leaves.some((leaf) => leaf === path || leaf.startsWith(`${path}.`) || leaf.startsWith(`${path}[]`)),
    );
    expect(unknown).toEqual([]);
  });
});
