import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { freePort } from '@mizzen/testing';
import { createConnection } from 'mysql2/promise';
import { pino } from 'pino';
import { createRatings } from './ratings.ts';
import { readRatingsOptions } from './settings.ts';

const mariadbd = findProgram('mariadbd');
const installer = findProgram('mariadb-install-db');
const PASSWORD = 'of-this-spec-only';

/** `describe`, or a skip that says what to install. */
function describeWithMariadb(): typeof describe | typeof describe.skip {
  if (mariadbd && installer) return describe;
  console.warn('skipped: ratings on MariaDB need mariadbd, and it is not installed (Debian: apt-get install mariadb-server)');
  return describe.skip;
}

function findProgram(name: string): string | undefined {
  const directories = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return directories.map((directory) => join(directory, name)).find((file) => existsSync(file));
}

describeWithMariadb()('ratings on a real MariaDB (needs mariadbd)', () => {
  let directory: string;
  let database: ChildProcess;
  let port: number;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'mariadb-'));
    port = await freePort();
    const common = ['--no-defaults', `--user=${userInfo().username}`, `--datadir=${join(directory, 'data')}`];
    execFileSync(installer as string, [...common, '--auth-root-authentication-method=normal'], { stdio: 'ignore' });
    const args = [...common, `--socket=${join(directory, 'sock')}`, `--port=${port}`, '--bind-address=127.0.0.1', '--skip-name-resolve'];
    database = spawn(mariadbd as string, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    for await (const line of createInterface({ input: database.stderr as NodeJS.ReadableStream }))
      if (line.includes('ready for connections')) break;
    database.stderr?.resume();
    const connection = await createConnection({ host: '127.0.0.1', port, user: 'root', multipleStatements: true });
    await connection.query(`
      CREATE DATABASE IF NOT EXISTS test;
      CREATE TABLE test.ratings (ReviewID INT NOT NULL PRIMARY KEY, Rating INT NOT NULL);
      INSERT INTO test.ratings VALUES (1, 5), (2, 4);
      CREATE USER 'reader'@'127.0.0.1' IDENTIFIED BY '${PASSWORD}';
      GRANT SELECT ON test.ratings TO 'reader'@'127.0.0.1';`);
    await connection.end();
  }, 60_000);

  afterAll(async () => {
    const ended = once(database, 'exit');
    database.kill('SIGTERM');
    await ended;
    await rm(directory, { recursive: true });
  }, 60_000);

  async function get(env: Record<string, string>): Promise<[number, unknown]> {
    const common = { SERVICE_VERSION: 'v2-mysql', MYSQL_DB_HOST: '127.0.0.1', MYSQL_DB_PORT: String(port), MYSQL_DB_USER: 'reader' };
    const service = createRatings(readRatingsOptions({ ...common, ...env }, pino({ level: 'silent' })));
    const response = await fetch(`${await service.listen({ port: 0, host: '127.0.0.1' })}/ratings/0`);
    const answer: [number, unknown] = [response.status, await response.json()];
    await service.close();
    return answer;
  }

  it('follow the rows of the table', async () => {
    expect(await get({ MYSQL_DB_PASSWORD: PASSWORD })).toEqual([200, { id: 0, ratings: { Reviewer1: 5, Reviewer2: 4 } }]);
    const connection = await createConnection({ host: '127.0.0.1', port, user: 'root', database: 'test' });
    await connection.query('UPDATE ratings SET Rating = 1 WHERE ReviewID = 1');
    await connection.end();
    expect(await get({ MYSQL_DB_PASSWORD: PASSWORD })).toEqual([200, { id: 0, ratings: { Reviewer1: 1, Reviewer2: 4 } }]);
  });

  it('answer 500 with a wrong password', async () => {
    expect(await get({ MYSQL_DB_PASSWORD: 'wrong' })).toEqual([500, { error: 'could not connect to ratings database' }]);
  });
});
