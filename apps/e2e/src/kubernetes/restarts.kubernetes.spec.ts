import { beforeAll, expect, it } from '@jest/globals';
import { type Load, startLoad } from '../load.ts';
import { until } from '../until.ts';
import { stopApiServer } from './api-server.ts';
import { BOOKINFO_DEPLOYMENTS, ensureBookinfo } from './bookinfo-on-kubernetes.ts';
import { deploymentsOf, describeOnKubernetes, isReady, kubectl, pods, readyPod, rolledOut, tryKubectl } from './cluster.ts';

const SYSTEM = 'istio-system';

/** Everything is restarted while pages are loaded without a pause; no request fails. */
describeOnKubernetes('restarts under load (needs kubernetes)', () => {
  let gateway: string;

  beforeAll(async () => {
    gateway = await ensureBookinfo();
    // With one pod of each there is a moment without any; what is tested is that nothing is lost on the way from one to the other.
    for (const name of BOOKINFO_DEPLOYMENTS) await kubectl(['-n', 'default', 'scale', `deployment/${name}`, '--replicas=2']);
    await rolledOut('default', ...BOOKINFO_DEPLOYMENTS);
  }, 420_000);

  async function underLoad(disturb: (load: Load) => Promise<void>): Promise<void> {
    // Not more requests than a node of two cores carries beside pods that start: who starves gives no page in time.
    const load = startLoad(`${gateway}/productpage`, { concurrency: 2, pauseMs: 25, isGood: isWholePage });
    await load.answered(30);
    try {
      await disturb(load);
      await load.answered(30);
    } finally {
      const report = await load.stop();
      process.stdout.write(`${report.sent} requests, ${report.failures.length} failed\n`);
      expect(report.failures).toEqual([]);
    }
  }

  it('of every Deployment of Bookinfo', async () => {
    await underLoad(async () => {
      for (const name of BOOKINFO_DEPLOYMENTS) {
        await kubectl(['-n', 'default', 'rollout', 'restart', `deployment/${name}`]);
        await rolledOut('default', name);
      }
    });
  }, 600_000);

  it('of every Deployment of the mesh, gateways included', async () => {
    await underLoad(async () => {
      for (const name of await deploymentsOf(SYSTEM)) {
        await kubectl(['-n', SYSTEM, 'rollout', 'restart', `deployment/${name}`]);
        await rolledOut(SYSTEM, name);
      }
    });
  }, 600_000);

  it('of a pod that is deleted', async () => {
    await underLoad(async (load) => {
      for (const app of ['ratings', 'reviews', 'productpage']) {
        const pod = await readyPod('default', `app=${app}`);
        await kubectl(['-n', 'default', 'delete', 'pod', pod.metadata.name, '--wait=false']);
        await load.answered(30);
        await until(
          `${app} is whole again`,
          async () => {
            const all = await pods('default', `app=${app}`);
            return all.every(isReady) ? true : undefined;
          },
          90_000,
        );
      }
    });
  }, 300_000);

  it('of one of two gateways', async () => {
    await underLoad(async (load) => {
      const pod = await readyPod(SYSTEM, 'istio=ingressgateway');
      await kubectl(['-n', SYSTEM, 'delete', 'pod', pod.metadata.name, '--wait=false']);
      await load.answered(60);
      await rolledOut(SYSTEM, 'istio-ingressgateway');
    });
  }, 300_000);

  it('of the API server, after which configuration works again', async () => {
    let startedAt = 0;
    await underLoad(async (load) => {
      const start = await stopApiServer();
      await load.answered(60);
      startedAt = Date.now();
      start();
      await until(
        'the API server answers',
        async () => ((await tryKubectl(['get', '--raw', '/readyz'])).code === 0 ? true : undefined),
        90_000,
      );
      await load.answered(30);
    });
    await until('the nodes are known to be well', async () => ((await haveNodesReported(startedAt)) ? true : undefined), 120_000);
    await rolledOut(SYSTEM, 'mizzen-control-plane', 'mizzen-injector', 'mizzen-ca');
  }, 300_000);
});

/**
 * Kubernetes takes a node that it has not heard of for 50 s for lost, and all of its pods out of their services, even where it was itself away.
 * After a node has renewed its lease twice that is over.
 */
async function haveNodesReported(since: number): Promise<boolean> {
  const leases = await list<{ spec: { renewTime: string } }>('kube-node-lease', 'leases');
  const nodes = await list<{ status: { conditions: { type: string; status: string }[] } }>('default', 'nodes');
  const areReady = nodes.every(({ status }) => status.conditions.some(({ type, status: value }) => type === 'Ready' && value === 'True'));
  if (!areReady || !leases.every(({ spec }) => Date.parse(spec.renewTime) > since + 15_000)) return false;
  return [...(await pods('default', '')), ...(await pods(SYSTEM, ''))].every(isReady);
}

async function list<T>(namespace: string, kind: string): Promise<T[]> {
  return (JSON.parse(await kubectl(['-n', namespace, 'get', kind, '-o', 'json'])) as { items: T[] }).items;
}

function isWholePage(body: string): boolean {
  return body.includes('Reviews served by') && body.includes('William Shakespeare') && !body.includes('currently unavailable');
}
