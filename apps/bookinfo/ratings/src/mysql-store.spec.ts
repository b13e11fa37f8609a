import { once } from 'node:events';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { createRatings } from './ratings.ts';
import { readRatingsOptions } from './settings.ts';
import { type MysqlPeer, RATING_COLUMN, startMysqlPeer } from './testing.ts';

const logger = pino({ level: 'silent' });

describe('ratings on MySQL', () => {
  let service: FastifyInstance | undefined;
  let peer: MysqlPeer | undefined;

  afterEach(async () => {
    await service?.close();
    await peer?.[Symbol.asyncDispose]();
    peer = undefined;
  });

  async function get(env: Record<string, string>): Promise<[number, unknown]> {
    service = createRatings(readRatingsOptions({ SERVICE_VERSION: 'v2', DB_TYPE: 'mysql', MYSQL_DB_HOST: '127.0.0.1', ...env }, logger));
    const response = await fetch(`${await service.listen({ port: 0, host: '127.0.0.1' })}/ratings/7`);
    return [response.status, await response.json()];
  }

  it('are the rows of the table, in their order', async () => {
    peer = await startMysqlPeer((connection) => connection.writeTextResult([{ Rating: 3 }, { Rating: 1 }], [RATING_COLUMN]));
    const { port, logins, queries } = peer;
    expect(await get({ MYSQL_DB_PORT: String(port), MYSQL_DB_USER: 'reader' })).toEqual([
      200,
      { id: 7, ratings: { Reviewer1: 3, Reviewer2: 1 } },
    ]);
    expect(queries).toEqual(['SELECT Rating FROM ratings ORDER BY ReviewID']);
    expect(logins).toEqual([expect.objectContaining({ user: 'reader', database: 'test' })]);
  });

  it('answer 500 when the query fails', async () => {
    peer = await startMysqlPeer((connection) => connection.writeError({ code: 1146, message: "Table 'test.ratings' doesn't exist" }));
    expect(await get({ MYSQL_DB_PORT: String(peer.port) })).toEqual([500, { error: 'could not perform select' }]);
  });

  it('answer 500 when nobody listens', async () => {
    const placeholder = createTcpServer().listen(0, '127.0.0.1');
    await once(placeholder, 'listening');
    const { port } = placeholder.address() as AddressInfo;
    await new Promise((resolve) => placeholder.close(resolve));
    expect(await get({ MYSQL_DB_PORT: String(port) })).toEqual([500, { error: 'could not connect to ratings database' }]);
  });
});
