import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createSelfSignedRoot, generateKeys, issueLeaf, privateKeyToPem } from '@mizzen/identity';
import { fetchText, Visitor } from './bookinfo.ts';
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

interface ProxyStatus {
  readonly proxy: string;
  readonly types: Readonly<Record<string, { readonly status: string; readonly reason?: string }>>;
}

async function statusOf(name: string): Promise<ProxyStatus | undefined> {
  const all: readonly ProxyStatus[] = JSON.parse(await mesh.mizzen('proxy-status', '-o', 'json'));
  return all.find((entry) => entry.proxy.includes(name));
}

describe('mizzen proxy-status', () => {
  it('lists every proxy as synced', async () => {
    await mesh.settled();
    const table = await mesh.mizzen('proxy-status');
    for (const name of ['productpage-v1', 'details-v1', 'reviews-v1', 'reviews-v2', 'reviews-v3', 'ratings-v1', 'istio-ingressgateway']) {
      const row = table.split('\n').find((line) => line.includes(name));
      expect(row).toMatch(/SYNCED/);
      expect(row).not.toMatch(/STALE|ERROR/);
    }
  });

  it('lists a frozen proxy as stale, and as synced again when it thaws', async () => {
    const { pid } = mesh.process('details-v1-sidecar');
    process.kill(pid as number, 'SIGSTOP');
    try {
      mesh.writeConfig('frozen.yaml', readFileSync(networkingFile('virtual-service-all-v1'), 'utf8'));
      await until('details is stale', async () => {
        const types = Object.values((await statusOf('details-v1'))?.types ?? {});
        return types.some(({ status }) => status === 'STALE') ? true : undefined;
      });
      expect(await mesh.mizzen('proxy-status')).toMatch(/STALE/);
    } finally {
      process.kill(pid as number, 'SIGCONT');
    }
    await until('details is synced', async () => {
      const types = Object.values((await statusOf('details-v1'))?.types ?? {});
      return types.length > 0 && types.every(({ status }) => status === 'SYNCED' || status === 'NOT SENT') ? true : undefined;
    });
    mesh.removeConfig('frozen.yaml');
    await mesh.settled();
  }, 60_000);

  it('lists a proxy that refused its configuration as in error, with the reason, and keeps it serving', async () => {
    // The gateway cannot bind a port that somebody else has: the collector's.
    const taken = Number(mesh.state.addresses['telemetry']?.split(':')[1]);
    mesh.writeConfig('refused.yaml', gatewayYaml('refused', taken, 'HTTP', ''));
    await until('the gateway is in error', async () => {
      const types = (await statusOf('istio-ingressgateway'))?.types ?? {};
      return types['LDS']?.status === 'ERROR' && types['LDS'].reason?.includes('in use') ? true : undefined;
    });
    const table = await mesh.mizzen('proxy-status');
    expect(table).toMatch(/ERROR/);
    expect(table).toMatch(/in use/);
    expect((await new Visitor(mesh.gatewayUrl).page()).status).toBe(200);
    mesh.removeConfig('refused.yaml');
    await until('the gateway is synced', async () =>
      (await statusOf('istio-ingressgateway'))?.types['LDS']?.status === 'SYNCED' ? true : undefined,
    );
  }, 60_000);
});

describe('a new route', () => {
  it('shows in proxy-config, in config_dump and in the access log', async () => {
    await mesh.applyFile(networkingFile('virtual-service-reviews-v3'));
    expect(await mesh.mizzen('proxy-config', 'routes', 'productpage-v1')).toMatch(/reviews/);
    const routes = await mesh.mizzen('proxy-config', 'routes', 'productpage-v1', '-o', 'json');
    expect(routes).toContain('outbound|9080|v3|reviews.default.svc.cluster.local');
    const status = await statusOf('productpage-v1');
    const admin = (status as unknown as { admin_address: string }).admin_address;
    const dump = await fetchText(`http://${admin}/config_dump`);
    expect(dump.body).toContain('outbound|9080|v3|reviews.default.svc.cluster.local');
    await new Visitor(mesh.gatewayUrl).page();
    await until('the access log names the cluster', async () =>
      mesh.log('productpage-v1-sidecar').includes('outbound|9080|v3|reviews.default.svc.cluster.local') ? true : undefined,
    );
    await mesh.deleteFile(networkingFile('virtual-service-reviews-v3'));
  });

  it('has a status: accepted, and applied to every proxy', async () => {
    await mesh.applyFile(networkingFile('virtual-service-reviews-v3'));
    const reviews = (await mesh.resources()).find(({ kind, metadata }) => kind === 'VirtualService' && metadata.name === 'reviews');
    expect(reviews?.status).toMatchObject({ accepted: true, diagnostics: [] });
    expect(reviews?.status.appliedTo).toBe(reviews?.status.ofProxies);
    expect(reviews?.status.ofProxies).toBeGreaterThanOrEqual(7);
    expect(await mesh.mizzen('get', 'vs', 'reviews')).toMatch(/reviews/);
    await mesh.deleteFile(networkingFile('virtual-service-reviews-v3'));
  });
});

describe('broken YAML', () => {
  it('is reported with file, line and reason, and everything valid stays in force', async () => {
    mesh.writeConfig(
      'broken.yaml',
      `${readFileSync(networkingFile('virtual-service-reviews-v3'), 'utf8')}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: bad\nspec:\n  hosts: [reviews]\n  http:\n    - rout: []\n`,
    );
    await until('the log names file, line and reason', async () =>
      /broken\.yaml:\d+.*rout/.test(mesh.log('control-plane').replaceAll('\\"', '"')) ? true : undefined,
    );
    await until('the valid document is in force', async () =>
      (await new Visitor(mesh.gatewayUrl).pages(5)).every((page) => page.stars === 'red') ? true : undefined,
    );
    const waited = await mesh.tryMizzen(['wait']);
    expect(waited).toMatchObject({ code: 0, stdout: '' });
    expect(waited.stderr).toMatch(/broken\.yaml:\d+ .*rout/);
    expect(waited.stderr).toMatch(/except for what is wrong above/);
    mesh.removeConfig('broken.yaml');
    await mesh.settled();
  }, 60_000);

  it('is refused by apply with its place and exit code 65, and nothing is written', async () => {
    const result = await mesh.tryMizzen(
      ['apply', '-f', '-'],
      'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: bad }\nspec:\n  hosts: [x]\n  http:\n    - rout: []\n',
    );
    expect(result.code).toBe(65);
    expect(result.stderr).toMatch(/rout/);
    expect((await mesh.resources()).some(({ metadata }) => metadata.name === 'bad')).toBe(false);
  });
});

describe('the gateway', () => {
  it('answers 404 for a host that no server has', async () => {
    const port = Number(mesh.state.addresses['gateway']?.split(':')[1]);
    mesh.writeConfig('hosts.yaml', gatewayYaml('hosts', 80, 'HTTP', 'books.example'));
    // Port 80 is where the local home has 8080: both Gateways share one listener, and bookinfo's host is every host.
    expect(port).toBeGreaterThan(0);
    await mesh.settled();
    mesh.removeConfig('hosts.yaml');
    await mesh.settled();
    const original = readFileSync(networkingFile('bookinfo-gateway'), 'utf8');
    await mesh.apply(original.replaceAll('"*"', 'books.example').replaceAll("'*'", 'books.example'));
    expect((await fetchText(`${mesh.gatewayUrl}/productpage`, { headers: { host: 'books.example' } })).status).toBe(200);
    expect(await fetchText(`${mesh.gatewayUrl}/productpage`, { headers: { host: 'other.example' } })).toMatchObject({
      status: 404,
      body: '',
    });
    await mesh.apply(original);
    expect((await fetchText(`${mesh.gatewayUrl}/productpage`, { headers: { host: 'other.example' } })).status).toBe(200);
  }, 60_000);

  it('serves HTTPS with a credential on port 443, and replaces it while it runs', async () => {
    const first = await credential('books.example');
    putCredential('books-credential', first);
    mesh.writeConfig('https.yaml', gatewayYaml('https', 443, 'HTTPS', 'books.example'));
    const port = Number(mesh.state.addresses['gatewayHttps']?.split(':')[1]);
    await until('https answers', async () => ((await getHttps(port, 'books.example', first.ca)) === 200 ? true : undefined));
    const second = await credential('books.example');
    putCredential('books-credential', second);
    await until('https answers with the new certificate', async () =>
      (await getHttps(port, 'books.example', second.ca)) === 200 ? true : undefined,
    );
    mesh.removeConfig('https.yaml');
    await mesh.settled();
  }, 60_000);
});

describe('the telemetry collector', () => {
  interface Graph {
    readonly edges: readonly { source: string; destination: string; requestsPerSecond: number; mtls: string; p50Ms: number }[];
    readonly nodes: readonly { id: string; workload: string }[];
  }

  it('knows who calls whom, with rate, latency and mTLS', async () => {
    await mesh.applyFile(networkingFile('virtual-service-reviews-v3'));
    await new Visitor(mesh.gatewayUrl).pages(20);
    const expected = [
      ['istio-ingressgateway|ingress-gateway', 'productpage-v1'],
      ['productpage-v1', 'details-v1'],
      ['productpage-v1', 'reviews-v3'],
      ['reviews-v3', 'ratings-v1'],
    ];
    const graph = await until(
      'the graph has all hops',
      async () => {
        const answer = (await (await fetch(`${mesh.url('telemetry')}/api/graph?window=5m`)).json()) as Graph;
        const has = (from: string, to: string): boolean =>
          answer.edges.some((edge) => new RegExp(from).test(edge.source) && edge.destination.includes(to));
        return expected.every(([from, to]) => has(from as string, to as string)) ? answer : undefined;
      },
      30_000,
    );
    const hop = graph.edges.find((edge) => edge.source.includes('reviews-v3') && edge.destination.includes('ratings-v1'));
    expect(hop).toMatchObject({ mtls: 'mutual_tls' });
    expect(hop?.requestsPerSecond).toBeGreaterThan(0);
    expect((await fetchText(`${mesh.url('telemetry')}/metrics`)).body).toMatch(
      /istio_requests_total\{[^}]*source_workload="productpage-v1"/,
    );
    await mesh.deleteFile(networkingFile('virtual-service-reviews-v3'));
  }, 60_000);
});

function gatewayYaml(name: string, port: number, protocol: string, host: string): string {
  const tls = protocol === 'HTTPS' ? '      tls: { mode: SIMPLE, credentialName: books-credential }\n' : '';
  return `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: ${name}, namespace: default }
spec:
  selector: { istio: ingressgateway }
  servers:
    - port: { number: ${port}, name: ${protocol.toLowerCase()}, protocol: ${protocol} }
      hosts: ["${host === '' ? '*' : host}"]
${tls}---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name}, namespace: default }
spec:
  hosts: ["${host === '' ? '*' : host}"]
  gateways: [${name}]
  http:
    - route: [{ destination: { host: productpage, port: { number: 9080 } } }]
`;
}

interface Credential {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

async function credential(host: string): Promise<Credential> {
  const now = Date.now();
  const root = await createSelfSignedRoot({ trustDomain: 'edge.example', now });
  const issuer = { certificate: new X509Certificate(root.certificatePem), privateKey: createPrivateKey(root.privateKeyPem) };
  const { publicKey, privateKey } = await generateKeys();
  const cert = issueLeaf(issuer, {
    publicKey,
    names: { dnsNames: [host] },
    validity: { notBefore: now - 60_000, notAfter: now + 3_600_000 },
  });
  return { cert, key: privateKeyToPem(privateKey), ca: root.certificatePem };
}

function putCredential(name: string, { cert, key }: Credential): void {
  const folder = path.join(mesh.home, 'credentials', name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'tls.key'), key, { mode: 0o600 });
  writeFileSync(path.join(folder, 'tls.crt'), cert);
}

function getHttps(port: number, host: string, ca: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const sending = request(
      { host: '127.0.0.1', port, path: '/productpage', servername: host, headers: { host }, ca, agent: false },
      (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode ?? 0));
      },
    );
    sending.on('error', reject);
    sending.end();
  });
}
