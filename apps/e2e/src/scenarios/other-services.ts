import { readFileSync } from 'node:fs';
import { expect } from '@jest/globals';
import { fetchText } from '../bookinfo.ts';
import type { MeshProgram, RunningMeshProgram, RunningProgram } from '../homes/home.ts';
import { PUBLISHER } from '../peers/book-api.ts';
import { until } from '../until.ts';
import { networkingFile } from '../workspace.ts';
import type { Scenario } from './scenario.ts';

const BOOK_CA = 'books-ca.pem';

/** Programs that join a running mesh, and one outside of it. */
export const OTHER_SERVICE_SCENARIOS: readonly Scenario[] = [
  {
    title: 'virtual-service-ratings-db reads the stars from the embedded database of ratings v2',
    async run(stage) {
      await using _ratings = await stage.home.startProgram(ratings({ sample: 'ratings', version: 'v2' }, 'v2'));
      await stage.given('virtual-service-ratings-db');
      expect(await stage.share(3, (stars) => stars === 'red')).toBe(1);
      expect(await fetchText(`${stage.home.gatewayUrl}/api/v1/products/0/ratings`)).toMatchObject({
        status: 200,
        body: expect.stringContaining('"Reviewer1":5'),
      });
      await stage.strike();
    },
    timeoutMs: 120_000,
  },
  ...['mysql', 'mysql-vm'].map(mysqlScenario),
  {
    title: 'virtual-service-details-v2 and egress-rule-google-apis take book details from outside over TLS that the sidecar makes',
    async run(stage) {
      const { home } = stage;
      await using books = await home.startOutside({ peer: 'books' });
      const ca = await until(
        'the book service names its authority',
        async () => events(await books.output(), 'ca')[0] as string | undefined,
      );
      await using _details = await home.startProgram({
        runs: { sample: 'details', version: 'v2' },
        service: 'details',
        version: 'v2',
        port: 9080,
        serviceAccount: 'bookinfo-details',
        env: { DO_NOT_ENCRYPT: 'true' },
        sidecarFiles: { [BOOK_CA]: ca },
      });
      await stage.given('virtual-service-details-v2', 'egress-rule-google-apis');
      // No machine of the tests reaches the internet: the same file with the address and the authority of a book service of the tests.
      const outside = { address: books.address, port: books.port, caFile: home.sidecarFilePath(BOOK_CA) };
      await home.apply(withOwnBookApi(readFileSync(networkingFile('egress-rule-google-apis'), 'utf8'), outside));
      const answer = await fetchText(`${home.gatewayUrl}/api/v1/products/0`);
      expect(answer).toMatchObject({ status: 200, body: expect.stringContaining(PUBLISHER) });
      const requests = await untilTold(books, 'request');
      expect(requests).toEqual([expect.objectContaining({ host: 'www.googleapis.com', serverName: 'www.googleapis.com' })]);
      await stage.strike();
    },
    timeoutMs: 120_000,
  },
  {
    title: 'certmanager-gateway leads ACME challenges, and nothing else, to the solver',
    async run(stage) {
      const { home } = stage;
      await using _solver = await home.startProgram({
        runs: { peer: 'acme-solver' },
        service: 'cert-manager-resolver',
        version: 'v1',
        namespace: 'istio-system',
        port: 8089,
        serviceAccount: 'cert-manager-resolver',
      });
      await stage.given('certmanager-gateway');
      expect(await fetchText(`${home.gatewayUrl}/.well-known/acme-challenge/token`)).toMatchObject({
        status: 200,
        body: 'solved /.well-known/acme-challenge/token',
      });
      expect((await fetchText(`${home.gatewayUrl}/.well-known/other`)).status).toBe(404);
      expect((await stage.visitor().page()).status).toBe(200);
      await stage.strike();
    },
    timeoutMs: 120_000,
  },
];

function mysqlScenario(variant: string): Scenario {
  const version = `v2-${variant}`;
  return {
    title: `virtual-service-ratings-${variant} reads the stars over TCP through both sidecars`,
    timeoutMs: 120_000,
    async run(stage) {
      const { home } = stage;
      await using database = await home.startProgram({
        runs: { peer: 'mysql' },
        service: 'mysqldb',
        version: 'v1',
        port: 3306,
        protocol: 'TCP',
        serviceAccount: 'bookinfo-mysqldb',
      });
      await using target = await home.tcpTarget({ service: 'mysqldb', port: 3306, from: { app: 'ratings', version } });
      const env = {
        SERVICE_VERSION: version,
        DB_TYPE: 'mysql',
        MYSQL_DB_HOST: target.host,
        MYSQL_DB_PORT: String(target.port),
        MYSQL_DB_USER: 'root',
        MYSQL_DB_PASSWORD: 'password',
      };
      await using client = await home.startProgram({ ...ratings({ sample: 'ratings', version: 'v2' }, version), env });
      await stage.given(`virtual-service-ratings-${variant}`);
      expect(await stage.share(3, (stars) => stars === 'red')).toBe(1);
      expect(await fetchText(`${home.gatewayUrl}/api/v1/products/0/ratings`)).toMatchObject({
        status: 200,
        body: expect.stringMatching(/"Reviewer1":4.*"Reviewer2":2/),
      });
      expect(await untilTold(database, 'query')).not.toEqual([]);
      // Each sidecar knows whom it talks to, by what the other one told at the start of the connection.
      expect(await opened(database)).toContain(`source_workload="ratings-${version}"`);
      expect(await opened(client)).toContain('destination_workload="mysqldb-v1"');
      await stage.strike();
    },
  };
}

/** The TCP connections that a program's sidecar counted. */
async function opened(program: RunningMeshProgram): Promise<string> {
  const lines = (await program.sidecarMetrics()).split('\n');
  return lines.filter((line) => line.startsWith('istio_tcp_connections_opened_total{')).join('\n');
}

function ratings(runs: MeshProgram['runs'], version: string): MeshProgram {
  return { runs, service: 'ratings', version, port: 9080, serviceAccount: 'bookinfo-ratings' };
}

/** What a peer has told under `key`, once it has told anything. */
function untilTold(program: RunningProgram, key: string): Promise<readonly unknown[]> {
  return until(`the peer tells of a ${key}`, async () => {
    const told = events(await program.output(), key);
    return told.length > 0 ? told : undefined;
  });
}

/** The values under `key` in the JSON lines that a peer prints. */
function events(output: string, key: string): readonly unknown[] {
  return output
    .split('\n')
    .filter((line) => line.startsWith(`{"${key}":`))
    .map((line) => (JSON.parse(line) as Readonly<Record<string, unknown>>)[key]);
}

function withOwnBookApi(yaml: string, books: { address: string; port: number; caFile: string }): string {
  return yaml
    .replace(
      '  resolution: DNS\n',
      `  resolution: DNS\n  endpoints:\n    - address: ${books.address}\n      ports: { https: ${books.port}, http: ${books.port} }\n`,
    )
    .replace('mode: SIMPLE\n', `mode: SIMPLE\n          caCertificates: ${books.caFile}\n`);
}
