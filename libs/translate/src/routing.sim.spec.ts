import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { connectionOutcome, expectCall } from './testing/simulation.ts';
import { readCase, type TranslationCase } from './testing/translation-case.ts';

const REVIEWS = 'reviews.default.svc.cluster.local';

function load(file: string): TranslationCase {
  const path = fileURLToPath(new URL(`../testdata/${file}.in.yaml`, import.meta.url));
  return readCase(readFileSync(path, 'utf8'), file);
}

describe('VirtualService matches', () => {
  const mesh = load('http-matches');
  const reached = { host: REVIEWS };
  const headers = { 'x-any': '', 'x-exact': 'v', 'x-regex': 'b' };

  it.each([
    ['an exact path without looking at case', { path: '/A' }],
    ['a regular expression with method and authority', { path: '/b/17', method: 'POST' }],
    ['headers and query parameters', { path: '/?q=1&any=2', headers }],
  ])('takes %s', (_, call) => {
    expectCall(mesh, { from: 'client', host: 'reviews:9080', ...call }).toReach(reached);
  });

  it.each([
    ['a longer path than the exact one', { path: '/a/b' }],
    ['another method', { path: '/b/17', method: 'GET' }],
    ['a path that the regular expression only matches in part', { path: '/b/17x', method: 'POST' }],
    ['a header that may not be there', { path: '/?q=1&any=2', headers: { ...headers, 'x-no': 'prefix' } }],
    ['a header that may not even be present', { path: '/?q=1&any=2', headers: { ...headers, 'x-absent': '' } }],
    ['another value of a query parameter', { path: '/?q=2&any=2', headers }],
    ['a match for another port', { path: '/other-port' }],
    ['a match for a gateway', { path: '/other-gateway' }],
  ])('leaves out %s', (_, call) => {
    expectCall(mesh, { from: 'client', host: 'reviews:9080', ...call }).toHaveNoRoute();
  });

  it('leads every name of the service to it', () => {
    for (const host of ['reviews', 'reviews.default', 'reviews.default.svc', REVIEWS, `${REVIEWS}.`]) {
      expectCall(mesh, { from: 'client', host: `${host}:9080`, path: '/a' }).toReach(reached);
    }
  });
});

describe('VirtualService actions', () => {
  const mesh = load('http-actions');
  const weighted = load('http-weights-mirrors-faults');

  it('redirects and answers by itself', () => {
    expectCall(mesh, { from: 'client', host: 'reviews:9080', path: '/redirect' }).toBeRedirected();
    expectCall(mesh, { from: 'client', host: 'reviews:9080', path: '/direct' }).toBeAnswered(418);
  });

  it('divides by weight and leaves out weight 0', () => {
    const call = { from: 'client', host: 'reviews:9080', path: '/' };
    expectCall(weighted, { ...call, random: 0.79 }).toReach({ host: REVIEWS, subset: 'v1', missing: true });
    expectCall(weighted, { ...call, random: 0.81 }).toReach({ host: REVIEWS, subset: 'v2', missing: true });
    expectCall(weighted, { ...call, random: 0.999 }).toReach({ host: REVIEWS, subset: 'v2', missing: true });
  });

  it('tells the fault filter what to do', () => {
    expectCall(weighted, { from: 'client', host: 'reviews:9080', path: '/fault' }).toSufferFault({
      delayMs: 2000,
      delayRatio: 0.125,
      status: 200,
      abortRatio: 0.0001,
    });
    expectCall(weighted, { from: 'client', host: 'reviews:9080', path: '/' }).toSufferFault(undefined);
  });
});

describe('routes that depend on the client', () => {
  const mesh = load('http-source');

  it('are chosen by labels and namespace', () => {
    expectCall(mesh, { from: 'jobs', host: 'reviews:9080' }).toReach({ host: REVIEWS, subset: 'batch', missing: true });
    expectCall(mesh, { from: 'other', host: 'reviews.default:9080' }).toReach({ host: REVIEWS, subset: 'elsewhere', missing: true });
  });

  it('do not give a client of another namespace the short name', () => {
    expectCall(mesh, { from: 'other', host: 'reviews:9080' }).toReach({ cluster: 'PassthroughCluster' });
  });
});

describe('the explicit proxy', () => {
  const mesh = load('sidecar-explicit-proxy');

  it('leads a tunnel to an HTTP port back into the routes', () => {
    expectCall(mesh, { from: 'productpage', host: 'productpage:9080', method: 'CONNECT', path: '' }).toReach({ cluster: 'connect_http' });
  });

  it('lets what it does not know through, or refuses it', () => {
    expectCall(mesh, { from: 'productpage', host: 'example.com', path: '/' }).toReach({ cluster: 'PassthroughCluster' });
    expectCall(mesh, { from: 'productpage', host: 'example.com:443', method: 'CONNECT', path: '' }).toReach({
      cluster: 'PassthroughCluster',
    });
    expectCall(load('registry-only'), { from: 'client', host: 'example.com', path: '/' }).toBeAnswered(502);
    expectCall(load('registry-only'), { from: 'client', host: 'example.com:443', method: 'CONNECT', path: '' }).toBeAnswered(502);
  });
});

describe('gateway routes', () => {
  const mesh = load('gateway-http');
  const call = { from: 'gateway', routes: 'http.8080' };

  it('put the catch-all of the older VirtualService behind the narrower route of the newer', () => {
    expectCall(mesh, { ...call, host: 'web.example.com:8080', path: '/part' }).toBeRedirected();
    expectCall(mesh, { ...call, host: 'web.example.com', path: '/' }).toReach({ host: 'web.default.svc.cluster.local' });
  });

  it('redirect a host to HTTPS', () => {
    expectCall(mesh, { ...call, host: 'secure.example.org', path: '/' }).toBeRedirected();
  });

  it.each(['unserved.example.net', 'only-system.example.net', 'other.example.org'])('know nothing of %s', (host) => {
    expectCall(mesh, { ...call, host, path: '/part' }).toHaveNoRoute();
  });
});

describe('inbound filter chains', () => {
  const mesh = load('peer-authentication');
  const meshTls = { alpn: ['istio-http/1.1', 'istio', 'http/1.1'] };
  const meshTcp = { alpn: ['istio-peer-exchange', 'istio'] };

  it.each([
    ['STRICT HTTP, mesh client', { to: 'app', listener: '127.0.0.1_1', tls: meshTls }, 'tls http'],
    ['STRICT HTTP, plaintext', { to: 'app', listener: '127.0.0.1_1' }, 'closed'],
    ['STRICT HTTP, foreign TLS', { to: 'app', listener: '127.0.0.1_1', tls: { alpn: ['http/1.1'] } }, 'closed'],
    ['DISABLE HTTP, plaintext', { to: 'app', listener: '127.0.0.1_2' }, 'http'],
    ['STRICT TCP, mesh client', { to: 'app', listener: '127.0.0.1_3', tls: meshTcp }, 'tls tcp'],
    ['STRICT TCP, plaintext', { to: 'app', listener: '127.0.0.1_3' }, 'closed'],
    ['PERMISSIVE undeclared port, mesh HTTP', { to: 'permissive', listener: '127.0.0.1_4', tls: meshTls }, 'tls http'],
    ['PERMISSIVE undeclared port, mesh TCP', { to: 'permissive', listener: '127.0.0.1_4', tls: meshTcp }, 'tls tcp'],
    ['PERMISSIVE undeclared port, plaintext HTTP', { to: 'permissive', listener: '127.0.0.1_4', plaintextAlpn: ['http/1.1'] }, 'http'],
    ['PERMISSIVE undeclared port, other bytes', { to: 'permissive', listener: '127.0.0.1_4' }, 'tcp'],
    ['PERMISSIVE undeclared port, foreign TLS', { to: 'permissive', listener: '127.0.0.1_4', tls: { alpn: ['h2'] } }, 'tcp'],
    ['PERMISSIVE TCP, plaintext', { to: 'permissive', listener: '127.0.0.1_5' }, 'tcp'],
    ['PERMISSIVE TCP, foreign TLS', { to: 'permissive', listener: '127.0.0.1_5', tls: { alpn: [] } }, 'tcp'],
  ])('%s', (_, connection, outcome) => {
    expect(connectionOutcome(mesh, connection)).toBe(outcome);
  });

  it('choose by server name at a gateway', () => {
    const gateway = load('gateway-tls');
    const at = (serverName: string) => connectionOutcome(gateway, { to: 'gateway', listener: '0.0.0.0_8443', tls: { serverName } });
    expect([at('a.example.com'), at('b.example.com'), at('x.pass.example.com'), at('unknown.example.com')]).toEqual([
      'tls http',
      'tls http',
      'tcp',
      'closed',
    ]);
  });
});
