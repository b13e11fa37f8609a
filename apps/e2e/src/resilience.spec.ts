import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Visitor } from './bookinfo.ts';
import { startLoad } from './load.ts';
import { LocalMesh } from './local-mesh.ts';
import { until } from './until.ts';
import { networkingFile } from './workspace.ts';

let mesh: LocalMesh;

beforeAll(async () => {
  mesh = await LocalMesh.start();
}, 120_000);

afterAll(async () => {
  await mesh?.[Symbol.asyncDispose]();
}, 60_000);

describe('under load', () => {
  it('a new route is live soon and loses no request', async () => {
    const load = startLoad(`${mesh.gatewayUrl}/productpage`);
    await load.answered(20);
    const result = await mesh.tryMizzen(['apply', '-f', networkingFile('virtual-service-reviews-v3')]);
    expect(result).toMatchObject({ code: 0 });
    const visitor = new Visitor(mesh.gatewayUrl);
    // Three red pages in a row have a chance of one in 27 before the route is there; ten have none worth naming.
    await until('ten red pages in a row', async () => ((await visitor.pages(10)).every((page) => page.stars === 'red') ? true : undefined));
    await mesh.settled();
    await load.answered(20);
    expect(await load.stop()).toMatchObject({ failures: [] });
    await mesh.deleteFile(networkingFile('virtual-service-reviews-v3'));
  }, 60_000);

  it('fifty changes of weights, as fast as they can be written, lose no request', async () => {
    const load = startLoad(`${mesh.gatewayUrl}/productpage`);
    await load.answered(10);
    for (let round = 0; round < 50; round++) {
      const name = ['virtual-service-reviews-v3', 'virtual-service-reviews-80-20', 'virtual-service-reviews-50-v3'][round % 3] as string;
      mesh.writeConfig('weights.yaml', readFileSync(networkingFile(name), 'utf8'));
      await load.answered(2);
    }
    mesh.removeConfig('weights.yaml');
    await mesh.settled();
    expect(await load.stop()).toMatchObject({ failures: [] });
  }, 90_000);

  it('the control plane is killed and started again without a failed request, and the next change is live', async () => {
    const load = startLoad(`${mesh.gatewayUrl}/productpage`);
    await load.answered(20);
    await mesh.mizzen('kill', 'control-plane');
    await load.answered(60);
    await mesh.mizzen('start', 'control-plane');
    await load.answered(60);
    expect(await load.stop()).toMatchObject({ failures: [] });
    await mesh.applyFile(networkingFile('virtual-service-reviews-v3'));
    const pages = await new Visitor(mesh.gatewayUrl).pages(5);
    expect(pages.map((page) => page.stars)).toEqual(Array(5).fill('red'));
    await mesh.deleteFile(networkingFile('virtual-service-reviews-v3'));
  }, 90_000);

  it('the CA is killed and nothing fails while the certificates last', async () => {
    const load = startLoad(`${mesh.gatewayUrl}/productpage`);
    await mesh.mizzen('kill', 'ca');
    await load.answered(100);
    await mesh.mizzen('start', 'ca');
    await load.answered(20);
    expect(await load.stop()).toMatchObject({ failures: [] });
  }, 60_000);

  it('the telemetry collector is killed and no request notices', async () => {
    const load = startLoad(`${mesh.gatewayUrl}/productpage`);
    await mesh.mizzen('kill', 'telemetry');
    await load.answered(60);
    await mesh.mizzen('start', 'telemetry');
    expect(await load.stop()).toMatchObject({ failures: [] });
  }, 60_000);

  it('a workload that leaves gracefully loses no request', async () => {
    const load = startLoad(`${mesh.gatewayUrl}/productpage`, { isGood: (body) => !body.includes('Error fetching product reviews') });
    await load.answered(20);
    await mesh.mizzen('stop', 'reviews-v2-sidecar');
    await load.answered(40);
    expect(await load.stop()).toMatchObject({ failures: [] });
    const pages = await new Visitor(mesh.gatewayUrl).pages(10);
    expect(new Set(pages.map((page) => page.stars))).toEqual(new Set(['none', 'red']));
    await mesh.mizzen('start', 'reviews-v2-sidecar');
    await until('reviews v2 is back', async () => ((await endpoints('9080')).has('reviews-v2') ? true : undefined));
  }, 60_000);
});

describe('a workload that is killed', () => {
  it('loses its endpoint', async () => {
    expect((await endpoints('9080')).has('reviews-v3')).toBe(true);
    await mesh.mizzen('kill', 'reviews-v3-sidecar');
    await until('the endpoint of reviews v3 is gone', async () => ((await endpoints('9080')).has('reviews-v3') ? undefined : true));
    const pages = await new Visitor(mesh.gatewayUrl).pages(10);
    expect(pages.map((page) => page.stars)).not.toContain('red');
    expect(pages.map((page) => page.stars)).not.toContain('reviews error');
    await mesh.mizzen('start', 'reviews-v3-sidecar');
    await until('the endpoint of reviews v3 is back', async () => ((await endpoints('9080')).has('reviews-v3') ? true : undefined));
  }, 60_000);

  it('turns the stars into an error text where it was ratings, and the page stays', async () => {
    await mesh.mizzen('stop', 'ratings-v1-sidecar');
    await mesh.applyFile(networkingFile('virtual-service-reviews-v3'));
    expect(await new Visitor(mesh.gatewayUrl).page()).toMatchObject({ status: 200, stars: 'ratings error' });
    await mesh.mizzen('start', 'ratings-v1-sidecar');
    await until('stars again', async () => ((await new Visitor(mesh.gatewayUrl).page()).stars === 'red' ? true : undefined));
    await mesh.deleteFile(networkingFile('virtual-service-reviews-v3'));
  }, 60_000);
});

/** Workload groups whose endpoints productpage's proxy holds for reviews. */
async function endpoints(port: string): Promise<Set<string>> {
  const ports = new Map<string, string>();
  for (const process of mesh.state.processes) {
    const inbound = process.ports['inbound'] as Record<string, number> | undefined;
    if (inbound?.[port] !== undefined) ports.set(String(inbound[port]), process.name.replace(/-sidecar$/, ''));
  }
  const table = await mesh.mizzen('proxy-config', 'endpoints', 'productpage-v1');
  const found = [...table.matchAll(/127\.0\.0\.1:(\d+)\s.*outbound\|9080\|\|reviews/g)].map((match) => ports.get(match[1] as string));
  return new Set(found.filter((name) => name !== undefined));
}
