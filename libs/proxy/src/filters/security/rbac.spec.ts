import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { Field } from '@mizzen/matching';
import { RBACSchema } from '@mizzen/xds-api/envoy/config/rbac/v3/rbac';
import type { DownstreamConnection, TlsInfo } from '../../contract.ts';
import { compileRbacRules, deniedDetails, isAllowed, type RbacEngine } from './rbac-engine.ts';

type Json = { readonly [field: string]: JsonValue };

const ANY: Json = { any: true };

function compile(message: Json): { engine: RbacEngine; rejections: readonly { path: string; reason: string }[] } {
  const field = new Field('rules', []);
  const engine = compileRbacRules(fromJson(RBACSchema, message), field);
  return { engine, rejections: field.rejections };
}

function policies(principal: Json, permission: Json = ANY): Json {
  return { policies: { p: { permissions: [permission], principals: [principal] } } };
}

function rejectionsOf(principal: Json, permission?: Json): string[] {
  return compile(policies(principal, permission)).rejections.map(({ path, reason }) => `${path}: ${reason}`);
}

const PEER = { uriSans: ['spiffe://td/ns/a/sa/b', 'https://b'], dnsSans: ['b.example'], subject: 'CN=b', sha256: '' };

function tls(peer: TlsInfo['peer'] = PEER): TlsInfo {
  return { requestedServerName: 'inner.example', alpn: '', peer, localUriSan: '' };
}

function connection(parts: Partial<DownstreamConnection> = {}): DownstreamConnection {
  return {
    id: 1,
    socket: undefined as never,
    initialData: undefined,
    localAddress: { kind: 'ip', host: '10.1.0.1', port: 8080 },
    remoteAddress: { kind: 'ip', host: '10.2.0.2', port: 40_000 },
    originalDestination: undefined,
    tls: undefined,
    listener: { name: 'l', direction: 'inbound' },
    ...parts,
  };
}

function matches(principal: Json, at: DownstreamConnection, permission: Json = ANY): boolean {
  const { engine, rejections } = compile(policies(principal, permission));
  expect(rejections).toEqual([]);
  return engine.match(at, undefined) === 'p';
}

const name = (exact: string): Json => ({ authenticated: { principalName: { exact } } });
const range = (addressPrefix: string, prefixLen: number): Json => ({ addressPrefix, prefixLen });

describe('RBAC principals', () => {
  it.each(['spiffe://td/ns/a/sa/b', 'https://b', 'b.example', 'CN=b'])('know a certificate by %s', (exact) => {
    expect(matches(name(exact), connection({ tls: tls() }))).toBe(true);
  });

  it('do not know a name that the certificate does not have', () => {
    expect(matches(name('spiffe://td/ns/a/sa/c'), connection({ tls: tls() }))).toBe(false);
  });

  it('take any TLS for authenticated where no name is asked for, and no connection without TLS', () => {
    expect(matches({ authenticated: {} }, connection({ tls: tls(undefined) }))).toBe(true);
    expect(matches({ authenticated: {} }, connection())).toBe(false);
  });

  it('match no name of a peer without a certificate', () => {
    const without: TlsInfo = { ...tls(), peer: undefined };
    expect(matches({ authenticated: { principalName: { safeRegex: { regex: '.+' } } } }, connection({ tls: without }))).toBe(false);
    expect(matches(name('b.example'), connection())).toBe(false);
  });

  it('know the principal that Istio keeps in the filter state', () => {
    const principal: Json = { filterState: { key: 'io.istio.peer_principal', stringMatch: { prefix: 'spiffe://td/ns/a/' } } };
    expect(matches(principal, connection({ tls: tls() }))).toBe(true);
    expect(matches(principal, connection())).toBe(false);
  });

  it('know what filters set', () => {
    const objects = new Map([['mine', { value: 'gold', isReadOnly: false, sharing: 'none' as const }]]);
    const principal: Json = { filterState: { key: 'mine', stringMatch: { exact: 'gold' } } };
    expect(matches(principal, connection({ filterState: { objects } }))).toBe(true);
    expect(matches(principal, connection())).toBe(false);
  });

  it('tell the peer from the client that a PROXY header names', () => {
    const proxied = connection({ directRemoteAddress: { kind: 'ip', host: '192.0.2.1', port: 1 } });
    expect(matches({ sourceIp: range('10.2.0.0', 16) }, proxied)).toBe(true);
    expect(matches({ directRemoteIp: range('10.2.0.0', 16) }, proxied)).toBe(false);
    expect(matches({ directRemoteIp: range('192.0.2.0', 24) }, proxied)).toBe(true);
  });

  it.each([
    { name: 'an IPv4 peer of a dual-stack socket', host: '::ffff:10.2.0.2', at: range('10.2.0.0', 16), expected: true },
    { name: 'an IPv4 peer in an IPv6 range', host: '10.2.0.2', at: range('::', 0), expected: false },
    { name: 'an IPv6 peer', host: '2001:db8::1', at: range('2001:db8::', 32), expected: true },
    { name: 'an IPv6 peer in the range of all IPv4', host: '2001:db8::1', at: range('0.0.0.0', 0), expected: false },
  ])('look at $name', ({ host, at, expected }) => {
    expect(matches({ remoteIp: at }, connection({ remoteAddress: { kind: 'ip', host, port: 1 } }))).toBe(expected);
  });

  it('find no address in a pipe', () => {
    expect(matches({ remoteIp: range('0.0.0.0', 0) }, connection({ remoteAddress: { kind: 'pipe', path: '/run/x' } }))).toBe(false);
  });
});

describe('RBAC permissions', () => {
  it('read the server name that an inspector saw before that of the TLS that ended here', () => {
    const sni = (exact: string): Json => ({ requestedServerName: { exact } });
    expect(matches(ANY, connection({ tls: tls() }), sni('inner.example'))).toBe(true);
    expect(matches(ANY, connection({ tls: tls(), requestedServerName: 'outer.example' }), sni('outer.example'))).toBe(true);
    expect(matches(ANY, connection(), sni('outer.example'))).toBe(false);
  });

  it('look at the port that was asked for', () => {
    expect(matches(ANY, connection(), { destinationPort: 8080 })).toBe(true);
    expect(matches(ANY, connection(), { destinationPortRange: { start: 8080, end: 8081 } })).toBe(true);
    expect(matches(ANY, connection(), { destinationPortRange: { start: 80, end: 8080 } })).toBe(false);
  });

  it('find no header and no path on a connection', () => {
    expect(matches(ANY, connection(), { header: { name: 'x', presentMatch: true } })).toBe(false);
    expect(matches(ANY, connection(), { header: { name: 'x', presentMatch: true, invertMatch: true } })).toBe(true);
    expect(matches(ANY, connection(), { urlPath: { path: { prefix: '' } } })).toBe(false);
  });

  it('read what listener filters found out', () => {
    const at = connection({ filterState: { dynamicMetadata: { proxy: { zone: 'a' } } } });
    const zone: Json = { metadata: { filter: 'proxy', path: [{ key: 'zone' }], value: { stringMatch: { exact: 'a' } } } };
    expect(matches(ANY, at, zone)).toBe(true);
    expect(matches(ANY, connection(), zone)).toBe(false);
  });
});

describe('RBAC rules', () => {
  it('name the first policy in the order of their names', () => {
    const policy = { permissions: [ANY], principals: [ANY] };
    expect(compile({ policies: { z: policy, a: policy } }).engine.match(connection(), undefined)).toBe('a');
  });

  it.each([
    { action: 'ALLOW', matched: 'p', allowed: true },
    { action: 'ALLOW', matched: undefined, allowed: false },
    { action: 'DENY', matched: 'p', allowed: false },
    { action: 'DENY', matched: undefined, allowed: true },
    { action: 'LOG', matched: undefined, allowed: true },
  ])('of $action with $matched: $allowed', ({ action, matched, allowed }) => {
    expect(isAllowed(compile({ action }).engine, matched)).toBe(allowed);
  });

  it('write the policy into one word', () => {
    expect(deniedDetails('ns[a] policy\tone')).toBe('rbac_access_denied_matched_policy[ns[a]_policy_one]');
    expect(deniedDetails(undefined)).toBe('rbac_access_denied_matched_policy[none]');
  });

  it.each([
    {
      name: 'a condition',
      message: { policies: { p: { permissions: [ANY], principals: [ANY], condition: {} } } },
      path: 'rules.policies["p"].condition',
    },
    { name: 'no principals', message: { policies: { p: { permissions: [ANY] } } }, path: 'rules.policies["p"].principals' },
    { name: 'an empty permission', message: policies(ANY, {}), path: 'rules.policies["p"].permissions[0]' },
    { name: 'an empty principal', message: policies({}), path: 'rules.policies["p"].principals[0]' },
    { name: 'audit loggers', message: { auditLoggingOptions: { auditCondition: 'ON_DENY' } }, path: 'rules.audit_logging_options' },
    {
      name: 'a range that is none',
      message: policies({ andIds: { ids: [{ sourceIp: range('10.0.0', 8) }] } }),
      path: 'rules.policies["p"].principals[0].and_ids.ids[0].source_ip',
    },
    {
      name: 'a regular expression that is none',
      message: policies(ANY, { notRule: { urlPath: { path: { safeRegex: { regex: '(' } } } } }),
      path: 'rules.policies["p"].permissions[0].not_rule.url_path.path.safe_regex',
    },
    {
      name: 'a port range that ends before it begins',
      message: policies(ANY, { destinationPortRange: { start: 9, end: 9 } }),
      path: 'rules.policies["p"].permissions[0].destination_port_range',
    },
  ])('refuse $name by its place', ({ message, path }) => {
    expect(compile(message as Json).rejections.map((rejection) => rejection.path)).toEqual([path]);
  });

  it('refuse what is nested without end', () => {
    let principal: Json = ANY;
    for (let depth = 0; depth < 80; depth++) principal = { notId: principal };
    expect(rejectionsOf(principal)[0]).toContain('is nested deeper than 64 levels');
  });
});
