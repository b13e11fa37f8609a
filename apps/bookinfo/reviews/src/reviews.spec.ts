import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { createReviews } from './reviews.ts';
import { readReviewsOptions } from './settings.ts';

const logger = pino({ level: 'silent' });
const COMMON = { logger, podName: 'reviews-v2-0', clusterName: 'null' };
const UNAVAILABLE = { error: 'Ratings service is currently unavailable' };
const RATINGS = JSON.stringify({ id: 0, ratings: { Reviewer1: 5, Reviewer2: 4 } });

interface ReviewsAnswer {
  readonly reviews: readonly { readonly reviewer: string; readonly text: string; readonly rating?: unknown }[];
}

describe('the reviews service', () => {
  let service: FastifyInstance | undefined;
  let ratings: Server | undefined;

  afterEach(async () => {
    await service?.close();
    ratings?.closeAllConnections();
    ratings?.close();
  });

  async function startRatings(listener: RequestListener): Promise<string> {
    ratings = createServer(listener).listen(0, '127.0.0.1');
    await once(ratings, 'listening');
    return `http://127.0.0.1:${(ratings.address() as AddressInfo).port}`;
  }

  async function startWithStars(options: { listener: RequestListener; color?: string; timeoutMs?: number }): Promise<string> {
    const upstream = { origin: await startRatings(options.listener), timeoutMs: options.timeoutMs ?? 5_000 };
    service = createReviews({ ...COMMON, stars: { color: options.color ?? 'black', upstream } });
    return service.listen({ port: 0, host: '127.0.0.1' });
  }

  async function ratingsShown(url: string): Promise<unknown[]> {
    const response = await fetch(`${url}/reviews/0`);
    expect(response.status).toBe(200);
    return ((await response.json()) as ReviewsAnswer).reviews.map((review) => review.rating);
  }

  it('has no stars in version 1', async () => {
    service = createReviews({ ...COMMON, podName: 'reviews-v1-0' });
    const response = await fetch(`${await service.listen({ port: 0, host: '127.0.0.1' })}/reviews/0`);
    expect(await response.json()).toEqual({
      id: '0',
      podname: 'reviews-v1-0',
      clustername: 'null',
      reviews: [
        { reviewer: 'Reviewer1', text: 'An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!' },
        {
          reviewer: 'Reviewer2',
          text: 'Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare.',
        },
      ],
    });
  });

  it.each(['black', 'red'])('shows the stars of the ratings service in %s', async (color) => {
    const url = await startWithStars({ listener: (_request, response) => response.end(RATINGS), color });
    expect(await ratingsShown(url)).toEqual([
      { stars: 5, color },
      { stars: 4, color },
    ]);
  });

  it.each<{ name: string; listener: RequestListener }>([
    { name: 'fails', listener: (_request, response) => response.writeHead(500).end(RATINGS) },
    { name: 'hangs up', listener: (request) => request.socket.destroy() },
    { name: 'answers no JSON', listener: (_request, response) => response.end('oops') },
    { name: 'answers something else', listener: (_request, response) => response.end('{"id":0}') },
    { name: 'is late', listener: () => undefined },
    { name: 'stops in the middle', listener: (_request, response) => response.writeHead(200, { 'content-length': 100 }).write('{') },
  ])('says that ratings are unavailable when the ratings service $name', async ({ listener }) => {
    expect(await ratingsShown(await startWithStars({ listener, timeoutMs: 200 }))).toEqual([UNAVAILABLE, UNAVAILABLE]);
  });

  it('says so only for the reviewer whose stars are missing', async () => {
    const url = await startWithStars({ listener: (_request, response) => response.end('{"ratings":{"Reviewer2":1}}') });
    expect(await ratingsShown(url)).toEqual([UNAVAILABLE, { stars: 1, color: 'black' }]);
  });

  it('passes on who asks and the trace, and nothing else', async () => {
    let asked: { url: string | undefined; headers: IncomingHttpHeaders } | undefined;
    const url = await startWithStars({
      listener: (request, response) => {
        asked = { url: request.url, headers: request.headers };
        response.end(RATINGS);
      },
    });
    const headers = {
      'x-request-id': 'r1',
      'x-b3-traceid': 't1',
      'x-b3-spanid': 's1',
      'x-b3-parentspanid': 'p1',
      'x-b3-sampled': '1',
      'x-b3-flags': '0',
      traceparent: '00-1-2-01',
      tracestate: 'a=b',
      sw8: 'sw',
      'x-ot-span-context': 'ot',
      'x-datadog-trace-id': 'd1',
      'x-datadog-parent-id': 'd2',
      'x-datadog-sampling-priority': '1',
      'x-cloud-trace-context': 'c',
      'grpc-trace-bin': 'g',
      'end-user': 'jason',
      'user-agent': 'spec',
      cookie: 'session=1',
      authorization: 'Bearer x',
      jwt: 'j',
    };
    await fetch(`${url}/reviews/3`, { headers: { ...headers, 'x-secret': 'no' } });
    expect(asked?.url).toBe('/ratings/3');
    expect(asked?.headers).toMatchObject(headers);
    expect(asked?.headers['x-secret']).toBeUndefined();
  });

  it('is healthy', async () => {
    service = createReviews(COMMON);
    const response = await fetch(`${await service.listen({ port: 0, host: '127.0.0.1' })}/health`);
    expect([response.status, await response.json()]).toEqual([200, { status: 'Reviews is healthy' }]);
  });

  it('answers 404 to an id that is no number', async () => {
    service = createReviews(COMMON);
    expect((await fetch(`${await service.listen({ port: 0, host: '127.0.0.1' })}/reviews/zero`)).status).toBe(404);
  });
});

describe('the settings of reviews', () => {
  it.each([
    { env: {}, stars: undefined },
    { env: { SERVICE_VERSION: 'v2' }, stars: { color: 'black', upstream: { origin: 'http://ratings:9080', timeoutMs: 10_000 } } },
    { env: { SERVICE_VERSION: 'v3' }, stars: { color: 'red', upstream: { origin: 'http://ratings:9080', timeoutMs: 2_500 } } },
    {
      env: { ENABLE_RATINGS: 'true', STAR_COLOR: 'red', SERVICES_DOMAIN: 'prod', RATINGS_HOSTNAME: 'stars', RATINGS_SERVICE_PORT: '80' },
      stars: { color: 'red', upstream: { origin: 'http://stars.prod:80', timeoutMs: 2_500 } },
    },
    { env: { SERVICE_VERSION: 'v3', ENABLE_RATINGS: 'false' }, stars: undefined },
  ])('of $env', ({ env, stars }) => {
    expect(readReviewsOptions(env as Record<string, string>, logger).stars).toEqual(stars);
  });

  it('name the pod and the cluster', () => {
    expect(readReviewsOptions({ HOSTNAME: 'pod-1', CLUSTER_NAME: 'east' }, logger)).toMatchObject({
      podName: 'pod-1',
      clusterName: 'east',
    });
    expect(readReviewsOptions({ HOSTNAME: 'pod-1' }, logger).clusterName).toBe('null');
  });

  it('refuse a port that makes no URL', () => {
    expect(() => readReviewsOptions({ SERVICE_VERSION: 'v2', RATINGS_SERVICE_PORT: 'http' }, logger)).toThrow('RATINGS_SERVICE_PORT');
  });
});
