import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { create, fromJson, type JsonValue } from '@bufbuild/protobuf';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import { xdsRegistry } from '@mizzen/xds-api';
import { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { StatRegistry } from '../observe/stat-registry.ts';
import { SecretStore } from '../tls/secret-store.ts';
import { ProcessShare } from '../workers/process-share.ts';
import { NO_ENDPOINTS } from './assignment.ts';
import { mayConnect } from './circuit-breakers.ts';
import type { LiveCluster } from './cluster.ts';
import { compileCluster } from './cluster-config.ts';
import { ClusterManager } from './cluster-manager.ts';
import type { Endpoint } from './endpoint.ts';
import { endpointAt, fakeClock, localities } from './testing.ts';

function managerWith(share: ProcessShare, clock = fakeClock() as typeof systemClock): ClusterManager {
  return new ClusterManager({
    clock,
    random: () => 0,
    logger: silentLogger,
    resolve: () => Promise.resolve([]),
    stats: new StatRegistry(),
    onChange: () => undefined,
    share,
    secrets: { want: () => undefined, release: () => undefined },
  });
}

/** Two event loops of one process; what they tell each other comes at once, and is kept. */
class Loops {
  readonly clock = fakeClock();
  readonly first: ClusterManager;
  readonly further: ClusterManager;
  readonly share: ProcessShare;
  notices = 0;
  /** Called with each decision, after the other loop has followed it. */
  onFollowed: () => void = () => undefined;

  constructor(clock?: typeof systemClock) {
    this.share = new ProcessShare({
      logger: silentLogger,
      onDecided: (notice) => {
        this.notices++;
        this.further.follow(notice);
        this.onFollowed();
      },
      onOutlier: () => undefined,
    });
    const further = new ProcessShare({
      logger: silentLogger,
      memory: this.share.memory.buffer,
      onDecided: () => undefined,
      onOutlier: (notice) => this.first.onOutlierReported(notice),
    });
    this.first = managerWith(this.share, clock ?? this.clock);
    this.further = managerWith(further, clock ?? this.clock);
  }

  upsert(endpoints: JsonValue, more: Record<string, JsonValue> = {}): readonly [LiveCluster, LiveCluster] {
    const message = fromJson(
      ClusterSchema,
      { name: 'a', type: 'STATIC', load_assignment: { cluster_name: 'a', endpoints }, ...more },
      { registry: xdsRegistry },
    );
    const [first, further] = [this.first, this.further].map((manager) => {
      manager.upsert(compileCluster(create(ClusterSchema, message), new SecretStore()));
      return manager.get('a') ?? manager.warming()[0];
    });
    return [first as LiveCluster, further as LiveCluster];
  }

  close(): void {
    this.first.close();
    this.further.close();
  }
}

const OUTLIERS = {
  outlier_detection: {
    consecutive_5xx: 5,
    enforcing_consecutive_gateway_failure: 0,
    interval: '1s',
    base_ejection_time: '10s',
    max_ejection_percent: 100,
  },
};

function failsIn(endpoint: Endpoint, times: number): void {
  for (let time = 0; time < times; time++) endpoint.onResponse(500);
}

describe('outlier detection of several event loops', () => {
  it('counts failures in a row together, ejects in all and lets back in all', () => {
    const loops = new Loops();
    const [first, further] = loops.upsert(localities({ ports: [1, 2] }), OUTLIERS);
    const [ours, theirs] = [endpointAt(first, 1), endpointAt(further, 1)];
    failsIn(ours, 2);
    failsIn(theirs, 2);
    expect([ours.isEjected, theirs.isEjected]).toEqual([false, false]);
    failsIn(theirs, 1);
    expect([ours.isEjected, theirs.isEjected]).toEqual([true, true]);
    expect(endpointAt(further, 2).isEjected).toBe(false);
    expect([first.outliers?.stats.enforcedTotal, further.outliers?.stats.enforcedTotal]).toEqual([1, 0]);
    loops.clock.advance(12_000);
    expect([ours.isEjected, theirs.isEjected]).toEqual([false, false]);
    loops.close();
  });

  it('ends a row of failures with an answer that any of them got', () => {
    const loops = new Loops();
    const [first, further] = loops.upsert(localities({ ports: [1, 2] }), OUTLIERS);
    failsIn(endpointAt(first, 1), 4);
    endpointAt(further, 1).onResponse(200);
    failsIn(endpointAt(first, 1), 4);
    expect(endpointAt(first, 1).isEjected).toBe(false);
    loops.close();
  });

  it('compares rates of what all of them saw', () => {
    const loops = new Loops();
    const rates = {
      outlier_detection: {
        ...OUTLIERS.outlier_detection,
        consecutive_5xx: 1000,
        failure_percentage_minimum_hosts: 1,
        failure_percentage_request_volume: 20,
        failure_percentage_threshold: 50,
        enforcing_failure_percentage: 100,
      },
    };
    const [first, further] = loops.upsert(localities({ ports: [1, 2] }), rates);
    failsIn(endpointAt(first, 1), 10);
    failsIn(endpointAt(further, 1), 10);
    for (let time = 0; time < 20; time++) endpointAt(further, 2).onResponse(200);
    loops.clock.advance(1000);
    expect([endpointAt(first, 1).isEjected, endpointAt(further, 1).isEjected]).toEqual([true, true]);
    expect(endpointAt(further, 2).isEjected).toBe(false);
    loops.close();
  });

  it('begins anew with a new definition, and what was decided about the old one does not reach it', () => {
    const loops = new Loops();
    const [first, further] = loops.upsert(localities({ ports: [1] }), OUTLIERS);
    failsIn(endpointAt(first, 1), 5);
    expect(endpointAt(further, 1).isEjected).toBe(true);
    const [next, nextFurther] = loops.upsert(localities({ ports: [1] }), { ...OUTLIERS, connect_timeout: '2s' });
    expect([endpointAt(next, 1).isEjected, endpointAt(nextFurther, 1).isEjected]).toEqual([false, false]);
    loops.further.follow({ cluster: 'a', generation: 1, endpoint: '10.0.0.1:1||-1' });
    expect(endpointAt(nextFurther, 1).isEjected).toBe(false);
    loops.close();
  });
});

describe('limits of several event loops', () => {
  it('hold for one host too', () => {
    const loops = new Loops();
    const perHost = { circuit_breakers: { per_host_thresholds: [{ max_connections: 2 }] } };
    const [first, further] = loops.upsert(localities({ ports: [1, 2] }), perHost);
    endpointAt(first, 1).stats.connectionsActive++;
    endpointAt(further, 1).stats.connectionsActive++;
    expect(mayConnect(endpointAt(first, 1))).toBe(false);
    expect(mayConnect(endpointAt(further, 2))).toBe(true);
    endpointAt(further, 1).stats.connectionsActive--;
    expect(mayConnect(endpointAt(first, 1))).toBe(true);
    loops.close();
  });

  it('count no connection of an endpoint that went while it had some, when it comes again', () => {
    const loops = new Loops();
    const perHost = { circuit_breakers: { per_host_thresholds: [{ max_connections: 1 }] } };
    const [first, further] = loops.upsert(localities({ ports: [1] }), perHost);
    const before = endpointAt(first, 1);
    before.stats.connectionsActive++;
    expect(mayConnect(endpointAt(further, 1))).toBe(false);
    // The further loop is behind: all the while it has the endpoint.
    first.setEndpoints(NO_ENDPOINTS);
    if (first.config.discovery.kind === 'static') first.setEndpoints(first.config.discovery.assignment);
    expect(endpointAt(first, 1)).not.toBe(before);
    expect(mayConnect(endpointAt(first, 1))).toBe(true);
    before.stats.connectionsActive--;
    expect(mayConnect(endpointAt(further, 1))).toBe(true);
    loops.close();
    expect(loops.share.memory.size).toBe(0);
  });

  it('need no memory any more once the clusters are gone', () => {
    const loops = new Loops();
    for (let version = 1; version < 20; version++) {
      const [first, further] = loops.upsert(localities({ ports: [1, 2, 3] }), { ...OUTLIERS, connect_timeout: `${version}s` });
      failsIn(endpointAt(first, 1), 2);
      failsIn(endpointAt(further, 2), 1);
    }
    // The cluster and its three endpoints, as they are now.
    expect(loops.share.memory.size).toBe(4);
    loops.close();
    expect(loops.share.memory.size).toBe(0);
  });
});

describe('active health checks of several event loops', () => {
  let server: Server;
  let checks = 0;
  let status = 200;
  beforeEach(async () => {
    checks = 0;
    status = 200;
    server = createServer((_, response) => {
      checks++;
      response.writeHead(status).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(() => {
    server.closeAllConnections();
    server.close();
  });

  it('are made once; a further loop warms with the first result and follows the others', async () => {
    const loops = new Loops(systemClock);
    const { port } = server.address() as AddressInfo;
    const check = {
      timeout: '10s',
      interval: '0.01s',
      no_traffic_interval: '0.01s',
      no_traffic_healthy_interval: '0.01s',
      unhealthy_threshold: 1,
      healthy_threshold: 1,
      http_health_check: { path: '/' },
    };
    const endpoint = { endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } };
    const [first, further] = loops.upsert([{ lb_endpoints: [endpoint] }], { health_checks: [check] });
    const until = (isSo: () => boolean): Promise<void> =>
      new Promise((resolve) => {
        loops.onFollowed = () => {
          if (isSo()) resolve();
        };
        loops.onFollowed();
      });
    expect(endpointAt(further, port).isUsable).toBe(false);
    expect(loops.further.get('a')).toBeUndefined();
    await until(() => endpointAt(further, port).isUsable);
    expect(loops.further.get('a')).toBe(further);
    status = 503;
    await until(() => !endpointAt(further, port).isUsable);
    status = 200;
    await until(() => endpointAt(further, port).isUsable);
    expect(further.healthChecker?.stats.attempt).toBe(0);
    expect(checks).toBeLessThanOrEqual(first.healthChecker?.stats.attempt ?? 0);
    loops.close();
    expect(loops.share.memory.size).toBe(0);
  });
});
