import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { RATING_COLUMN, startMysqlPeer } from '@mizzen/bookinfo-ratings/testing';
import { freePort } from '@mizzen/testing';
import { startBookApi } from './book-api.ts';
import { fetchText, Visitor } from './bookinfo.ts';
import { LocalMesh } from './local-mesh.ts';
import { until } from './until.ts';
import { networkingFile, networkingFolder, workspace } from './workspace.ts';

/**
 * Every file of deploy/samples/bookinfo/networking, applied to the running mesh and looked at through the gateway. `covered` is held
 * against the folder: a file without a scenario fails.
 */
let mesh: LocalMesh;
const applied: string[] = [];
const covered = new Set<string>();

beforeAll(async () => {
  mesh = await LocalMesh.start();
}, 120_000);

afterAll(async () => {
  await mesh?.[Symbol.asyncDispose]();
}, 60_000);

afterEach(async () => {
  for (const name of applied.splice(0).reverse()) await mesh.deleteFile(networkingFile(name));
}, 30_000);

async function given(...names: readonly string[]): Promise<void> {
  for (const name of names) {
    covered.add(name);
    applied.push(name);
    await mesh.applyFile(networkingFile(name));
  }
}

function visitor(): Visitor {
  return new Visitor(mesh.gatewayUrl);
}

/** Share of the pages that show what `isIt` says. */
async function share(count: number, isIt: (stars: string) => boolean): Promise<number> {
  const pages = await visitor().pages(count);
  expect(pages.filter((page) => page.status !== 200)).toEqual([]);
  return pages.filter((page) => isIt(page.stars)).length / count;
}

/** Four standard deviations of a share around `p` over `count` draws: a right implementation fails once in 16,000 runs. */
function bounds(p: number, count: number): readonly [number, number] {
  const spread = 4 * Math.sqrt((p * (1 - p)) / count);
  return [p - spread, p + spread];
}

describe('bookinfo-gateway and destination-rule-all, as `npm start` leaves them', () => {
  it('shows no stars, black stars and red stars within ten reloads', async () => {
    covered.add('bookinfo-gateway').add('destination-rule-all');
    const pages = await visitor().pages(10);
    expect(new Set(pages.map((page) => page.stars))).toEqual(new Set(['none', 'black', 'red']));
    expect(new Set(pages.map((page) => page.servedBy))).toEqual(new Set(['reviews-v1', 'reviews-v2', 'reviews-v3']));
  });

  it.each([
    ['/static/', undefined],
    ['/api/v1/products', '[{"id":0'],
    ['/api/v1/products/0', 'William Shakespeare'],
    ['/api/v1/products/0/reviews', 'Reviewer1'],
    ['/api/v1/products/0/ratings', '"Reviewer2":4'],
  ])('routes %s to productpage', async (path, text) => {
    const answer = await fetchText(mesh.gatewayUrl + path);
    if (text !== undefined) expect(answer).toMatchObject({ status: 200, body: expect.stringContaining(text) });
    // productpage's own 404 and not the gateway's, which has no body
    else expect(answer.body).not.toBe('');
  });

  it('answers 404 by itself for a path that no route has', async () => {
    const answer = await fetchText(`${mesh.gatewayUrl}/nothing/here`);
    expect(answer).toMatchObject({ status: 404, body: '' });
  });

  it('logs a visitor in and out', async () => {
    const jason = await visitor().login('jason');
    expect((await jason.page()).body).toContain('jason');
    const out = await fetchText(`${mesh.gatewayUrl}/logout`);
    expect(out.status).toBe(302);
  });
});

describe('destination rules', () => {
  it('destination-rule-all-mtls keeps every hop on Istio mTLS', async () => {
    await given('destination-rule-all-mtls');
    const pages = await visitor().pages(6);
    expect(pages.every((page) => page.status === 200 && !page.hasDetailsError && page.servedBy !== '')).toBe(true);
    await mesh.applyFile(networkingFile('destination-rule-all'));
    applied.length = 0;
  });

  it('destination-rule-reviews balances at random over all versions', async () => {
    await given('destination-rule-reviews');
    const clusters = await mesh.mizzen('proxy-config', 'clusters', 'productpage-v1', '-o', 'json');
    expect(clusters).toContain('RANDOM');
    const pages = await visitor().pages(40);
    expect(new Set(pages.map((page) => page.stars))).toEqual(new Set(['none', 'black', 'red']));
    await mesh.applyFile(networkingFile('destination-rule-all'));
    applied.length = 0;
  });
});

describe('requests by version', () => {
  it('virtual-service-all-v1 shows no stars', async () => {
    await given('virtual-service-all-v1');
    expect(await share(10, (stars) => stars === 'none')).toBe(1);
  });

  it('virtual-service-reviews-test-v2 shows jason black stars and everybody else none', async () => {
    await given('virtual-service-all-v1', 'virtual-service-reviews-test-v2');
    const jason = await visitor().login('jason');
    expect((await jason.pages(5)).map((page) => page.stars)).toEqual(Array(5).fill('black'));
    expect(await share(5, (stars) => stars === 'none')).toBe(1);
  });

  it('virtual-service-reviews-jason-v2-v3 shows jason black stars and everybody else red ones', async () => {
    await given('virtual-service-reviews-jason-v2-v3');
    const jason = await visitor().login('jason');
    expect((await jason.pages(5)).map((page) => page.stars)).toEqual(Array(5).fill('black'));
    expect(await share(5, (stars) => stars === 'red')).toBe(1);
  });

  it('virtual-service-reviews-v3 shows red stars only', async () => {
    await given('virtual-service-reviews-v3');
    expect(await share(10, (stars) => stars === 'red')).toBe(1);
  });

  it.each([
    ['virtual-service-reviews-50-v3', 'red', 0.5, 'none'],
    ['virtual-service-reviews-80-20', 'black', 0.2, 'none'],
    ['virtual-service-reviews-90-10', 'black', 0.1, 'none'],
    ['virtual-service-reviews-v2-v3', 'red', 0.5, 'black'],
  ])(
    '%s shows %s stars at a share of %d, else %s',
    async (name, stars, expected, otherwise) => {
      await given(name);
      const count = 200;
      const pages = await visitor().pages(count);
      const [least, most] = bounds(expected, count);
      const actual = pages.filter((page) => page.stars === stars).length / count;
      expect(actual).toBeGreaterThanOrEqual(least);
      expect(actual).toBeLessThanOrEqual(most);
      expect(pages.filter((page) => page.stars !== stars && page.stars !== otherwise)).toEqual([]);
    },
    90_000,
  );
});

describe('faults', () => {
  it('virtual-service-ratings-test-delay makes only jason wait, until productpage gives reviews up', async () => {
    await given('virtual-service-all-v1', 'virtual-service-reviews-test-v2', 'virtual-service-ratings-test-delay');
    const jason = await visitor().login('jason');
    const startMs = performance.now();
    const page = await jason.page();
    const tookMs = performance.now() - startMs;
    // Two tries of three seconds each, both shorter than the seven seconds that ratings takes.
    expect(page.stars).toBe('reviews error');
    expect(tookMs).toBeGreaterThan(5900);
    expect(tookMs).toBeLessThan(9000);
    const otherStartMs = performance.now();
    expect((await visitor().page()).stars).toBe('none');
    expect(performance.now() - otherStartMs).toBeLessThan(2500);
  }, 60_000);

  it('virtual-service-ratings-test-abort shows only jason that ratings are away', async () => {
    await given('virtual-service-all-v1', 'virtual-service-reviews-test-v2', 'virtual-service-ratings-test-abort');
    const jason = await visitor().login('jason');
    expect(await jason.page()).toMatchObject({ status: 200, stars: 'ratings error' });
    expect((await visitor().page()).stars).toBe('none');
    await until('the access log names the fault', async () =>
      / 500 FI fault_filter_abort /.test(mesh.log('reviews-v2-sidecar')) ? true : undefined,
    );
  });

  it('fault-injection-details-v1 answers for details with 555', async () => {
    await given('fault-injection-details-v1');
    expect(await visitor().page()).toMatchObject({ status: 200, hasDetailsError: true });
    expect((await fetchText(`${mesh.gatewayUrl}/api/v1/products/0`)).status).toBe(555);
  });
});

describe('other stores and other services', () => {
  const ratingsProgram = [process.execPath, `${workspace}/apps/bookinfo/ratings/src/main.ts`];

  it('virtual-service-ratings-db reads the stars from the embedded database of ratings v2', async () => {
    const ratings = await mesh.run(
      ['--service', 'ratings', '--version', 'v2', '--port', '9080', '--service-account', 'bookinfo-ratings', '--', ...ratingsProgram],
      {
        SERVICE_VERSION: 'v2',
      },
    );
    await given('virtual-service-ratings-db');
    expect(await share(3, (stars) => stars === 'red')).toBe(1);
    expect(await fetchText(`${mesh.gatewayUrl}/api/v1/products/0/ratings`)).toMatchObject({
      status: 200,
      body: expect.stringContaining('"Reviewer1":5'),
    });
    await mesh.end(ratings);
  }, 60_000);

  it.each(['mysql', 'mysql-vm'])(
    'virtual-service-ratings-%s reads the stars over TCP through both sidecars',
    async (variant) => {
      await using peer = await startMysqlPeer((connection) => connection.writeTextResult([{ Rating: 4 }, { Rating: 2 }], [RATING_COLUMN]));
      const egressPort = await freePort();
      const version = `v2-${variant}`;
      const database = await mesh.run([
        '--service',
        'mysqldb',
        '--version',
        'v1',
        '--port',
        '3306',
        '--app-port',
        String(peer.port),
        '--protocol',
        'TCP',
        '--',
        process.execPath,
        '-e',
        'setInterval(() => {}, 1e6)',
      ]);
      await mesh.apply(egressToDatabase(version, egressPort));
      const ratings = await mesh.run(
        ['--service', 'ratings', '--version', version, '--port', '9080', '--service-account', 'bookinfo-ratings', '--', ...ratingsProgram],
        {
          SERVICE_VERSION: version,
          DB_TYPE: 'mysql',
          MYSQL_DB_HOST: '127.0.0.1',
          MYSQL_DB_PORT: String(egressPort),
          MYSQL_DB_USER: 'root',
          MYSQL_DB_PASSWORD: 'password',
        },
      );
      await given(`virtual-service-ratings-${variant}`);
      expect(await share(3, (stars) => stars === 'red')).toBe(1);
      expect(await fetchText(`${mesh.gatewayUrl}/api/v1/products/0/ratings`)).toMatchObject({
        status: 200,
        body: expect.stringMatching(/"Reviewer1":4.*"Reviewer2":2/),
      });
      expect(peer.queries).not.toEqual([]);
      await mesh.end(ratings);
      await mesh.end(database);
      await mesh.mizzen('delete', 'sidecar', `ratings-${version}`);
    },
    90_000,
  );

  it('virtual-service-details-v2 and egress-rule-google-apis take book details from outside over TLS that the sidecar makes', async () => {
    await using books = await startBookApi('www.googleapis.com');
    const details = await mesh.run(
      [
        '--service',
        'details',
        '--version',
        'v2',
        '--port',
        '9080',
        '--service-account',
        'bookinfo-details',
        '--',
        process.execPath,
        `${workspace}/apps/bookinfo/details/src/main.ts`,
      ],
      { SERVICE_VERSION: 'v2', ENABLE_EXTERNAL_BOOK_SERVICE: 'true', DO_NOT_ENCRYPT: 'true' },
    );
    await given('virtual-service-details-v2', 'egress-rule-google-apis');
    // No machine of the tests reaches the internet: the same file with the address and the authority of a book service on this machine.
    await mesh.apply(withLocalBookApi(readFileSync(networkingFile('egress-rule-google-apis'), 'utf8'), books));
    const answer = await fetchText(`${mesh.gatewayUrl}/api/v1/products/0`);
    expect(answer).toMatchObject({ status: 200, body: expect.stringContaining(books.publisher) });
    expect(books.requests).toEqual([expect.objectContaining({ host: 'www.googleapis.com', serverName: 'www.googleapis.com' })]);
    await mesh.end(details);
  }, 60_000);

  it('certmanager-gateway leads ACME challenges, and nothing else, to the solver', async () => {
    const solver = await mesh.run([
      '--service',
      'cert-manager-resolver',
      '--version',
      'v1',
      '--namespace',
      'istio-system',
      '--port',
      '8089',
      '--',
      process.execPath,
      '-e',
      'require("node:http").createServer((q, s) => s.end("solved " + q.url)).listen(process.env.PORT)',
    ]);
    await given('certmanager-gateway');
    expect(await fetchText(`${mesh.gatewayUrl}/.well-known/acme-challenge/token`)).toMatchObject({
      status: 200,
      body: 'solved /.well-known/acme-challenge/token',
    });
    expect((await fetchText(`${mesh.gatewayUrl}/.well-known/other`)).status).toBe(404);
    expect((await visitor().page()).status).toBe(200);
    await mesh.end(solver);
  }, 60_000);
});

describe('the folder', () => {
  it('has a scenario here for each of its files', () => {
    const files = readdirSync(networkingFolder).map((file) => file.replace('.yaml', ''));
    expect([...covered].sort()).toEqual(files.sort());
  });
});

function egressToDatabase(version: string, port: number): string {
  return `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: ratings-${version}, namespace: default }
spec:
  workloadSelector: { labels: { app: ratings, version: ${version} } }
  egress:
    - port: { number: ${port}, name: tcp-mysql, protocol: TCP }
      bind: 127.0.0.1
      captureMode: NONE
      hosts: ["./mysqldb.default.svc.cluster.local"]
`;
}

function withLocalBookApi(yaml: string, books: { httpsPort: number; caFile: string }): string {
  return yaml
    .replace(
      '  resolution: DNS\n',
      `  resolution: DNS\n  endpoints:\n    - address: 127.0.0.1\n      ports: { https: ${books.httpsPort}, http: ${books.httpsPort} }\n`,
    )
    .replace('mode: SIMPLE\n', `mode: SIMPLE\n          caCertificates: ${books.caFile}\n`);
}
