import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { createProductpage, type ProductpageOptions } from './productpage.ts';
import { readProductpageOptions } from './settings.ts';

const logger = pino({ level: 'silent' });
const DETAILS = {
  id: 0,
  author: 'William Shakespeare',
  year: 1595,
  type: 'paperback',
  pages: 200,
  publisher: 'PublisherA',
  'ISBN-10': '1234567890',
};
const RATINGS = { id: 0, ratings: { Reviewer1: 5, Reviewer2: 4 } };
const TEXTS = ['An extremely entertaining play.', 'Absolutely fun.'];

/** A service behind the page: it records who asked, and answers as the test says. */
class FakeUpstream {
  readonly asked: { url: string; headers: IncomingHttpHeaders }[] = [];
  connections = 0;
  listener: RequestListener;
  readonly #server: Server;

  constructor(answer: unknown) {
    this.listener = (_request, response) => response.end(JSON.stringify(answer));
    this.#server = createServer((request, response) => {
      this.asked.push({ url: request.url ?? '', headers: request.headers });
      this.listener(request, response);
    }).on('connection', () => {
      this.connections += 1;
    });
  }

  async start(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

function reviewsAnswer(rating?: (index: number) => unknown, extra = {}): unknown {
  const reviews = TEXTS.map((text, index) => ({ reviewer: `Reviewer${index + 1}`, text, ...(rating && { rating: rating(index) }) }));
  return { id: '0', podname: 'reviews-v1-abc', clustername: 'null', reviews, ...extra };
}

const starred = (color: string): unknown => reviewsAnswer((index) => ({ stars: 5 - index, color }));
const fail: RequestListener = (_request, response) => response.writeHead(503).end('{}');
const count = (text: string, part: string): number => text.split(part).length - 1;

describe('the product page', () => {
  let upstreams: { details: FakeUpstream; reviews: FakeUpstream; ratings: FakeUpstream };
  let service: FastifyInstance;
  let url: string;

  beforeEach(async () => {
    upstreams = { details: new FakeUpstream(DETAILS), reviews: new FakeUpstream(reviewsAnswer()), ratings: new FakeUpstream(RATINGS) };
    await start();
  });

  afterEach(async () => {
    await service.close();
    for (const upstream of Object.values(upstreams)) upstream.close();
  });

  async function start(options: Partial<ProductpageOptions> = {}): Promise<void> {
    const [details, reviews, ratings] = await Promise.all(Object.values(upstreams).map((upstream) => upstream.start()));
    service = createProductpage({
      logger,
      origins: { details: details as string, reviews: reviews as string, ratings: ratings as string },
      timeoutMs: 5_000,
      floodFactor: 0,
      sessionSecret: 'of-this-spec',
      ...options,
    });
    url = await service.listen({ port: 0, host: '127.0.0.1' });
  }

  async function restart(options: Partial<ProductpageOptions>): Promise<void> {
    await service.close();
    for (const upstream of Object.values(upstreams)) upstream.close();
    await start(options);
  }

  async function page(headers: Record<string, string> = {}): Promise<string> {
    const response = await fetch(`${url}/productpage`, { headers });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    return response.text();
  }

  function answerReviews(answer: unknown): void {
    upstreams.reviews.listener = (_request, response) => response.end(JSON.stringify(answer));
  }

  it('shows the book, its details and its reviews, and who served them', async () => {
    const text = await page();
    expect(text).toContain('The Comedy of Errors</h1>');
    expect(text).toContain('<dt>Publisher</dt><dd>PublisherA</dd>');
    for (const review of TEXTS) expect(text).toContain(review);
    expect(text).toContain('Reviews served by: <strong id="reviews-podname">reviews-v1-abc</strong></p>');
    expect(text).not.toContain('class="stars');
    expect(text).not.toContain('Error fetching');
  });

  it.each(['black', 'red'])('shows %s stars, as many filled as the reviewer gave', async (color) => {
    answerReviews(starred(color));
    const text = await page();
    expect(count(text, `class="stars text-${color}-500"`)).toBe(2);
    expect(count(text, '<svg')).toBe(10);
    expect(count(text, 'text-gray-300')).toBe(1);
    expect(text).toContain('aria-label="4 of 5 stars"');
  });

  it('names the cluster when it has a name', async () => {
    answerReviews(reviewsAnswer(undefined, { clustername: 'east' }));
    expect(await page()).toContain('in cluster <strong id="reviews-clustername">east</strong>');
  });

  it('says in place of the stars what reviews says about ratings', async () => {
    answerReviews(reviewsAnswer(() => ({ error: 'Ratings service is currently unavailable' })));
    expect(count(await page(), 'Ratings service is currently unavailable')).toBe(2);
  });

  it.each(['details', 'reviews'] as const)('stays when %s fail, and says so', async (part) => {
    upstreams[part].listener = fail;
    const text = await page();
    expect(text).toContain(`Error fetching product ${part}`);
    expect(text).toContain(`Sorry, product ${part} are currently unavailable for this book.`);
    expect(count(text, 'Error fetching')).toBe(1);
  });

  it.each<{ name: string; listener: RequestListener }>([
    { name: 'no JSON', listener: (_request, response) => response.end('<html>') },
    { name: 'null', listener: (_request, response) => response.end('null') },
    { name: 'something else', listener: (_request, response) => response.end('{"reviews":7}') },
    { name: 'nothing', listener: (request) => request.socket.destroy() },
  ])('takes reviews that answer $name for unavailable', async ({ listener }) => {
    upstreams.reviews.listener = listener;
    expect(await page()).toContain('Error fetching product reviews');
  });

  it('escapes whatever the services say', async () => {
    const evil = '<img src=x onerror=alert(1)>';
    answerReviews({ podname: evil, reviews: [{ reviewer: evil, text: evil, rating: { stars: 1, color: '"><script>' } }] });
    upstreams.details.listener = (_request, response) => response.end(JSON.stringify({ publisher: evil }));
    const text = await page();
    expect(text).not.toContain('<img src=x');
    expect(text).not.toContain('<script');
    expect(count(text, '&#60;img src=x onerror=alert(1)&#62;')).toBe(4);
  });

  it('asks reviews twice, and details once, before it gives up', async () => {
    upstreams.reviews.listener = fail;
    upstreams.details.listener = fail;
    await page();
    expect([upstreams.details.asked.length, upstreams.reviews.asked.length]).toEqual([1, 2]);
  });

  it('gives each call its time: late reviews take two of them', async () => {
    await restart({ timeoutMs: 500 });
    upstreams.reviews.listener = () => undefined;
    const startedAt = performance.now();
    expect(await page()).toContain('Error fetching product reviews');
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(990);
    expect(upstreams.reviews.asked).toHaveLength(2);
  });

  it('shows the reviews when the second try succeeds', async () => {
    upstreams.reviews.listener = (request, response) => {
      if (upstreams.reviews.asked.length === 1) request.socket.destroy();
      else response.end(JSON.stringify(reviewsAnswer()));
    };
    expect(await page()).toContain(TEXTS[0]);
  });

  it('makes a connection of its own for every call', async () => {
    await page();
    await page();
    expect([upstreams.details.connections, upstreams.reviews.connections]).toEqual([2, 2]);
  });

  it('floods reviews when told to', async () => {
    await restart({ floodFactor: 20 });
    expect(await page()).toContain(TEXTS[0]);
    expect(upstreams.reviews.asked).toHaveLength(21);
  });

  it('passes on the trace and the session, and nothing else', async () => {
    const headers = {
      'x-request-id': 'r1',
      'x-ot-span-context': 'ot',
      'x-datadog-trace-id': 'd1',
      'x-datadog-parent-id': 'd2',
      'x-datadog-sampling-priority': '1',
      traceparent: '00-1-2-01',
      tracestate: 'a=b',
      'x-cloud-trace-context': 'c',
      'grpc-trace-bin': 'g',
      'x-b3-traceid': 't1',
      'x-b3-spanid': 's1',
      'x-b3-parentspanid': 'p1',
      'x-b3-sampled': '1',
      'x-b3-flags': '0',
      sw8: 'sw',
      'user-agent': 'spec',
      cookie: 'a=b',
      authorization: 'Bearer x',
      jwt: 'j',
    };
    await page({ ...headers, 'x-secret': 'no' });
    for (const upstream of [upstreams.details, upstreams.reviews]) {
      expect(upstream.asked[0]?.headers).toMatchObject(headers);
      expect(upstream.asked[0]?.headers['x-secret']).toBeUndefined();
    }
  });

  describe('when the reader signs in', () => {
    async function login(username: string, referer?: string): Promise<{ response: Response; cookie: string }> {
      const response = await fetch(`${url}/login`, {
        method: 'POST',
        body: new URLSearchParams({ username, passwd: 'anything' }),
        headers: referer ? { referer } : {},
        redirect: 'manual',
      });
      return { response, cookie: response.headers.getSetCookie()[0]?.split(';')[0] ?? '' };
    }

    it('leads back and remembers the name', async () => {
      const { response, cookie } = await login('jason', 'http://localhost:8080/productpage');
      expect([response.status, response.headers.get('location')]).toEqual([302, 'http://localhost:8080/productpage']);
      const text = await page({ cookie });
      expect(text).toContain('<span id="user-name">jason</span>');
      expect(text).not.toContain('id="login-button"');
    });

    it('tells the services who asks', async () => {
      const { cookie } = await login('jason');
      await page({ cookie, 'end-user': 'somebody-else' });
      expect(upstreams.reviews.asked[0]?.headers['end-user']).toBe('jason');
    });

    it('does not believe a header or a forged cookie', async () => {
      await page({ 'end-user': 'jason' });
      await page({ cookie: 'session=jason.forged' });
      expect(upstreams.reviews.asked.map(({ headers }) => headers['end-user'])).toEqual([undefined, undefined]);
    });

    it('copes with a name that no header can carry', async () => {
      const { cookie } = await login('Јasón <b>');
      expect(await page({ cookie })).toContain('Јasón &#60;b&#62;');
      expect(upstreams.reviews.asked[0]?.headers['end-user']).toBe(encodeURIComponent('Јasón <b>'));
    });

    it('forgets the name when the reader signs out', async () => {
      const { cookie } = await login('jason');
      const response = await fetch(`${url}/logout`, {
        headers: { cookie, referer: 'http://localhost:8080/productpage' },
        redirect: 'manual',
      });
      expect([response.status, response.headers.get('location')]).toEqual([302, 'http://localhost:8080/productpage']);
      expect(response.headers.getSetCookie()[0]).toMatch(/^session=;.*Expires=Thu, 01 Jan 1970/);
    });

    it('leads to the page when it does not know where the reader came from', async () => {
      expect((await login('jason')).response.headers.get('location')).toBe('/productpage');
    });

    it('takes an empty name for nobody', async () => {
      const { cookie } = await login(' ');
      expect(await page({ cookie })).toContain('id="login-button"');
    });
  });

  describe('the API', () => {
    const get = async (path: string): Promise<[number, unknown]> => {
      const response = await fetch(url + path);
      expect(response.headers.get('content-type')).toContain('application/json');
      return [response.status, await response.json()];
    };

    it('lists the products', async () => {
      const description = expect.stringContaining('Wikipedia Summary');
      expect(await get('/api/v1/products')).toEqual([200, [{ id: 0, title: 'The Comedy of Errors', descriptionHtml: description }]]);
    });

    it('passes on what the services answer', async () => {
      expect(await get('/api/v1/products/0')).toEqual([200, DETAILS]);
      expect(await get('/api/v1/products/0/reviews')).toEqual([200, reviewsAnswer()]);
      expect(await get('/api/v1/products/0/ratings')).toEqual([200, RATINGS]);
      expect(upstreams.ratings.asked[0]?.url).toBe('/ratings/0');
    });

    it.each([
      { path: '/api/v1/products/0', name: 'details' },
      { path: '/api/v1/products/0/reviews', name: 'reviews' },
      { path: '/api/v1/products/0/ratings', name: 'ratings' },
    ] as const)('answers $path with the status of the failure', async ({ path, name }) => {
      upstreams[name].listener = fail;
      const error = `Sorry, product ${name} are currently unavailable for this book.`;
      expect(await get(path)).toEqual([503, { error }]);
      upstreams[name].close();
      expect(await get(path)).toEqual([500, { error }]);
    });

    it('does not let a product id reach other paths of the services', async () => {
      await get('/api/v1/products/..%2Fhealth%3Fa');
      expect(upstreams.details.asked[0]?.url).toBe('/details/..%2Fhealth%3Fa');
    });
  });

  it('counts how the calls ended', async () => {
    await page();
    upstreams.reviews.listener = fail;
    await page();
    const response = await fetch(`${url}/metrics`);
    expect(response.headers.get('content-type')).toContain('text/plain; version=0.0.4');
    expect((await response.text()).trimEnd().split('\n')).toEqual([
      '# HELP request_result_total Results of requests',
      '# TYPE request_result_total counter',
      'request_result_total{destination_app="details",response_code="200"} 2',
      'request_result_total{destination_app="reviews",response_code="200"} 1',
      'request_result_total{destination_app="reviews",response_code="503"} 1',
    ]);
  });

  it.each(['/', '/index.html'])('shows the services at %s', async (path) => {
    const text = await (await fetch(url + path)).text();
    expect(text).toContain('<table id="services"');
    for (const name of ['details', 'reviews', 'ratings']) expect(text).toContain(`<th scope="row">${name}</th>`);
  });

  it('is healthy', async () => {
    const response = await fetch(`${url}/health`);
    expect([response.status, await response.text()]).toEqual([200, 'Product page is healthy']);
  });

  it('serves everything that its pages refer to, and refers to nothing elsewhere but the summary', async () => {
    answerReviews(starred('red'));
    const text = (await page()) + (await (await fetch(url)).text());
    const references = [...text.matchAll(/(?:href|src)="([^"]+)"/g)].map(([, reference]) => reference as string);
    const files = [...new Set(references.filter((reference) => reference.startsWith('/static/')))];
    expect(files.sort()).toEqual(['/static/bookinfo.css', '/static/img/bookinfo.svg', '/static/img/cover.svg']);
    for (const file of files) expect((await fetch(url + file)).status).toBe(200);
    expect(references.filter((reference) => /^(https?:)?\/\//.test(reference))).toEqual([
      'https://en.wikipedia.org/wiki/The_Comedy_of_Errors',
    ]);
    expect(await (await fetch(`${url}/static/bookinfo.css`)).text()).not.toMatch(/url\(|@import/);
  });

  it('does not serve files outside of its folder', async () => {
    expect((await fetch(`${url}/static/..%2fpackage.json`)).status).toBeGreaterThanOrEqual(400);
  });
});

describe('the settings of productpage', () => {
  it('have the defaults of the sample', () => {
    expect(readProductpageOptions({}, logger)).toMatchObject({
      origins: { details: 'http://details:9080', reviews: 'http://reviews:9080', ratings: 'http://ratings:9080' },
      timeoutMs: 3_000,
      floodFactor: 0,
    });
  });

  it('name other hosts, ports and domains', () => {
    const env = { SERVICES_DOMAIN: 'prod', DETAILS_HOSTNAME: 'd', REVIEWS_SERVICE_PORT: '80', FLOOD_FACTOR: '100' };
    expect(readProductpageOptions(env, logger)).toMatchObject({
      origins: { details: 'http://d.prod:9080', reviews: 'http://reviews.prod:80' },
      floodFactor: 100,
    });
  });

  it.each([{ FLOOD_FACTOR: 'many' }, { RATINGS_SERVICE_PORT: 'http' }])('refuse %s', (env) => {
    expect(() => readProductpageOptions(env as Record<string, string>, logger)).toThrow(Object.keys(env)[0]);
  });
});
