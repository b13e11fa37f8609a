import { describe, expect, it } from '@jest/globals';
import { defineStats, StatRegistry } from '../observe/stat-registry.ts';
import { reportStats } from './reports.ts';

/** The names of those gauges that an event loop tells the first one of, which adds them up. */
function addedUp(prefix: string, names: readonly string[]): readonly string[] {
  const registry = new StatRegistry();
  const gauges = Object.fromEntries(names.map((name) => [name, name]));
  const counts = registry.counts(defineStats({ gauges }), { prefix }) as Record<string, number>;
  for (const name of names) counts[name] = 1;
  return reportStats(registry).map(({ name }) => name.slice(prefix.length + 1));
}

describe('what an event loop reports', () => {
  it('has the gauges of which each has its part', () => {
    const connections = ['', '_http1', '_http2', '_ssl', '_upgrades'].map((kind) => `downstream_cx${kind}_active`).sort();
    expect(addedUp('http.in', connections)).toEqual(connections);
    const upstream = ['http2.pending_send_bytes', 'http2.streams_active', 'upstream_rq_active', 'upstream_rq_pending_active'];
    expect(addedUp('cluster.back', upstream)).toEqual(upstream);
    expect(addedUp('tcp.in', ['upstream_flush_active'])).toHaveLength(1);
    expect(addedUp('connection_limit.in', ['active_connections'])).toHaveLength(1);
    expect(addedUp('http.in.fault', ['active_faults'])).toHaveLength(1);
    expect(addedUp('ext_authz.in', ['active'])).toHaveLength(1);
  });

  it('has none of those that are the same in all', () => {
    expect(addedUp('cluster.back', ['circuit_breakers.default.cx_open', 'membership_total', 'outlier_detection.ejections_active'])).toEqual(
      [],
    );
    expect(addedUp('listener_manager', ['total_listeners_active'])).toEqual([]);
    expect(addedUp('cluster_manager', ['active_clusters'])).toEqual([]);
  });
});
