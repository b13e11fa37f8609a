import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import type { Misbehaviour } from './misbehaviour.ts';
import { createRatings, type RatingsOptions } from './ratings.ts';
import { readRatingsOptions } from './settings.ts';
import { createSqliteStore } from './sqlite-store.ts';

const logger = pino({ level: 'silent' });
const SAMPLE = { id: 0, ratings: { Reviewer1: 5, Reviewer2: 4 } };
const services: FastifyInstance[] = [];

afterEach(async () => {
  await Promise.all(services.splice(0).map((service) => service.close()));
});

function start(options: Partial<RatingsOptions> = {}): Promise<string> {
  const service = createRatings({ logger, store: createSqliteStore({ file: ':memory:', isWritable: true }), ...options });
  services.push(service);
  return service.listen({ port: 0, host: '127.0.0.1' });
}

async function answer(response: Response | Promise<Response>): Promise<[number, unknown]> {
  const { status, json } = await Promise.resolve(response).then((ready) => ({ status: ready.status, json: ready.json() }));
  return [status, await json];
}

const post = (url: string, body: string, headers = {}): Promise<Response> => fetch(url, { method: 'POST', body, headers });

describe('the ratings service', () => {
  it('has two ratings for every product', async () => {
    const url = await start();
    expect(await answer(fetch(`${url}/ratings/0`))).toEqual([200, SAMPLE]);
    expect(await answer(fetch(`${url}/ratings/3`))).toEqual([200, { ...SAMPLE, id: 3 }]);
  });

  it.each(['/ratings/zero', '/ratings/'])('answers 400 to %s', async (path) => {
    const url = await start();
    const expected = [400, { error: 'please provide numeric product ID' }];
    expect(await answer(fetch(url + path))).toEqual(expected);
    expect(await answer(post(url + path, '{}'))).toEqual(expected);
  });

  it.each(['application/json', 'application/x-www-form-urlencoded', 'text/plain'])('stores what is posted as %s', async (type) => {
    const url = await start();
    const posted = { id: 2, ratings: { Reviewer1: 1, Reviewer2: 2 } };
    expect(await answer(post(`${url}/ratings/2`, JSON.stringify(posted.ratings), { 'content-type': type }))).toEqual([200, posted]);
    expect(await answer(fetch(`${url}/ratings/2`))).toEqual([200, posted]);
    expect(await answer(fetch(`${url}/ratings/0`))).toEqual([200, SAMPLE]);
  });

  it.each(['{"Reviewer1":', ''])('answers 400 to the body "%s"', async (body) => {
    expect(await answer(post(`${await start()}/ratings/0`, body))).toEqual([400, { error: 'please provide valid ratings JSON' }]);
  });

  it('is healthy', async () => {
    expect(await answer(fetch(`${await start()}/health`))).toEqual([200, { status: 'Ratings is healthy' }]);
  });
});

describe('ratings in an SQLite file', () => {
  let directory: string;
  let file: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ratings-'));
    file = join(directory, 'ratings.db');
  });

  afterEach(async () => {
    await rm(directory, { recursive: true });
  });

  function startWithEnv(env: Record<string, string>): Promise<string> {
    return start(readRatingsOptions({ RATINGS_DB_FILE: file, ...env }, logger));
  }

  function edit(sql: string): void {
    const database = new DatabaseSync(file);
    database.exec(sql);
    database.close();
  }

  it('outlive the service', async () => {
    await post(`${await startWithEnv({})}/ratings/0`, '{"Reviewer1":1}');
    await services.pop()?.close();
    expect(await answer(fetch(`${await startWithEnv({})}/ratings/0`))).toEqual([200, { id: 0, ratings: { Reviewer1: 1 } }]);
  });

  it('are those of the table in version 2, for every product', async () => {
    const url = await startWithEnv({ SERVICE_VERSION: 'v2' });
    expect(await answer(fetch(`${url}/ratings/0`))).toEqual([200, SAMPLE]);
    edit('UPDATE ratings SET Rating = 1 WHERE ReviewID = 2');
    expect(await answer(fetch(`${url}/ratings/9`))).toEqual([200, { id: 9, ratings: { Reviewer1: 5, Reviewer2: 1 } }]);
  });

  it('count as no star where a row is missing', async () => {
    const url = await startWithEnv({ SERVICE_VERSION: 'v2' });
    await fetch(`${url}/ratings/0`);
    edit('DELETE FROM ratings');
    expect(await answer(fetch(`${url}/ratings/0`))).toEqual([200, { id: 0, ratings: { Reviewer1: 0, Reviewer2: 0 } }]);
  });

  it('cannot be posted in version 2', async () => {
    const url = await startWithEnv({ SERVICE_VERSION: 'v2' });
    expect(await answer(post(`${url}/ratings/0`, '{}'))).toEqual([501, { error: 'Post not implemented for database backed ratings' }]);
  });

  it('are missed with 500 when the file cannot be opened, and found when it can', async () => {
    const url = await start(readRatingsOptions({ SERVICE_VERSION: 'v2', RATINGS_DB_FILE: join(directory, 'sub', 'ratings.db') }, logger));
    expect(await answer(fetch(`${url}/ratings/0`))).toEqual([500, { error: 'could not connect to ratings database' }]);
    const { mkdir } = await import('node:fs/promises');
    await mkdir(join(directory, 'sub'));
    expect(await answer(fetch(`${url}/ratings/0`))).toEqual([200, SAMPLE]);
  });

  it('are missed with 500 when the table is gone', async () => {
    const url = await startWithEnv({ SERVICE_VERSION: 'v2' });
    await fetch(`${url}/ratings/0`);
    edit('DROP TABLE ratings');
    expect(await answer(fetch(`${url}/ratings/0`))).toEqual([500, { error: 'could not perform select' }]);
  });
});

describe('ratings that misbehave', () => {
  const SERVICE_UNAVAILABLE = [503, { error: 'Service unavailable' }];

  function startMisbehaving(
    misbehaviour: Misbehaviour,
    inputs: { random?: number; uptimeMs?: number },
  ): { url: Promise<string>; waits: number[] } {
    const waits: number[] = [];
    const wait = async (ms: number): Promise<void> => void waits.push(ms);
    const url = start({ misbehaviour, inputs: { random: () => inputs.random ?? 1, uptimeMs: () => inputs.uptimeMs ?? 0, wait } });
    return { url, waits };
  }

  it.each([
    { name: 'v-faulty fails half of the time', version: 'v-faulty', bad: { random: 0.5 }, good: { random: 0.51 } },
    { name: 'v-unavailable fails in every other minute', version: 'v-unavailable', bad: { uptimeMs: 60_000 }, good: { uptimeMs: 120_000 } },
    { name: 'v-unhealthy fails in every other quarter', version: 'v-unhealthy', bad: { uptimeMs: 900_000 }, good: { uptimeMs: 899_999 } },
  ] as const)('$name', async ({ version, bad, good }) => {
    expect(await answer(fetch(`${await startMisbehaving(version, bad).url}/ratings/0`))).toEqual(SERVICE_UNAVAILABLE);
    expect(await answer(fetch(`${await startMisbehaving(version, good).url}/ratings/0`))).toEqual([200, SAMPLE]);
  });

  it.each([
    { random: 0.2, expected: [7_000] },
    { random: 0.8, expected: [] },
  ])('v-delayed waits $expected ms when chance says $random', async ({ random, expected }) => {
    const { url, waits } = startMisbehaving('v-delayed', { random });
    expect(await answer(fetch(`${await url}/ratings/0`))).toEqual([200, SAMPLE]);
    expect(waits).toEqual(expected);
  });

  it('only v-unhealthy says so in its health check', async () => {
    const unhealthy = await startMisbehaving('v-unhealthy', { uptimeMs: 900_000 }).url;
    expect(await answer(fetch(`${unhealthy}/health`))).toEqual([500, { status: 'Ratings is not healthy' }]);
    const unavailable = await startMisbehaving('v-unavailable', { uptimeMs: 60_000 }).url;
    expect(await answer(fetch(`${unavailable}/health`))).toEqual([200, { status: 'Ratings is healthy' }]);
  });
});

describe('the settings of ratings', () => {
  it.each([
    { env: { SERVICE_VERSION: 'v2', DB_TYPE: 'mongodb' }, error: 'DB_TYPE is "mongodb": set it to sqlite or mysql' },
    { env: { SERVICE_VERSION: 'v2-mysql', MYSQL_DB_PORT: 'x' }, error: 'MYSQL_DB_PORT is "x"' },
  ])('refuse $env', ({ env, error }) => {
    expect(() => readRatingsOptions(env as Record<string, string>, logger)).toThrow(error);
  });

  it('name the version that misbehaves', () => {
    expect(readRatingsOptions({ SERVICE_VERSION: 'v-faulty' }, logger).misbehaviour).toBe('v-faulty');
    expect(readRatingsOptions({ SERVICE_VERSION: 'v1' }, logger).misbehaviour).toBeUndefined();
  });
});
