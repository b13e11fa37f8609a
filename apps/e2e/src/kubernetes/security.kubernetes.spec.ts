import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { Visitor } from '../bookinfo.ts';
import { until } from '../until.ts';
import { ensureBookinfo } from './bookinfo-on-kubernetes.ts';
import { captureTraffic } from './capture.ts';
import { createNamespace, describeOnKubernetes, inPod, kubectl, mizzen, type Pod, readyPod } from './cluster.ts';

const OUTSIDE = 'mizzen-outside';

/** What the wire shows, and who is let in. */
describeOnKubernetes('the mesh on the wire (needs kubernetes)', () => {
  let gateway: string;
  let outside: AsyncDisposable | undefined;
  let stranger: Pod;

  beforeAll(async () => {
    gateway = await ensureBookinfo();
    outside = await createNamespace(OUTSIDE, { isInjected: false });
    await kubectl(['apply', '-n', OUTSIDE, '-f', '-'], STRANGER);
    stranger = await readyPod(OUTSIDE, 'app=stranger');
  }, 420_000);

  afterAll(async () => {
    await kubectl(['-n', 'default', 'delete', 'peerauthentication', 'default', '--ignore-not-found']);
    await outside?.[Symbol.asyncDispose]();
  }, 150_000);

  it('shows no plaintext between pods, while every hop carries requests', async () => {
    await kubectl(['apply', '-n', 'default', '-f', '-'], MODE('PERMISSIVE'));
    const ratings = await readyPod('default', 'app=ratings');
    const capture = await captureTraffic(ratings);
    try {
      const pages = await new Visitor(gateway).pages(12);
      expect(pages.every((page) => page.status === 200)).toBe(true);
      expect(pages.some((page) => page.stars === 'black' || page.stars === 'red')).toBe(true);
      await until('the capture saw the calls', async () => (capture.text().length > 10_000 ? true : undefined));
      expect(capture.text()).not.toContain('GET /ratings');
      expect(capture.text()).not.toContain('Reviewer1');
      // The same ears hear plaintext where there is some: a pod without a sidecar, which PERMISSIVE lets in.
      expect((await ask(stranger)).stdout).toContain('Reviewer1');
      await until('the capture saw the plaintext', async () => (capture.text().includes('GET /ratings/0') ? true : undefined));
    } finally {
      await capture.stop();
    }
  });

  it('every hop of a page names both SPIFFE identities', async () => {
    const page = await new Visitor(gateway).page();
    expect(page.status).toBe(200);
    await untilLogged('productpage-v1', 'from=spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway');
    await untilLogged('details-v1', 'from=spiffe://cluster.local/ns/default/sa/bookinfo-productpage');
    await untilLogged('productpage-v1', 'to=spiffe://cluster.local/ns/default/sa/bookinfo-reviews');
  });

  it('refuses a pod without a sidecar under STRICT, and lets the mesh go on', async () => {
    await kubectl(['apply', '-n', 'default', '-f', '-'], MODE('STRICT'));
    await mizzen('wait', '--timeout', '60s');
    const refused = await ask(stranger);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toMatch(/ECONNRESET|other side closed|UND_ERR_SOCKET/);
    const pages = await new Visitor(gateway).pages(6);
    expect(pages.every((page) => page.status === 200 && page.stars !== 'ratings error' && page.stars !== 'reviews error')).toBe(true);
  });
});

/** Access logs are written once a second. */
function untilLogged(workload: string, text: string): Promise<true> {
  return until(`${workload} logs ${text}`, async () => {
    const log = await kubectl(['-n', 'default', 'logs', `deployment/${workload}`, '-c', 'istio-proxy']);
    return log.includes(text) ? true : undefined;
  });
}

function ask(pod: Pod) {
  const script = `fetch('http://ratings.default:9080/ratings/0').then(async (r) => console.log(await r.text()), (e) => { console.error(e.cause ?? e); process.exit(1); })`;
  return inPod(pod, 'stranger', ['node', '-e', script]);
}

const MODE = (mode: string) => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default }
spec: { mtls: { mode: ${mode} } }
`;

const STRANGER = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: stranger }
spec:
  selector: { matchLabels: { app: stranger } }
  template:
    metadata: { labels: { app: stranger } }
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: stranger
          image: mizzen/cli:dev
          imagePullPolicy: IfNotPresent
          command: [node, -e, "setInterval(() => {}, 1e6)"]
`;
