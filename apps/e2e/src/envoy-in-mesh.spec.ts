import { connect as connectHttp2 } from 'node:http2';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  type Answer,
  type EchoApp,
  freePort,
  type Mesh,
  type ProxiedRequest,
  requestThroughProxy,
  type SdsServer,
  sendRequest,
  startEchoApp,
  startMesh,
  startSdsServer,
} from '@mizzen/testing';
import { meshBootstrap } from './envoy-bootstrap.ts';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startGreeter } from './peers/greeter.ts';
import { chatOver } from './peers/greeter-client.ts';
import { until } from './until.ts';

const SUBSETS = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
`;

const route = (http: string): string => `${SUBSETS}---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [${http}]}
`;

const to = (subset: string): string => `route: [{destination: {host: reviews, subset: ${subset}}}]`;

const JASON = `{match: [{headers: {end-user: {exact: jason}}}], ${to('v2')}}, {${to('v1')}}`;

const EDGE = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: envoy-gateway}, servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: [shop.example]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec: {hosts: [shop.example], gateways: [edge], http: [{match: [{uri: {prefix: /api}}], rewrite: {uri: /v1}, route: [{destination: {host: reviews}}]}]}
`;

/** The service whose only workload is behind a stock Envoy: an echo, and a greeter by gRPC. */
const ENVOYED = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: envoyed}
spec:
  hosts: [envoyed.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}, {number: 9070, name: grpc, protocol: GRPC}]
  workloadSelector: {labels: {app: envoyed}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: envoyed-v1}
spec: {metadata: {labels: {app: envoyed}}, template: {serviceAccount: envoyed, ports: {http: 9080, grpc: 9070}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
`;

describeWithEnvoy.each(['DELTA_GRPC', 'GRPC'] as const)('needs envoy: a stock Envoy in the mesh by %s', (protocol) => {
  let mesh: Mesh;
  let sds: SdsServer[] = [];
  let app: EchoApp;
  let greeter: AsyncDisposable;
  let sidecar: Envoy;
  let gateway: Envoy;
  let httpProxyPort: number;
  let gatewayPort: number;

  beforeAll(async () => {
    mesh = await startMesh({
      meshConfig: 'accessLogFile: /dev/stdout',
      services: {
        client: {},
        reviews: { versions: ['v1', 'v2'] },
        silent: { handler: ({ request, echo }) => (request.url === '/in-force' ? echo() : void request.resume()) },
      },
      config: `${ENVOYED}---${EDGE}`,
    });
    app = await startEchoApp('envoyed-v1', {});
    [httpProxyPort, gatewayPort] = [await freePort(), await freePort()];
    const greeterPort = await freePort();
    greeter = await startGreeter(greeterPort);
    const [listenPort, grpcListenPort] = [await freePort(), await freePort()];
    const start = async (
      serviceAccount: string,
      node: Omit<Parameters<typeof meshBootstrap>[0]['node'], 'serviceAccount' | 'namespace'>,
    ) => {
      const svid = await mesh.identity?.svid({ namespace: 'default', serviceAccount });
      if (!svid) throw new Error('the mesh has no CA');
      const server = await startSdsServer(svid);
      sds = [...sds, server];
      const { xdsAddress } = mesh;
      return startEnvoy(
        meshBootstrap({ node: { ...node, serviceAccount, namespace: 'default' }, protocol, xdsAddress, sdsAddress: server.address }),
      );
    };
    sidecar = await start('envoyed', {
      type: 'sidecar',
      name: 'envoyed-v1',
      labels: { app: 'envoyed' },
      metadata: {
        AUTO_REGISTER_GROUP: 'envoyed-v1',
        HTTP_PROXY_PORT: String(httpProxyPort),
        INBOUND: [
          { port: 9080, bind: '127.0.0.1', listenPort, defaultEndpoint: `127.0.0.1:${app.port}` },
          { port: 9070, bind: '127.0.0.1', listenPort: grpcListenPort, defaultEndpoint: `127.0.0.1:${greeterPort}` },
        ],
      },
    });
    gateway = await start('envoy-gateway', {
      type: 'router',
      name: 'envoy-gateway',
      labels: { istio: 'envoy-gateway' },
      metadata: { PORT_MAP: { '8080': gatewayPort } },
    });
    await mesh.settled();
  });
  afterAll(async () => {
    await sidecar?.close();
    await gateway?.close();
    await Promise.all(sds.map((server) => server.close()));
    await app?.close();
    await greeter?.[Symbol.asyncDispose]();
    await mesh?.[Symbol.asyncDispose]();
  });

  const byEnvoy = (request: Partial<ProxiedRequest>): Promise<Answer> =>
    requestThroughProxy(httpProxyPort, { host: 'reviews', ...request });
  const byOurs = (request: Partial<ProxiedRequest>): Promise<Answer> => mesh.call({ from: 'client', host: 'reviews', ...request });

  /** Envoy puts what it acknowledged in force a moment later; waits until the first answer is as it is to be. */
  const inForce = (probe: () => Promise<boolean>): Promise<true> =>
    until('the configuration in force', async () => ((await probe()) ? true : undefined));

  it('takes everything that it is sent', async () => {
    for (const envoy of [sidecar, gateway]) {
      const stats = await envoy.stats('update_rejected|update_success');
      for (const [name, value] of Object.entries(stats)) if (name.endsWith('update_rejected')) expect([name, value]).toEqual([name, 0]);
      expect(stats['cluster_manager.cds.update_success']).toBeGreaterThan(0);
      expect(stats['listener_manager.lds.update_success']).toBeGreaterThan(0);
      for (const type of [/\.rds\./, /^cluster\.outbound\|/]) {
        const successes = Object.entries(stats).filter(([name]) => type.test(name) && name.endsWith('update_success'));
        expect(successes.some(([, count]) => count > 0)).toBe(true);
      }
    }
    const errors = mesh.controlPlane.server.status().flatMap(({ types }) => [...types.values()].filter(({ state }) => state === 'ERROR'));
    expect(errors).toEqual([]);
  });

  it('shows our resources in its /config_dump', async () => {
    const dump = JSON.parse(await sidecar.admin('/config_dump?include_eds')) as unknown;
    const names = new Set(JSON.stringify(dump).match(/(?<="name":")[^"]+|(?<="cluster_name":")[^"]+/g));
    for (const name of ['outbound|9080||reviews.default.svc.cluster.local', `127.0.0.1_${httpProxyPort}`, 'http_proxy', 'inbound|9080||'])
      expect([...names]).toContain(name);
  });

  it('calls our sidecars over mutual TLS, by the absolute form and by a tunnel', async () => {
    for (const via of ['absolute', 'connect'] as const) {
      const answer = await byEnvoy({ via, path: '/hello' });
      expect([via, answer.status, answer.echo.path]).toEqual([via, 200, '/hello']);
      expect(answer.echo.headers['x-forwarded-client-cert']).toContain('URI=spiffe://cluster.local/ns/default/sa/envoyed');
    }
  });

  it('is called by our sidecars over mutual TLS', async () => {
    const answer = await mesh.call({ from: 'client', host: 'envoyed', path: '/in', method: 'POST', body: 'hello' });
    expect([answer.status, answer.servedBy, answer.echo.body]).toEqual([200, 'envoyed-v1', 'hello']);
    expect(answer.echo.headers['x-forwarded-client-cert']).toContain('URI=spiffe://cluster.local/ns/default/sa/client');
  });

  it('is called by our sidecars over gRPC, message by message, with the status of the program', async () => {
    const authority = 'envoyed.default.svc.cluster.local:9070';
    const tunnel = await mesh.workload('client').tunnel(authority);
    const client = connectHttp2(`http://${authority}`, { createConnection: () => tunnel });
    const chat = (texts: readonly string[], path?: string) => chatOver(client, { authority, texts, ...(path !== undefined && { path }) });
    expect(await chat(['Ann', 'Bob'])).toEqual({ httpStatus: 200, answers: ['hello Ann', 'hello Bob'], status: '0' });
    expect(await chat(['Ann', 'leave'])).toMatchObject({ answers: ['hello Ann'], status: '10' });
    expect(await chat([], '/greeter.Greeter/Sing')).toEqual({ httpStatus: 200, answers: [], status: '12' });
    client.destroy();
    const line = await mesh.workload('client').accessLog.first((text) => text.includes('/greeter.Greeter/Sing'));
    expect(line).toContain('outbound|9070||envoyed.default.svc.cluster.local');
  });

  describe('routes as ours does:', () => {
    it('everybody to v1', async () => {
      await mesh.with(route(`{${to('v1')}}`), async () => {
        await inForce(async () => (await byEnvoy({})).servedBy === 'reviews-v1');
        for (const by of [byEnvoy, byOurs]) {
          const served = await Promise.all(Array.from({ length: 10 }, () => by({})));
          expect(new Set(served.map(({ servedBy }) => servedBy))).toEqual(new Set(['reviews-v1']));
        }
      });
    });

    it('jason to v2, everybody else to v1', async () => {
      await mesh.with(route(JASON), async () => {
        await inForce(async () => (await byEnvoy({ headers: { 'end-user': 'jason' } })).servedBy === 'reviews-v2');
        for (const by of [byEnvoy, byOurs]) {
          expect((await by({ headers: { 'end-user': 'jason' } })).servedBy).toBe('reviews-v2');
          expect((await by({})).servedBy).toBe('reviews-v1');
        }
      });
    });

    it('half to each', async () => {
      const half = (subset: string): string => `{destination: {host: reviews, subset: ${subset}}, weight: 50}`;
      const marked = `{headers: {response: {set: {x-half: "1"}}}, route: [${half('v1')}, ${half('v2')}]}`;
      await mesh.with(route(marked), async () => {
        await inForce(async () => (await byEnvoy({})).headers['x-half'] === '1');
        for (const by of [byEnvoy, byOurs]) {
          const served: Answer[] = [];
          for (let batch = 0; batch < 10; batch++) served.push(...(await Promise.all(Array.from({ length: 20 }, () => by({})))));
          const first = served.filter(({ servedBy }) => servedBy === 'reviews-v1').length;
          // 100 of 200 expected, standard deviation 7: outside of six of them about twice in a thousand million runs.
          expect(Math.abs(first - 100)).toBeLessThan(43);
        }
      });
    });

    it('an abort by fault', async () => {
      await mesh.with(route(`{fault: {abort: {httpStatus: 555, percentage: {value: 100}}}, ${to('v1')}}`), async () => {
        await inForce(async () => (await byEnvoy({})).status === 555);
        const [envoys, ours] = [await byEnvoy({}), await byOurs({})];
        expect([ours.status, ours.body]).toEqual([envoys.status, envoys.body]);
      });
    });

    it('a rewrite of path and host', async () => {
      await mesh.with(route(`{match: [{uri: {prefix: /old}}], rewrite: {uri: /new, authority: other.example}, ${to('v1')}}`), async () => {
        await inForce(async () => (await byEnvoy({ path: '/old/x?y=1' })).status === 200);
        const [envoys, ours] = [(await byEnvoy({ path: '/old/x?y=1' })).echo, (await byOurs({ path: '/old/x?y=1' })).echo];
        const seen = ({ path, headers }: typeof ours): unknown[] => [path, headers.host, headers['x-envoy-original-path']];
        expect(seen(ours)).toEqual(seen(envoys));
        expect((await byOurs({ path: '/none' })).status).toBe((await byEnvoy({ path: '/none' })).status);
      });
    });

    it('a timeout', async () => {
      const timeout = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: silent}
spec:
  hosts: [silent]
  http:
  - {match: [{uri: {exact: /in-force}}], directResponse: {status: 299}}
  - {timeout: 60ms, retries: {attempts: 0}, route: [{destination: {host: silent}}]}
`;
      await mesh.with(timeout, async () => {
        await inForce(async () => (await byEnvoy({ host: 'silent', path: '/in-force' })).status === 299);
        const [envoys, ours] = [await byEnvoy({ host: 'silent' }), await byOurs({ host: 'silent' })];
        expect([ours.status, ours.body]).toEqual([envoys.status, envoys.body]);
      });
    });
  });

  it('tells a client as little as ours of a server that proves to be another', async () => {
    const policy = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, subjectAltNames: ["spiffe://cluster.local/ns/default/sa/someone-else"]}}}
`;
    await mesh.with(policy, async () => {
      await inForce(async () => (await byEnvoy({})).status === 503);
      const [envoys, ours] = [await byEnvoy({}), await byOurs({})];
      expect([ours.status, ours.body]).toEqual([envoys.status, envoys.body]);
    });
  });

  it('serves a Gateway', async () => {
    const get = (path: string, host: string): Promise<Answer> => sendRequest({ port: gatewayPort, path, headers: { host } });
    await inForce(async () => (await get('/api/x', 'shop.example')).status === 200);
    const { echo } = await get('/api/x', 'shop.example');
    expect(echo.path).toBe('/v1/x');
    expect(echo.headers['x-forwarded-client-cert']).toContain('URI=spiffe://cluster.local/ns/default/sa/envoy-gateway');
    expect((await get('/other', 'shop.example')).status).toBe(404);
    expect((await get('/api/x', 'other.example')).status).toBe(404);
  });

  it('has refused nothing in the end', async () => {
    for (const envoy of [sidecar, gateway]) {
      const rejected = Object.entries(await envoy.stats('update_rejected')).filter(([, count]) => count > 0);
      expect(rejected).toEqual([]);
    }
  });
});
