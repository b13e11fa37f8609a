// `npm run soak [-- --minutes 10]`: Bookinfo in a local mesh under load, while its configuration changes every second, certificates rotate
// and back ends die. One version of reviews is always there, so nothing but 2xx may be answered; and the proxies may not grow.
// Prints a line a minute and a summary; ends with 1 where something of it is not so.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startLoad } from './load.ts';
import { LocalMesh } from './local-mesh.ts';

const CERTIFICATE_TTL = '60s';
const CHANGE_EVERY_MS = 1000;
const KILL_EVERY_MS = 5000;
const DOWN_MS = 2000;
/** Resident sizes are compared with that of this part of the run: by then caches and pools are full. */
const SETTLED_PART = 0.3;
const MAX_GROWTH = 1.1;
const MIN_REQUESTS_PER_MINUTE = 10_000;
const KIB = 1024;

/** In turn; `reviews-v1` is never touched. */
const VICTIMS = ['reviews-v2', 'reviews-v3-sidecar', 'reviews-v3', 'reviews-v2-sidecar'];
const PROXIES = ['ingress-gateway', 'productpage-v1-sidecar', 'reviews-v1-sidecar', 'details-v1-sidecar', 'ratings-v1-sidecar'];

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' } } });
const minutes = Number(values.minutes);
if (!(minutes > 0)) {
  say('--minutes must be a number above 0');
  process.exit(64);
}

await using mesh = await LocalMesh.start({ env: { MIZZEN_WORKLOAD_TTL: CERTIFICATE_TTL } });
mesh.writeConfig('soak.yaml', configuration(0));
await mesh.settled();

const base = mesh.gatewayUrl;
const reviews = startLoad(`${base}/api/v1/products/0/reviews`, { concurrency: 6 });
const pages = startLoad(`${base}/productpage`, { concurrency: 2, isGood: (body) => !body.includes('Error fetching') });
const stopping = new AbortController();
const changes = every(CHANGE_EVERY_MS, async (count) => mesh.writeConfig('soak.yaml', configuration(count)));
const deaths = every(KILL_EVERY_MS, async (count) => {
  const victim = VICTIMS[count % VICTIMS.length] as string;
  await mesh.mizzen('kill', victim);
  await sleep(DOWN_MS);
  await mesh.mizzen('start', victim);
});

const settled = await residentAfter(minutes * SETTLED_PART);
const last = await residentAfter(minutes * (1 - SETTLED_PART));
stopping.abort();
const [changed, killed] = await Promise.all([changes, deaths]);
const reports = await Promise.all([reviews.stop(), pages.stop()]);

const sent = reports.reduce((sum, report) => sum + report.sent, 0);
const failures = reports.flatMap((report) => report.failures);
say(`${sent} requests, ${failures.length} failed; ${changed} changes, ${killed} deaths`);
for (const failure of new Set(failures)) say(`  ${failures.filter((other) => other === failure).length} times: ${failure}`);
let isGood = failures.length === 0;
for (const name of PROXIES) {
  const ratio = (last.get(name) ?? 0) / (settled.get(name) ?? 1);
  say(`${name}: ${mebibytes(settled.get(name))} MiB, at the end ${mebibytes(last.get(name))} MiB: ${ratio.toFixed(2)}`);
  isGood &&= ratio <= MAX_GROWTH;
}
if (sent < MIN_REQUESTS_PER_MINUTE * minutes) {
  say(`too few requests: ${MIN_REQUESTS_PER_MINUTE * minutes} would have been enough`);
  isGood = false;
}
say(isGood ? 'good' : 'not good');
process.exitCode = isGood ? 0 : 1;

/** Repeats what is to be done until the soak is over; answers how often it was. */
async function every(ms: number, act: (count: number) => Promise<void>): Promise<number> {
  let count = 0;
  while (!stopping.signal.aborted) {
    await act(count++);
    await sleep(ms, undefined, { signal: stopping.signal }).catch(() => undefined);
  }
  return count;
}

/** Waits, a line for each minute, then reads the resident sizes. */
async function residentAfter(waitMinutes: number): Promise<ReadonlyMap<string, number>> {
  for (let left = waitMinutes; left > 0; left--) {
    await sleep(Math.min(left, 1) * 60_000);
    say(`${PROXIES.map((name) => `${name} ${mebibytes(resident(name))}`).join(', ')} MiB`);
  }
  return new Map(PROXIES.map((name) => [name, resident(name)]));
}

function resident(name: string): number {
  const status = readFileSync(`/proc/${mesh.process(name).pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * KIB;
}

function mebibytes(bytes: number | undefined): string {
  return String(Math.round((bytes ?? 0) / KIB ** 2));
}

/** Weights, headers, limits and retries that are others each time, all of them valid. */
function configuration(count: number): string {
  const toV1 = 20 + (count % 5) * 10;
  const toV2 = Math.floor((100 - toV1) / 2);
  return `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: soak-reviews}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: {simple: ${['LEAST_REQUEST', 'ROUND_ROBIN', 'RANDOM'][count % 3]}}
    connectionPool: {http: {maxRequestsPerConnection: ${count % 4 === 0 ? 50 : 0}}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}, {name: v3, labels: {version: v3}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: soak-reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {x-soak-${count % 10}: {exact: never}}}]
    fault: {abort: {percentage: {value: 100}, httpStatus: 500}}
    route: [{destination: {host: reviews, subset: v1}}]
  - headers: {response: {set: {x-soak: "${count}"}}}
    retries: {attempts: 5, perTryTimeout: 5s, retryOn: "5xx,reset,connect-failure,refused-stream"}
    timeout: 30s
    route:
    - {destination: {host: reviews}, weight: ${toV1}}
    - {destination: {host: reviews, subset: v1}, weight: ${100 - toV1 - toV2}}
    - {destination: {host: reviews, subset: v1}, weight: ${toV2}}
`;
}

function say(line: string): void {
  process.stderr.write(`soak: ${line}\n`);
}
