import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { type CapturedConnection, inboundOutcome, outboundOutcome } from './testing/captured-simulation.ts';
import { readCase, type TranslationCase } from './testing/translation-case.ts';

function load(file: string): TranslationCase {
  const path = fileURLToPath(new URL(`../testdata/${file}.in.yaml`, import.meta.url));
  return readCase(readFileSync(path, 'utf8'), file);
}

function cluster(port: number, name: string, namespace = 'default'): string {
  return `outbound|${port}||${name}.${namespace}.svc.cluster.local`;
}

type Call = Omit<CapturedConnection, 'node'>;

describe('connections out of a captured workload', () => {
  const mesh = load('captured-outbound');
  const tls = { serverName: 'secured.default.svc.cluster.local' };

  it.each<[string, Call, string]>([
    ['a request to a service', { to: '10.96.0.1:9080', request: 'reviews:9080' }, cluster(9080, 'reviews')],
    ['a request to its virtual address', { to: '10.96.0.1:9080', request: '10.96.0.1:9080' }, cluster(9080, 'reviews')],
    ['a request that names another service of the port', { to: '10.96.0.1:9080', request: 'ratings' }, cluster(9080, 'ratings')],
    ['a request whatever port it names', { to: '10.96.0.1:9080', request: 'reviews:1234' }, cluster(9080, 'reviews')],
    ['a request to a host that the mesh does not know', { to: '192.0.2.9:9080', request: 'example.com' }, 'PassthroughCluster'],
    ['other bytes at a port that services speak HTTP at', { to: '192.0.2.9:9080' }, 'PassthroughCluster'],
    ['TLS at a port that services speak HTTP at', { to: '192.0.2.9:9080', tls: {} }, 'PassthroughCluster'],
    ['a port that no service has', { to: '192.0.2.9:1234' }, 'PassthroughCluster'],
    ['a service that speaks TCP at a port that others speak HTTP at', { to: '10.96.0.6:9080' }, cluster(9080, 'other', 'elsewhere')],
    ['a server that speaks first', { to: '10.96.0.4:3306' }, cluster(3306, 'mysqldb')],
    ['a request at an undeclared port', { to: '10.96.0.5:7000', request: 'whatever' }, cluster(7000, 'any')],
    ['other bytes at an undeclared port', { to: '10.96.0.5:7000' }, cluster(7000, 'any')],
    ['a name of a VirtualService without service', { to: '192.0.2.9:80', request: 'bookinfo.com' }, cluster(9080, 'reviews')],
    ['an endpoint of a headless service', { to: '10.244.0.4:6000' }, cluster(6000, 'store')],
    ['a request to a member of a headless service', { to: '10.244.0.4:9080', request: 'store-1.store' }, cluster(9080, 'store')],
    [
      'TLS by server name and weight',
      { to: '10.96.0.3:443', tls },
      'outbound|443|v1|secured.default.svc.cluster.local 10, outbound|443|v2|secured.default.svc.cluster.local 90',
    ],
    [
      'TLS by a server name below a wildcard',
      { to: '192.0.2.9:443', tls: { serverName: 'de.wikipedia.org' } },
      'outbound|443||*.wikipedia.org',
    ],
    [
      'TLS by the server name of a service without address',
      { to: '192.0.2.9:443', tls: { serverName: 'api.example.com' } },
      'outbound|443||api.example.com',
    ],
    ['TLS by a server name that nobody has', { to: '192.0.2.9:443', tls: { serverName: 'example.com' } }, 'PassthroughCluster'],
    ['an address of a range', { to: '192.0.2.1:5432' }, 'outbound|5432||range.example.com'],
    ['an address of a subnet that a rule has', { to: '192.0.2.200:5432' }, cluster(3306, 'mysqldb')],
    ['an address out of the range', { to: '203.0.113.1:5432' }, 'PassthroughCluster'],
    ['one of several addresses', { to: '198.51.100.7:5432' }, 'outbound|5432||range.example.com'],
    ["the proxy's own port", { to: '10.244.0.9:15001' }, 'BlackHoleCluster'],
  ])('%s', (_, call, outcome) => {
    expect(outboundOutcome(mesh, { node: 'client', ...call })).toBe(outcome);
  });
});

describe('under REGISTRY_ONLY with a Sidecar', () => {
  const mesh = load('captured-sidecar');

  it.each<[string, Call, string]>([
    ['a port lists what may be called at it', { to: '10.96.0.2:9080', request: 'ratings' }, cluster(9080, 'ratings')],
    ['a service that the port does not list is unknown', { to: '10.96.0.1:9080', request: 'reviews' }, '502'],
    ['a bind means the service behind it', { to: '192.0.2.1:4000' }, cluster(3306, 'mysqldb')],
    ['what is imported without port is served at its own', { to: '10.96.0.5:7000', request: 'any' }, cluster(7000, 'any')],
    ['what is not imported is refused', { to: '10.96.0.4:3306' }, 'BlackHoleCluster'],
    ['other bytes are refused', { to: '10.96.0.2:9080' }, 'BlackHoleCluster'],
  ])('%s', (_, call, outcome) => {
    expect(outboundOutcome(mesh, { node: 'client', ...call })).toBe(outcome);
  });
});

describe('with names of the mesh', () => {
  const mesh = load('captured-names');

  it('a service without address is told apart by the one it was given', () => {
    expect(outboundOutcome(mesh, { node: 'client', to: '240.240.92.17:5432' })).toBe('outbound|5432||db.example.com');
    expect(outboundOutcome(mesh, { node: 'client', to: '192.0.2.9:5432' })).toBe('PassthroughCluster');
    expect(outboundOutcome(mesh, { node: 'without', to: '192.0.2.9:5432' })).toBe('outbound|5432||db.example.com');
    expect(outboundOutcome(mesh, { node: 'client', to: '240.240.143.32:9080', request: '240.240.143.32:9080' })).toBe(
      cluster(9080, 'ratings'),
    );
  });
});

describe('connections to a captured workload', () => {
  const mesh = load('captured-inbound');
  const http = { alpn: ['istio-http/1.1', 'istio', 'http/1.1'] };
  const tcp = { alpn: ['istio-peer-exchange', 'istio'] };

  it.each<[string, CapturedConnection, string]>([
    ['a request over mutual TLS', { node: 'app', to: '10.244.0.1:8080', tls: http, request: 'app' }, 'mtls inbound|8080||'],
    ['a request in plaintext', { node: 'app', to: '10.244.0.1:8080', request: 'app' }, 'inbound|8080||'],
    ['a port with mutual TLS disabled', { node: 'app', to: '10.244.0.1:3306' }, 'inbound|3306||'],
    ['TLS of the application at such a port', { node: 'app', to: '10.244.0.1:3306', tls: { alpn: ['h2'] } }, 'inbound|3306||'],
    ['a strict port, mutual TLS', { node: 'app', to: '10.244.0.1:9000', tls: http, request: 'app' }, 'mtls inbound|9000||'],
    ['a strict port, plaintext', { node: 'app', to: '10.244.0.1:9000', request: 'app' }, 'closed'],
    ['an undeclared port, a mesh client', { node: 'app', to: '10.244.0.1:7000', tls: tcp }, 'mtls inbound|7000||'],
    ['an undeclared port, bytes', { node: 'app', to: '10.244.0.1:7000' }, 'inbound|7000||'],
    ['a port of no service, plaintext', { node: 'app', to: '10.244.0.1:1234', request: 'app' }, 'InboundPassthroughCluster'],
    ['a port of no service, a mesh client', { node: 'app', to: '10.244.0.1:1234', tls: tcp }, 'mtls InboundPassthroughCluster'],
    ['a port of no service with mutual TLS disabled', { node: 'app', to: '10.244.0.1:6000' }, 'InboundPassthroughCluster'],
    ["the proxy's own port", { node: 'app', to: '10.244.0.1:15006' }, 'BlackHoleCluster'],
    ['a strict workload, plaintext', { node: 'strict', to: '10.244.0.2:9080', request: 'strict' }, 'closed'],
    ['a strict workload, plaintext to a port of no service', { node: 'strict', to: '10.244.0.2:1234' }, 'closed'],
    [
      'a strict workload, mutual TLS to a port of no service',
      { node: 'strict', to: '10.244.0.2:1234', tls: http, request: 'strict' },
      'mtls InboundPassthroughCluster',
    ],
    ['a port of a Sidecar', { node: 'local', to: '10.244.0.3:9080', request: 'local' }, 'inbound|9080||'],
    ['a port that a Sidecar does not list', { node: 'local', to: '10.244.0.3:9999' }, 'InboundPassthroughCluster'],
  ])('%s', (_, connection, outcome) => {
    expect(inboundOutcome(mesh, connection)).toBe(outcome);
  });
});
