import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { RBACSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/rbac/v3/rbac';
import type { GateEntry, NetworkGate } from '../../listener/network-gate.ts';
import { StatRegistry } from '../../observe/stat-registry.ts';
import { createNetworkRbac } from './network-rbac.ts';

type Json = { readonly [field: string]: JsonValue };

const FROM_A: Json = {
  policies: { 'from a': { permissions: [{ any: true }], principals: [{ sourceIp: { addressPrefix: '10.0.0.0', prefixLen: 8 } }] } },
};

function gate(message: Json, registry = new StatRegistry()): NetworkGate {
  return createNetworkRbac(fromJson(RBACSchema, { statPrefix: 'tcp.', ...message }), registry);
}

/** What is counted, by name. */
function countsOf(registry: StatRegistry): Record<string, unknown> {
  const lines = [...registry.scopes()].flatMap(({ prefix, names, values }) =>
    Object.entries(names.counters).map(([field, name]) => [`${prefix}.${name}`, (values as Record<string, unknown>)[field]] as const),
  );
  return Object.fromEntries(lines);
}

class Entry implements GateEntry {
  readonly refusals: string[] = [];
  readonly connection: GateEntry['connection'];

  constructor(host: string) {
    this.connection = {
      id: 1,
      socket: undefined as never,
      initialData: undefined,
      localAddress: { kind: 'ip', host: '10.9.9.9', port: 1 },
      remoteAddress: { kind: 'ip', host, port: 2 },
      originalDestination: undefined,
      tls: undefined,
      listener: { name: 'l', direction: 'inbound' },
      filterState: {},
    };
  }

  pass(): void {}
  refuse(details: string): void {
    this.refusals.push(details);
  }
}

describe('network RBAC', () => {
  it('lets through what a policy allows', () => {
    const allowed = new Entry('10.1.1.1');
    const registry = new StatRegistry();
    const made = gate({ rules: FROM_A }, registry);
    expect(made.onConnection(allowed)).toBe('pass');
    expect(allowed.refusals).toEqual([]);
    expect(countsOf(registry)).toMatchObject({ 'tcp.rbac.allowed': 1, 'tcp.rbac.denied': 0 });
  });

  it('closes what no policy allows, with the reason for the access log', () => {
    const denied = new Entry('192.0.2.1');
    const registry = new StatRegistry();
    const made = gate({ rules: FROM_A }, registry);
    expect(made.onConnection(denied)).toBe('wait');
    expect(denied.refusals).toEqual(['rbac_access_denied_matched_policy[none]']);
    expect(countsOf(registry)).toMatchObject({ 'tcp.rbac.allowed': 0, 'tcp.rbac.denied': 1 });
  });

  it('names the policy that denies', () => {
    const denied = new Entry('10.1.1.1');
    gate({ rules: { action: 'DENY', ...FROM_A } }).onConnection(denied);
    expect(denied.refusals).toEqual(['rbac_access_denied_matched_policy[from_a]']);
  });

  it('closes everything where there are rules without a policy', () => {
    const denied = new Entry('10.1.1.1');
    expect(gate({ rules: {} }).onConnection(denied)).toBe('wait');
    expect(denied.refusals).toHaveLength(1);
  });

  it('only tries shadow rules', () => {
    const entry = new Entry('192.0.2.1');
    const registry = new StatRegistry();
    const made = gate({ shadowRules: FROM_A, shadowRulesStatPrefix: 'dry_' }, registry);
    expect(made.onConnection(entry)).toBe('pass');
    expect(countsOf(registry)).toEqual({
      'tcp.rbac.allowed': 0,
      'tcp.rbac.denied': 0,
      'tcp.rbac.dry_.shadow_allowed': 0,
      'tcp.rbac.dry_.shadow_denied': 1,
    });
    expect(entry.connection.filterState.dynamicMetadata).toEqual({ 'envoy.filters.network.rbac': { dry_shadow_engine_result: 'denied' } });
  });

  it.each([
    { name: 'a matcher', message: { matcher: {} }, reason: 'matcher: is not supported by this proxy; remove it' },
    {
      name: 'continuous enforcement',
      message: { enforcementType: 'CONTINUOUS' },
      reason: 'enforcement_type: only ONE_TIME_ON_FIRST_BYTE is supported',
    },
    { name: 'no stat prefix', message: { statPrefix: '' }, reason: 'stat_prefix: is required' },
  ])('refuses $name', ({ message, reason }) => {
    expect(() => gate(message as Json)).toThrow(reason);
  });
});
