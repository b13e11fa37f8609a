import { describe, expect, it } from '@jest/globals';
import { proxyStatusTable } from './proxy-status.ts';
import { matchesProxy, type SyncStatus } from './sync-status.ts';

const NOW = Date.parse('2026-01-01T00:01:00Z');

function aProxy(instance: string, over: Partial<SyncStatus> = {}): SyncStatus {
  const synced = { status: 'SYNCED', sentAt: '2026-01-01T00:00:00Z', ackedAt: '2026-01-01T00:00:30Z', version: '1' };
  return {
    proxy: `sidecar~127.0.0.1~${instance}.default~default.svc.cluster.local`,
    cluster_id: 'local',
    istio_version: '1.32',
    types: { CDS: synced, LDS: synced, EDS: synced, RDS: synced },
    ...over,
  };
}

describe('proxyStatusTable', () => {
  it('has one column for each type, with the age of the acknowledgement', () => {
    const [header, row] = proxyStatusTable([aProxy('reviews-v1')], NOW).split('\n');
    expect(header?.split(/ {3,}/)).toEqual(['NAME', 'CLUSTER', 'CDS', 'LDS', 'EDS', 'RDS', 'VERSION', 'PORTS']);
    expect(row?.split(/ {3,}/).slice(0, 3)).toEqual(['reviews-v1.default', 'local', 'SYNCED (30s)']);
  });

  it('shows what is stale and what was never sent, and tells the reason of a refusal below the table', () => {
    const types = {
      CDS: { status: 'ERROR', sentAt: '2026-01-01T00:00:00Z', reason: 'clusters[0].type: unsupported' },
      LDS: { status: 'STALE', sentAt: '2026-01-01T00:00:50Z' },
    };
    const table = proxyStatusTable([aProxy('reviews-v1', { types })], NOW);
    expect(table.split('\n')[1]?.split(/ {3,}/).slice(2, 6)).toEqual(['ERROR (60s)', 'STALE (10s)', 'NOT SENT', 'NOT SENT']);
    expect(table).toContain('\nreviews-v1.default refused CDS: clusters[0].type: unsupported\n');
  });

  it('lists the ports of a local sidecar', () => {
    const ports = { INBOUND: [{ port: 9080, listenPort: 40123 }], HTTP_PROXY_PORT: '21003' };
    const table = proxyStatusTable([aProxy('reviews-v1', { ports, admin_address: '127.0.0.1:4567', status_port: '4568' })], NOW);
    expect(table).toContain('9080→40123, http proxy 21003, admin 4567, status 4568');
  });
});

describe('matchesProxy', () => {
  it.each([
    ['reviews', true],
    ['reviews-v1.default', true],
    ['sidecar~127.0.0.1~reviews-v1.default~default.svc.cluster.local', true],
    ['eviews', false],
  ])('takes %s for reviews-v1.default: %s', (text, expected) => {
    expect(matchesProxy(aProxy('reviews-v1'), text)).toBe(expected);
  });
});
