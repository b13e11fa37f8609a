import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, it } from '@jest/globals';
import { expectCall } from './testing/simulation.ts';
import { readCase, type TranslationCase } from './testing/translation-case.ts';

const SAMPLES = fileURLToPath(new URL('../../../deploy/samples/bookinfo/', import.meta.url));

const HEADER = `
nodes:
  productpage: { metadata: { HTTP_PROXY_PORT: "34567" } }
  reviews: { metadata: { HTTP_PROXY_PORT: "34568" } }
  details: { metadata: { HTTP_PROXY_PORT: "34569" } }
  gateway: { type: router, namespace: istio-system, labels: { istio: ingressgateway }, metadata: { PORT_MAP: { "80": 8081 } } }
`;

function read(folder: string, file: string) {
  return { file, text: readFileSync(join(SAMPLES, folder, file), 'utf8') };
}

/** Bookinfo with all subsets and these samples. */
function bookinfo(...samples: string[]): TranslationCase {
  const services = readdirSync(join(SAMPLES, 'services')).map((file) => read('services', file));
  return readCase(HEADER, 'bookinfo', [
    ...services,
    ...['destination-rule-all', ...samples].map((sample) => read('networking', `${sample}.yaml`)),
  ]);
}

const at = (service: string, subset = '') => ({ host: `${service}.default.svc.cluster.local`, subset });
const toReviews = { from: 'productpage', host: 'reviews:9080', path: '/reviews/0' };
const toRatings = { from: 'reviews', host: 'ratings:9080', path: '/ratings/0' };
const jason = { headers: { 'end-user': 'jason' } };

describe('bookinfo-gateway', () => {
  const mesh = bookinfo('bookinfo-gateway');

  it.each(['/productpage', '/static/bookinfo.css', '/login', '/logout', '/api/v1/products/0'])('lets %s in', (path) => {
    expectCall(mesh, { from: 'gateway', routes: 'http.8080', host: 'localhost:8080', path }).toReach(at('productpage'));
  });

  it.each(['/', '/productpage/x', '/health'])('has no route for %s', (path) => {
    expectCall(mesh, { from: 'gateway', routes: 'http.8080', host: 'localhost:8080', path }).toHaveNoRoute();
  });
});

describe('reviews', () => {
  it('all go to v1 with virtual-service-all-v1', () => {
    expectCall(bookinfo('virtual-service-all-v1'), toReviews).toReach(at('reviews', 'v1'));
    expectCall(bookinfo('virtual-service-all-v1'), toRatings).toReach(at('ratings', 'v1'));
  });

  it('go to v2 for jason only with virtual-service-reviews-test-v2', () => {
    const mesh = bookinfo('virtual-service-reviews-test-v2');
    expectCall(mesh, { ...toReviews, ...jason }).toReach(at('reviews', 'v2'));
    expectCall(mesh, toReviews).toReach(at('reviews', 'v1'));
  });

  it('go to v2 for jason and to v3 for everybody else with virtual-service-reviews-jason-v2-v3', () => {
    const mesh = bookinfo('virtual-service-reviews-jason-v2-v3');
    expectCall(mesh, { ...toReviews, ...jason }).toReach(at('reviews', 'v2'));
    expectCall(mesh, toReviews).toReach(at('reviews', 'v3'));
  });

  it.each([
    ['virtual-service-reviews-50-v3', 0.5, 'v1', 'v3'],
    ['virtual-service-reviews-80-20', 0.8, 'v1', 'v2'],
    ['virtual-service-reviews-90-10', 0.9, 'v1', 'v2'],
    ['virtual-service-reviews-v2-v3', 0.5, 'v2', 'v3'],
    ['virtual-service-reviews-v3', 1, 'v3', 'v3'],
  ])('are divided by %s at %d', (sample, share, first, second) => {
    const mesh = bookinfo(sample);
    expectCall(mesh, { ...toReviews, random: share - 0.01 }).toReach(at('reviews', first));
    expectCall(mesh, { ...toReviews, random: Math.min(share + 0.01, 0.999) }).toReach(at('reviews', second));
  });
});

describe('ratings', () => {
  it('are delayed by 7 s for jason only', () => {
    const mesh = bookinfo('virtual-service-ratings-test-delay');
    expectCall(mesh, { ...toRatings, ...jason }).toSufferFault({ delayMs: 7000, delayRatio: 1 });
    expectCall(mesh, toRatings).toSufferFault(undefined);
  });

  it('fail with 500 for jason only', () => {
    const mesh = bookinfo('virtual-service-ratings-test-abort');
    expectCall(mesh, { ...toRatings, ...jason }).toSufferFault({ status: 500, abortRatio: 1 });
    expectCall(mesh, toRatings).toSufferFault(undefined);
  });

  it.each([
    ['virtual-service-ratings-db', 'v2'],
    ['virtual-service-ratings-mysql', 'v2-mysql'],
    ['virtual-service-ratings-mysql-vm', 'v2-mysql-vm'],
  ])('come from the database with %s', (sample, subset) => {
    expectCall(bookinfo(sample), toRatings).toReach(at('ratings', subset));
    expectCall(bookinfo(sample), toReviews).toReach(at('reviews', 'v3'));
  });
});

describe('details', () => {
  const toDetails = { from: 'productpage', host: 'details:9080', path: '/details/0' };

  it('fail with 555 for everybody with fault-injection-details-v1', () => {
    expectCall(bookinfo('fault-injection-details-v1'), toDetails).toSufferFault({ status: 555, abortRatio: 1 });
  });

  it('v2 calls Google Books by TLS that its proxy makes', () => {
    const mesh = bookinfo('virtual-service-details-v2', 'egress-rule-google-apis');
    expectCall(mesh, toDetails).toReach(at('details', 'v2'));
    expectCall(mesh, { from: 'details', host: 'www.googleapis.com', path: '/books' }).toReach({
      cluster: 'outbound|443||www.googleapis.com',
    });
    expectCall(mesh, { from: 'details', host: 'www.googleapis.com:443', method: 'CONNECT', path: '' }).toReach({
      cluster: 'outbound|443||www.googleapis.com',
    });
  });
});

describe('mysqldb', () => {
  it('is reached through a tunnel of the proxy', () => {
    expectCall(bookinfo(), { from: 'reviews', host: 'mysqldb:3306', method: 'CONNECT', path: '' }).toReach({
      cluster: 'outbound|3306||mysqldb.default.svc.cluster.local',
    });
  });
});

describe('certmanager-gateway', () => {
  it('leads challenges to the solver on the mapped port', () => {
    const call = { from: 'gateway', routes: 'http.8081', host: 'example.com', path: '/.well-known/acme-challenge/t' };
    expectCall(bookinfo('certmanager-gateway'), call).toReach({
      cluster: 'outbound|8089||cert-manager-resolver.istio-system.svc.cluster.local',
      missing: true,
    });
  });
});
