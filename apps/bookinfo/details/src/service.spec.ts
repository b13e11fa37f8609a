import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer as createHttpServer, request } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { parseListenAddress } from '@mizzen/bookinfo-common';

const MAIN = join(import.meta.dirname, 'main.ts');

/** A service as a process, with its log lines as they come. */
class ServiceProcess {
  readonly child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #exit: Promise<number | null>;
  errorOutput = '';

  constructor(env: Record<string, string>, args: readonly string[] = []) {
    this.child = spawn(process.execPath, [MAIN, ...args], {
      env: { PATH: process.env['PATH'] ?? '', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#exit = once(this.child, 'close').then(([code]) => code as number | null);
    createInterface({ input: this.child.stdout as NodeJS.ReadableStream }).on('line', (line) => this.#lines.push(line));
    this.child.stderr?.on('data', (chunk) => {
      this.errorOutput += String(chunk);
    });
  }

  get output(): string {
    return this.#lines.join('\n');
  }

  async logged(text: string): Promise<void> {
    while (!this.output.includes(text)) {
      const isOver = await Promise.race([
        once(this.child.stdout as NodeJS.ReadableStream, 'data').then(() => false),
        this.#exit.then(() => true),
      ]);
      if (isOver && !this.output.includes(text)) throw new Error(`it ended without logging "${text}": ${this.output}${this.errorOutput}`);
    }
  }

  exitCode(): Promise<number | null> {
    return this.#exit;
  }
}

function getOverSocket(socketPath: string, path: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path }, (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode));
    })
      .once('error', reject)
      .end();
  });
}

describe('a service of Bookinfo as a process', () => {
  let directory: string;
  let started: ServiceProcess[];
  let servers: { close(): void }[];

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bookinfo-'));
    started = [];
    servers = [];
  });

  afterEach(async () => {
    for (const { child } of started) if (child.exitCode === null) child.kill('SIGKILL');
    await Promise.all(started.map((service) => service.exitCode()));
    for (const server of servers) server.close();
    await rm(directory, { recursive: true });
  });

  function start(env: Record<string, string>, args: readonly string[] = []): ServiceProcess {
    const service = new ServiceProcess(env, args);
    started.push(service);
    return service;
  }

  it.each(['SIGTERM', 'SIGINT'] as const)('listens on a UNIX socket and ends with 0 on %s', async (signal) => {
    const socket = join(directory, 'app.sock');
    const service = start({ PORT: `unix:${socket}` });
    await service.logged('Server listening');
    expect(await getOverSocket(socket, '/health')).toBe(200);
    await service.logged('"path":"/health","status":200');
    service.child.kill(signal);
    expect(await service.exitCode()).toBe(0);
  });

  it('answers the request in flight before it ends', async () => {
    let release = (): void => undefined;
    const books = createHttpServer((_request, response) => {
      release = () => response.end(JSON.stringify({ items: [{ volumeInfo: {} }] }));
      books.emit('asked');
    }).listen(0, '127.0.0.1');
    servers.push(books);
    await once(books, 'listening');
    const host = `127.0.0.1:${(books.address() as AddressInfo).port}`;
    const socket = join(directory, 'app.sock');
    const service = start({ PORT: socket, ENABLE_EXTERNAL_BOOK_SERVICE: 'true', DO_NOT_ENCRYPT: 'true', EXTERNAL_BOOK_SERVICE_HOST: host });
    await service.logged('Server listening');
    const answer = getOverSocket(socket, '/details/0');
    await once(books, 'asked');
    service.child.kill('SIGTERM');
    await service.logged('stopping');
    release();
    expect(await answer).toBe(200);
    expect(await service.exitCode()).toBe(0);
  });

  it('takes over the socket file of a process that was killed', async () => {
    const socket = join(directory, 'app.sock');
    const killed = start({ PORT: socket });
    await killed.logged('Server listening');
    killed.child.kill('SIGKILL');
    await killed.exitCode();
    const service = start({ PORT: socket });
    await service.logged('Server listening');
    expect(await getOverSocket(socket, '/health')).toBe(200);
  });

  it('ends with 1 and says so when the port is taken', async () => {
    const taken = createTcpServer().listen(0, '127.0.0.1');
    servers.push(taken);
    await once(taken, 'listening');
    const service = start({ PORT: String((taken.address() as AddressInfo).port), HOST: '127.0.0.1' });
    expect(await service.exitCode()).toBe(1);
    expect(service.output).toContain('EADDRINUSE');
  });

  it.each([
    { name: 'PORT', env: { PORT: 'http' } },
    { name: 'LOG_LEVEL', env: { LOG_LEVEL: 'loud' } },
    { name: 'EXTERNAL_BOOK_SERVICE_HOST', env: { ENABLE_EXTERNAL_BOOK_SERVICE: 'true', EXTERNAL_BOOK_SERVICE_HOST: 'no host' } },
  ])('ends with 2 and names $name when it is wrong', async ({ name, env }) => {
    const service = start(env as Record<string, string>);
    expect(await service.exitCode()).toBe(2);
    expect(service.errorOutput).toContain(`details: ${name} is "`);
  });

  it('explains its variables', async () => {
    const service = start({}, ['--help']);
    expect(await service.exitCode()).toBe(0);
    for (const variable of ['PORT', 'HOST', 'LOG_LEVEL', 'DO_NOT_ENCRYPT']) expect(service.output).toContain(`  ${variable} `);
  });
});

describe('the listening address', () => {
  it.each([
    { env: {}, expected: { kind: 'tcp', host: '0.0.0.0', port: 9080 } },
    { env: { PORT: '80', HOST: '::' }, expected: { kind: 'tcp', host: '::', port: 80 } },
    { env: { PORT: '/run/app.sock' }, expected: { kind: 'unix', path: '/run/app.sock' } },
    { env: { PORT: 'unix:/run/app.sock' }, expected: { kind: 'unix', path: '/run/app.sock' } },
  ])('of $env is $expected', ({ env, expected }) => {
    expect(parseListenAddress(env)).toEqual(expected);
  });

  it.each(['65536', '-1', '8080x', 'unix:app.sock'])('refuses port %s', (port) => {
    expect(() => parseListenAddress({ PORT: port })).toThrow('PORT is');
  });
});
