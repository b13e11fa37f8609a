import { fromJson } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { SecretStore } from '../tls/secret-store.ts';
import type { AssignmentConfig } from './assignment.ts';
import { compileCluster } from './cluster-config.ts';
import { DnsDiscovery, type Resolve, type ResolveWithTtl } from './dns.ts';
import { fakeClock } from './testing.ts';

/** Lets promises settle that wait for nothing but each other. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

function discover(fields: Record<string, string | boolean | object>, resolve: Resolve, resolveWithTtl?: ResolveWithTtl) {
  const endpoint = { address: { socket_address: { address: 'reviews.example', port_value: 80 } } };
  const message = fromJson(ClusterSchema, {
    name: 'a',
    type: 'STRICT_DNS',
    load_assignment: { cluster_name: 'a', endpoints: [{ lb_endpoints: [{ endpoint }] }] },
    ...JSON.parse(JSON.stringify(fields)),
  });
  const { discovery } = compileCluster(message, new SecretStore());
  if (discovery.kind !== 'dns') throw new Error('not a DNS cluster');
  const clock = fakeClock();
  const seen: AssignmentConfig[] = [];
  const dns = new DnsDiscovery({
    ...discovery,
    clock,
    random: () => 1,
    resolve,
    ...(resolveWithTtl && { resolveWithTtl }),
    onAssignment: (assignment) => seen.push(assignment),
  });
  dns.start();
  return { clock, seen, dns };
}

function hosts(assignment: AssignmentConfig | undefined): string[] {
  return (assignment?.localities ?? []).flatMap(({ endpoints }) =>
    endpoints.flatMap(({ address, details }) => [address, ...details.moreAddresses].map((each) => (each.kind === 'ip' ? each.host : ''))),
  );
}

describe('DNS clusters', () => {
  it('have every address as an endpoint, and ask again', async () => {
    let answer = ['10.0.0.2', '10.0.0.1'];
    const { clock, seen } = discover({ dns_refresh_rate: '2s', dns_lookup_family: 'V4_ONLY' }, async () => answer);
    await settle();
    expect(seen.map(hosts)).toEqual([['10.0.0.1', '10.0.0.2']]);
    answer = ['10.0.0.3'];
    clock.advance(1999);
    await settle();
    expect(seen).toHaveLength(1);
    clock.advance(1);
    await settle();
    expect(hosts(seen[1])).toEqual(['10.0.0.3']);
  });

  it('keep the last good answer when a resolution fails, and ask sooner the first time', async () => {
    let asked = 0;
    const { clock, seen } = discover(
      { dns_refresh_rate: '10s', dns_failure_refresh_rate: { base_interval: '1s', max_interval: '4s' }, dns_lookup_family: 'V4_ONLY' },
      async () => {
        asked++;
        if (asked > 1) throw new Error('no answer');
        return ['10.0.0.1'];
      },
    );
    await settle();
    const askedAfter: number[] = [];
    for (const delayMs of [10_000, 1000, 2000, 4000, 4000]) {
      clock.advance(delayMs);
      await settle();
      askedAfter.push(asked);
    }
    expect(askedAfter).toEqual([2, 3, 4, 5, 6]);
    expect(seen.map(hosts)).toEqual([['10.0.0.1']]);
  });

  it.each([
    ['AUTO', [6, 4], ['4.4.4.4']],
    ['V4_PREFERRED', [4], ['4.4.4.4']],
    ['V6_ONLY', [6], []],
    ['ALL', [0], ['4.4.4.4', '::6']],
  ])('ask for the families of %s in their order', async (family, order, expected) => {
    const asked: number[] = [];
    const { seen } = discover({ dns_lookup_family: family }, async (_, wanted) => {
      asked.push(wanted);
      return wanted === 6 ? [] : wanted === 4 ? ['4.4.4.4'] : ['4.4.4.4', '::6'];
    });
    await settle();
    expect([asked, hosts(seen[0])]).toEqual([order, expected]);
  });

  it('ask again when the answer expires, where they are told to', async () => {
    let asked = 0;
    const { clock } = discover(
      { respect_dns_ttl: true, dns_refresh_rate: '60s', dns_lookup_family: 'V4_ONLY' },
      async () => [],
      async () => {
        asked++;
        return { addresses: ['10.0.0.1'], ttlMs: 7000 };
      },
    );
    await settle();
    clock.advance(7000);
    await settle();
    expect(asked).toBe(2);
  });

  it('are one endpoint with several addresses where they are logical', async () => {
    const { seen } = discover({ type: 'LOGICAL_DNS', dns_lookup_family: 'ALL' }, async () => ['10.0.0.2', '10.0.0.1']);
    await settle();
    expect(seen[0]?.localities[0]?.endpoints).toHaveLength(1);
    expect(hosts(seen[0])).toEqual(['10.0.0.2', '10.0.0.1']);
  });
});
