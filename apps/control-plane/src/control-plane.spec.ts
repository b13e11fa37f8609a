import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { ScriptedDeltaClient } from '@mizzen/testing';
import { TYPE_URL } from '@mizzen/xds-api';
import type { ClusterLoadAssignment } from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint';
import {
  acknowledged,
  aNode,
  ControlPlaneFixture,
  productpage,
  REVIEWS,
  SUBSETS,
  subscribe,
  virtualServiceTo,
} from './fixtures/running-control-plane.ts';
import type { ConfiguredResource } from './resource-status.ts';

const { cluster, endpoint, listener, route } = TYPE_URL;
const HOST = 'reviews.default.svc.cluster.local';
const ALL = `outbound|9080||${HOST}`;

interface SyncEntry {
  proxy: string;
  ports: Record<string, unknown>;
  types: Record<string, { status: string; reason?: string; version?: string }>;
}

describe('the control plane', () => {
  let mesh: ControlPlaneFixture;
  const clients: ScriptedDeltaClient[] = [];

  beforeEach(async () => {
    mesh = await ControlPlaneFixture.create();
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.drop();
    await mesh.remove();
  });

  function connect(node = productpage): ScriptedDeltaClient {
    const client = new ScriptedDeltaClient({ address: mesh.address, node });
    clients.push(client);
    return client;
  }

  const status = () => mesh.running.controlPlane.server.status();
  const settled = (nodeId: string) =>
    mesh.running.controlPlane.server.activity.until(() => {
      const connection = status().find(({ node }) => node.id === nodeId);
      return connection?.appliedRevision !== undefined && [...connection.types.values()].every(({ state }) => state === 'SYNCED');
    });

  const endpointsPublished = (count: number) =>
    mesh.running.controlPlane.resources.until(() => {
      const [endpoints] = [...mesh.running.controlPlane.published().snapshot.endpoints.values()];
      return (endpoints?.byPort.get(9080)?.length ?? 0) === count;
    });

  function addressesOf(assignment: unknown): unknown[] {
    return ((assignment as ClusterLoadAssignment | undefined)?.endpoints ?? []).flatMap(({ lbEndpoints }) =>
      lbEndpoints.map(({ hostIdentifier }) => {
        const address = hostIdentifier.case === 'endpoint' ? hostIdentifier.value.address?.address : undefined;
        return address?.case === 'socketAddress' && address.value.portSpecifier.value;
      }),
    );
  }

  describe('when the configuration changes', () => {
    beforeEach(async () => {
      await mesh.start();
      await mesh.write('reviews.yaml', REVIEWS);
      await mesh.write('subsets.yaml', SUBSETS);
      await until(mesh, (resources) => resources.length === 3);
    });

    it('pushes a changed route and nothing else, and says to how many proxies the resource is applied', async () => {
      await mesh.write('vs.yaml', virtualServiceTo('v1'));
      await until(mesh, (resources) => resources.length === 4);
      const client = connect();
      await subscribe(client, cluster);
      await subscribe(client, listener);
      await subscribe(client, route, ['http_proxy']);
      await settled(productpage.id);
      expect(await statusOf(mesh, 'VirtualService')).toMatchObject({ accepted: true, appliedTo: 1, ofProxies: 1 });
      await mesh.write('vs.yaml', virtualServiceTo('v3'));
      const changed = await client.expectResponse(route);
      expect(JSON.stringify([...changed.resources.values()], bigintAsText)).toContain(`outbound|9080|v3|${HOST}`);
      expect(await statusOf(mesh, 'VirtualService')).toMatchObject({ accepted: true, appliedTo: 0, ofProxies: 1 });
      client.ack(changed);
      await settled(productpage.id);
      expect(await statusOf(mesh, 'VirtualService')).toMatchObject({ accepted: true, appliedTo: 1, ofProxies: 1 });
      expect(await statusOf(mesh, 'ServiceEntry')).toMatchObject({ appliedTo: 1 });
    });

    it('shows a rejection with its reason and does not count the resource as applied', async () => {
      const client = connect();
      const clusters = subscribe(client, cluster);
      await clusters;
      await subscribe(client, listener);
      client.request(route, { subscribe: ['http_proxy'] });
      client.nack(await client.expectResponse(route), 'http_proxy: not today');
      await mesh.running.controlPlane.server.activity.until(() => status()[0]?.types.get(route)?.state === 'ERROR');
      const [entry] = await mesh.get<SyncEntry[]>('/debug/syncz');
      expect(entry).toMatchObject({
        proxy: productpage.id,
        types: { CDS: { status: 'SYNCED' }, RDS: { status: 'ERROR', reason: 'http_proxy: not today' }, EDS: { status: 'NOT SENT' } },
      });
      expect(await statusOf(mesh, 'ServiceEntry')).toMatchObject({ appliedTo: 0, ofProxies: 1 });
      expect(await mesh.get('/metrics')).toContain('pilot_total_xds_rejects{type="rds"} 1');
    });

    it('shows a refused cluster on its DestinationRule and a refused listener on its Gateway', async () => {
      await mesh.write(
        'gateway.yaml',
        `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: edge }
spec: { selector: { app: edge }, servers: [{ port: { number: 80, name: http, protocol: HTTP }, hosts: ["*"] }] }
`,
      );
      await until(mesh, (resources) => resources.length === 4);
      const { activity } = mesh.running.controlPlane.server;
      const isRefused = (typeUrl: string) => (): boolean => status().some(({ types }) => types.get(typeUrl)?.state === 'ERROR');

      const client = connect();
      client.request(cluster);
      client.nack(await client.expectResponse(cluster), `${ALL}: lb_policy: not this one\noutbound|1||unknown: nor this`);
      await activity.until(isRefused(cluster));
      expect(await statusOf(mesh, 'DestinationRule')).toMatchObject({
        accepted: true,
        diagnostics: [
          {
            code: 'xds-rejected',
            severity: 'warning',
            message: `${productpage.id} refused the cluster ${ALL}: lb_policy: not this one; what it had before stays in force there`,
          },
        ],
      });

      const sidecar = aNode('edge', { serviceAccount: 'edge' });
      const id = sidecar.id.replace('sidecar~', 'router~');
      const gateway = connect({ ...sidecar, id, metadata: { ...sidecar.metadata, PORT_MAP: { '80': 8080 } } });
      gateway.request(listener);
      gateway.nack(await gateway.expectResponse(listener), 'Error adding/updating listener(s) 0.0.0.0_8080: the port is in use');
      await activity.until(isRefused(listener));
      expect((await statusOf(mesh, 'Gateway'))?.diagnostics).toMatchObject([
        { code: 'xds-rejected', message: expect.stringContaining(`${id} refused the listener 0.0.0.0_8080: the port is in use`) },
      ]);
      expect((await statusOf(mesh, 'ServiceEntry'))?.diagnostics).toEqual([]);
    });

    it('keeps everything valid in force beside a broken file, and reports the broken one', async () => {
      await mesh.write(
        'broken.yaml',
        'kind: VirtualService\napiVersion: networking.istio.io/v1\nmetadata: {name: bad}\nspec: {hosts: [x], htpp: []}\n',
      );
      const resources = await until(mesh, (found) => found.some(({ metadata }) => metadata.name === 'bad'));
      const bad = resources.find(({ metadata }) => metadata.name === 'bad');
      expect(bad?.status.accepted).toBe(false);
      expect(bad?.status.diagnostics[0]).toMatchObject({ code: 'unknown-field', position: { line: 4 } });
      expect((await subscribe(connect(), cluster)).names).toContain(ALL);
    });
  });

  describe('when agents register', () => {
    beforeEach(async () => {
      await mesh.start(['--disconnect-grace', '5s']);
      await mesh.write('reviews.yaml', REVIEWS);
      await until(mesh, (resources) => resources.length === 2);
    });

    it('gives their endpoint to the others and takes it back at once when they leave', async () => {
      const client = connect();
      await subscribe(client, cluster);
      expect(addressesOf((await subscribe(client, endpoint, [ALL])).resources.get(ALL))).toEqual([]);
      const reviews = connect(aNode('reviews', { serviceAccount: 'reviews', group: 'reviews-v1', listenPort: 40_123 }));
      await subscribe(reviews, listener);
      await acknowledged(client, cluster);
      const there = await acknowledged(client, endpoint);
      expect(addressesOf(there.resources.get(ALL))).toEqual([40_123]);
      await reviews.end();
      // The service account that clients expect of the service goes with its last endpoint.
      await acknowledged(client, cluster);
      const gone = await acknowledged(client, endpoint);
      expect(addressesOf(gone.resources.get(ALL))).toEqual([]);
    });

    it('keeps the endpoint of an agent that was lost and comes back in time', async () => {
      const node = aNode('reviews', { serviceAccount: 'reviews', group: 'reviews-v1', listenPort: 40_123 });
      const lost = connect(node);
      await subscribe(lost, listener);
      const { registration } = mesh.running.controlPlane;
      const [before] = registration.entries.value;
      expect(before?.metadata.name).toBe('reviews-v1-reviews');
      lost.drop();
      await mesh.running.controlPlane.server.activity.until(() => status().length === 0);
      expect(registration.entries.value).toEqual([before]);
      await subscribe(connect(node), listener);
      expect(registration.entries.value[0]).toBe(before);
      await endpointsPublished(1);
      const endpoints = await subscribe(connect(), endpoint, [ALL]);
      expect(addressesOf(endpoints.resources.get(ALL))).toEqual([40_123]);
    });

    it('takes the endpoint back when a lost agent does not come back', async () => {
      const lost = connect(aNode('reviews', { serviceAccount: 'reviews', group: 'reviews-v1', listenPort: 40_123 }));
      await subscribe(lost, listener);
      const { registration } = mesh.running.controlPlane;
      lost.drop();
      await registration.entries.until((entries) => entries.length === 0);
    });

    it('does not register a workload under another service account than its group', async () => {
      const stranger = connect(aNode('reviews', { serviceAccount: 'ratings', group: 'reviews-v1', listenPort: 40_123 }));
      await subscribe(stranger, listener);
      expect(mesh.running.controlPlane.registration.entries.value).toEqual([]);
      expect(await mesh.get('/metrics')).toContain('auto_registration_errors_total 1');
    });

    it('registers a workload once its group is written', async () => {
      await subscribe(connect(aNode('ratings', { serviceAccount: 'ratings', group: 'ratings-v1', listenPort: 40_200 })), listener);
      const { registration } = mesh.running.controlPlane;
      expect(registration.entries.value).toEqual([]);
      await mesh.write('ratings.yaml', REVIEWS.replaceAll('reviews', 'ratings'));
      await registration.entries.until((entries) => entries.length === 1);
      expect(registration.entries.value[0]?.spec).toMatchObject({
        address: '127.0.0.1',
        ports: { http: 40_200 },
        serviceAccount: 'ratings',
      });
    });
  });

  it('starts again without taking endpoints away from those who know them', async () => {
    await mesh.start();
    await mesh.write('reviews.yaml', REVIEWS);
    await until(mesh, (resources) => resources.length === 2);
    const node = aNode('reviews', { serviceAccount: 'reviews', group: 'reviews-v1', listenPort: 40_123 });
    await subscribe(connect(node), listener);
    await endpointsPublished(1);
    const known = await subscribe(connect(), endpoint, [ALL]);
    expect(addressesOf(known.resources.get(ALL))).toEqual([40_123]);
    await mesh.stop();

    await mesh.start(['--registration-settle', '3s']);
    const early = connect();
    early.request(endpoint, { subscribe: [ALL], holds: { ...known.versions } });
    await mesh.running.controlPlane.server.activity.until(() => status().length === 1);
    connect(node).request(listener);
    const answer = await early.expectResponse(endpoint);
    expect([answer.names, answer.removed]).toEqual([[], []]);
  });

  it('answers the debug pages', async () => {
    await mesh.start();
    await mesh.write('reviews.yaml', REVIEWS);
    await until(mesh, (resources) => resources.length === 2);
    const client = connect(aNode('reviews', { serviceAccount: 'reviews', group: 'reviews-v1', listenPort: 40_123 }));
    await subscribe(client, cluster);
    const [entry] = await mesh.get<SyncEntry[]>('/debug/syncz');
    expect(entry?.ports).toMatchObject({ INBOUND: [{ port: 9080, listenPort: 40_123 }], HTTP_PROXY_PORT: '34567' });
    expect(await mesh.get('/debug/registryz')).toMatchObject([{ hostname: HOST }]);
    expect(JSON.stringify(await mesh.get('/debug/endpointz'))).toContain('40123');
    expect(await mesh.get('/debug/mesh')).toMatchObject({ trustDomain: 'cluster.local' });
    expect(JSON.stringify(await mesh.get('/debug/config_dump?proxyID=reviews.default'))).toContain(ALL);
    expect(await mesh.get('/debug/sidecarz?proxyID=reviews.default')).toMatchObject({ services: [{ hostname: HOST }] });
    expect(await mesh.get('/debug/sidecarz?proxyID=nobody')).toMatchObject({ known: [entry?.proxy] });
    expect(await mesh.get('/debug/adsz')).toMatchObject({ totalClients: 1 });
    expect(await mesh.get('/debug/push_status')).toMatchObject({ diagnostics: [] });
    expect(await mesh.get('/ready')).toBe('ok\n');
    expect(await mesh.get('/version')).toEqual({ version: '0.1.0' });
    expect(await mesh.get('/metrics')).toMatch(/pilot_xds\{version="1.32.0"\} 1[\s\S]*pilot_services 1/);
  });
});

/** Reads the resources until they are as wanted; each reading waits for the next publication. */
async function until(
  mesh: ControlPlaneFixture,
  isWanted: (resources: readonly ConfiguredResource[]) => boolean,
): Promise<readonly ConfiguredResource[]> {
  const published = mesh.running.controlPlane.resources;
  await published.until((resources) => isWanted(resources()));
  return published.value();
}

async function statusOf(mesh: ControlPlaneFixture, kind: string): Promise<ConfiguredResource['status'] | undefined> {
  const resources = await mesh.get<ConfiguredResource[]>('/debug/configz');
  return resources.find((resource) => resource.kind === kind)?.status;
}

function bigintAsText(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
