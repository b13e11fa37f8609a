import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { until } from '../until.ts';
import { ensureBookinfo } from './bookinfo-on-kubernetes.ts';
import { createNamespace, describeOnKubernetes, inPod, kubectl, readyPod } from './cluster.ts';
import { buildAndLoad } from './images.ts';

const NAMESPACE = 'mizzen-workloads';
const PYTHON_IMAGE = 'mizzen-e2e/python:1';
const PYTHON_DOCKERFILE = `FROM node:24-bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
USER 1000
CMD ["python3", "-m", "http.server", "8000", "--directory", "/usr/share/doc"]
`;

/** What an application needs nothing of ours for: any program in any language, a Job, probes. */
describeOnKubernetes('workloads in pods (needs kubernetes)', () => {
  let namespace: AsyncDisposable | undefined;

  beforeAll(async () => {
    await ensureBookinfo();
    await buildAndLoad(PYTHON_IMAGE, PYTHON_DOCKERFILE);
    namespace = await createNamespace(NAMESPACE, { isInjected: true });
    await kubectl(['apply', '-n', NAMESPACE, '-f', '-'], STRICT + PYTHON);
  }, 420_000);

  afterAll(async () => {
    await namespace?.[Symbol.asyncDispose]();
  }, 150_000);

  it('captures an unmodified Python program: it calls names of the mesh and is called by mutual TLS', async () => {
    const python = await readyPod(NAMESPACE, 'app=python');
    const call = `import urllib.request; print(urllib.request.urlopen('http://ratings.default:9080/ratings/0').read().decode())`;
    const answer = await until('Python reaches ratings', async () => {
      const result = await inPod(python, 'python', ['python3', '-c', call]);
      return result.code === 0 ? result.stdout : Promise.reject(new Error(result.stderr));
    });
    expect(JSON.parse(answer)).toEqual({ id: 0, ratings: { Reviewer1: 5, Reviewer2: 4 } });

    const productpage = await readyPod('default', 'app=productpage');
    const back = `fetch('http://python.${NAMESPACE}:8000/').then(async (r) => console.log(r.status, r.headers.get('server')))`;
    const called = await inPod(productpage, 'productpage', ['node', '-e', back]);
    expect(called.stdout.trim()).toBe('200 istio-envoy');
    await until('the access log names the caller', async () => {
      const log = await kubectl(['-n', NAMESPACE, 'logs', python.metadata.name, '-c', 'istio-proxy']);
      return log.includes('from=spiffe://cluster.local/ns/default/sa/bookinfo-productpage') ? true : undefined;
    });
  });

  it('answers probes although plaintext is refused', async () => {
    const python = await readyPod(NAMESPACE, 'app=python');
    const probe = await kubectl([
      '-n',
      NAMESPACE,
      'get',
      'pod',
      python.metadata.name,
      '-o',
      'jsonpath={.spec.containers[?(@.name=="python")].readinessProbe}',
    ]);
    expect(JSON.parse(probe).httpGet).toMatchObject({ path: '/app-health/python/readyz', port: 15020 });
  });

  it('lets a Job end, with its sidecar', async () => {
    await kubectl(['apply', '-n', NAMESPACE, '-f', '-'], JOB);
    await kubectl(['-n', NAMESPACE, 'wait', '--for=condition=Complete', 'job/one-call', '--timeout=120s']);
    const log = await kubectl(['-n', NAMESPACE, 'logs', 'job/one-call', '-c', 'call']);
    expect(JSON.parse(log)).toMatchObject({ author: 'William Shakespeare' });
    await until('the pod of the Job ends', async () => {
      const phase = await kubectl(['-n', NAMESPACE, 'get', 'pods', '-l', 'job-name=one-call', '-o', 'jsonpath={.items[0].status.phase}']);
      return phase === 'Succeeded' ? true : undefined;
    });
  });
});

const STRICT = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default }
spec: { mtls: { mode: STRICT } }
`;

const PYTHON = `
---
apiVersion: v1
kind: Service
metadata: { name: python, labels: { app: python } }
spec:
  selector: { app: python }
  ports: [{ port: 8000, name: http }]
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: python }
spec:
  selector: { matchLabels: { app: python } }
  template:
    metadata: { labels: { app: python } }
    spec:
      containers:
        - name: python
          image: ${PYTHON_IMAGE}
          imagePullPolicy: Never
          ports: [{ containerPort: 8000 }]
          readinessProbe: { httpGet: { path: /, port: 8000 }, periodSeconds: 2 }
`;

const JOB = `
apiVersion: batch/v1
kind: Job
metadata: { name: one-call }
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: call
          image: ${PYTHON_IMAGE}
          imagePullPolicy: Never
          command: [python3, -c, "import urllib.request; print(urllib.request.urlopen('http://details.default:9080/details/0').read().decode())"]
`;
