import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import { type RateLimiter, startRateLimiter } from '@mizzen/rate-limit';
import { type EchoApp, freePort, type Mesh, type SdsServer, startEchoApp, startMesh, startSdsServer } from '@mizzen/testing';
import { meshBootstrap } from './envoy-bootstrap.ts';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { until } from './until.ts';

const counters = (port: number): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: rate-limit, namespace: istio-system}
spec:
  hosts: [mizzen-rate-limit.istio-system.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8081, name: grpc, protocol: GRPC, targetPort: ${port}}]
  endpoints: [{address: 127.0.0.1}]
`;

/** The service whose only workload is behind a stock Envoy. */
const ENVOYED = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: envoyed}
spec:
  hosts: [envoyed.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: envoyed}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: envoyed-v1}
spec: {metadata: {labels: {app: envoyed}}, template: {serviceAccount: envoyed, ports: {http: 9080}}}
`;

/** By who calls: two calls a day for each; none but one for the batch job, whatever it calls. */
const BY_CALLER = `
apiVersion: mizzen.io/v1alpha1
kind: RateLimit
metadata: {name: callers}
spec:
  rules:
  - {name: each, scope: GLOBAL, match: {path: {prefix: /each}}, by: [{attribute: CALLER}], limit: {requests: 2, unit: DAY}}
  - {name: batch, match: {path: {prefix: /batch}, principals: ["*/sa/batch"]}, limit: {requests: 1, unit: DAY}}
`;

let limiter: RateLimiter;
let mesh: Mesh;

beforeAll(async () => {
  const about = { host: '127.0.0.1', port: 0, httpPort: 0, maxCounters: 1000, clock: systemClock, logger: silentLogger };
  limiter = await startRateLimiter(about);
  mesh = await startMesh({
    services: { client: {}, batch: {}, reviews: {} },
    config: `${counters(limiter.port)}---${ENVOYED}---${BY_CALLER}`,
  });
});

afterAll(async () => {
  await mesh?.[Symbol.asyncDispose]();
  await limiter?.close();
});

function describeCallers(host: string): void {
  const call = async (from: string, path: string): Promise<number> => (await mesh.call({ from, host, path })).status;

  it('counts each caller for itself', async () => {
    const path = `/each/${host}`;
    const client = [await call('client', path), await call('client', path), await call('client', path)];
    expect([client, await call('batch', path)]).toEqual([[200, 200, 429], 200]);
  });

  it('limits the callers that a rule names and no others', async () => {
    expect([await call('batch', '/batch'), await call('batch', '/batch')]).toEqual([200, 429]);
    expect([await call('client', '/batch'), await call('client', '/batch')]).toEqual([200, 200]);
  });
}

describe('the callers of a workload', () => {
  // One day's counter of `each` is for the rule in all of the mesh: each host has paths of its own, and callers that called no other.
  describeCallers('reviews');
});

describeWithEnvoy('needs envoy: the callers of a workload behind a stock Envoy', () => {
  let sds: SdsServer;
  let app: EchoApp;
  let sidecar: Envoy;

  beforeAll(async () => {
    // The counters of the callers start anew.
    await mesh.apply(BY_CALLER.replaceAll('name: each', 'name: each-of-envoy'));
    app = await startEchoApp('envoyed-v1', {});
    const svid = await mesh.identity?.svid({ namespace: 'default', serviceAccount: 'envoyed' });
    if (!svid) throw new Error('the mesh has no CA');
    sds = await startSdsServer(svid);
    const inbound = { port: 9080, bind: '127.0.0.1', listenPort: await freePort(), defaultEndpoint: `127.0.0.1:${app.port}` };
    const node = {
      type: 'sidecar',
      name: 'envoyed-v1',
      namespace: 'default',
      serviceAccount: 'envoyed',
      labels: { app: 'envoyed' },
      metadata: { AUTO_REGISTER_GROUP: 'envoyed-v1', HTTP_PROXY_PORT: String(await freePort()), INBOUND: [inbound] },
    } as const;
    sidecar = await startEnvoy(meshBootstrap({ node, protocol: 'DELTA_GRPC', xdsAddress: mesh.xdsAddress, sdsAddress: sds.address }));
    await mesh.settled();
    await until('a workload behind Envoy', async () =>
      (await mesh.call({ from: 'client', host: 'envoyed', path: '/' })).status === 200 ? true : undefined,
    );
  }, 60_000);
  afterAll(async () => {
    await sidecar?.close();
    await sds?.close();
    await app?.close();
  });

  describeCallers('envoyed');
});
