import type { Environment } from '@mizzen/bookinfo-common';
import type { FastifyBaseLogger } from 'fastify';
import { MISBEHAVIOURS } from './misbehaviour.ts';
import { createMysqlStore } from './mysql-store.ts';
import type { RatingsOptions } from './ratings.ts';
import { createSqliteStore } from './sqlite-store.ts';
import type { RatingsStore } from './store.ts';

export const RATINGS_VARIABLES = `  SERVICE_VERSION    v1: clients may post ratings; v2, v2-mysql, v2-mysql-vm: read from a database;
                     v-faulty, v-delayed, v-unavailable, v-unhealthy: misbehave on purpose (default v1)
  RATINGS_DB_FILE    SQLite file (default :memory:)
  DB_TYPE            database of version 2: sqlite or mysql (default sqlite, in v2-mysql mysql)
  MYSQL_DB_HOST      (default mysqldb)
  MYSQL_DB_PORT      (default 3306)
  MYSQL_DB_USER      (default root)
  MYSQL_DB_PASSWORD  (default none)
`;

const CONNECT_TIMEOUT_MS = 10_000;

/** The options that the environment asks for. */
export function readRatingsOptions(env: Environment, logger: FastifyBaseLogger): RatingsOptions {
  const version = env['SERVICE_VERSION'] || 'v1';
  const misbehaviour = MISBEHAVIOURS.find((name) => name === version);
  return { logger, store: createStore(env, { version, logger }), ...(misbehaviour && { misbehaviour }) };
}

function createStore(env: Environment, { version, logger }: { version: string; logger: FastifyBaseLogger }): RatingsStore {
  const isDatabaseVersion = version === 'v2' || version.startsWith('v2-');
  if (env['MONGO_DB_URL'])
    logger.warn('MONGO_DB_URL is set, but this ratings knows no MongoDB: it reads its embedded database; unset it, or set DB_TYPE=mysql');
  const databaseType = isDatabaseVersion ? env['DB_TYPE'] || (version.startsWith('v2-mysql') ? 'mysql' : 'sqlite') : 'sqlite';
  if (databaseType === 'sqlite') return createSqliteStore({ file: env['RATINGS_DB_FILE'] || ':memory:', isWritable: !isDatabaseVersion });
  if (databaseType !== 'mysql') throw new Error(`DB_TYPE is "${databaseType}": set it to sqlite or mysql`);
  const port = Number(env['MYSQL_DB_PORT'] || '3306');
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw new Error(`MYSQL_DB_PORT is "${env['MYSQL_DB_PORT']}": set it to a port between 1 and 65535`);
  }
  return createMysqlStore({
    host: env['MYSQL_DB_HOST'] || 'mysqldb',
    port,
    user: env['MYSQL_DB_USER'] || 'root',
    password: env['MYSQL_DB_PASSWORD'] ?? '',
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
  });
}
