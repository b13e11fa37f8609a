import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { createDetails } from './details.ts';
import type { ExternalBookService } from './external-book-service.ts';
import { readDetailsOptions } from './settings.ts';

const logger = pino({ level: 'silent' });
const VOLUME = {
  authors: ['William Shakespeare', 'An Editor'],
  publishedDate: '2002-01-01',
  printType: 'BOOK',
  pageCount: 64,
  publisher: 'Dover',
  language: 'en',
  industryIdentifiers: [
    { type: 'ISBN_13', identifier: '9780486424613' },
    { type: 'ISBN_10', identifier: '0486424618' },
  ],
};

describe('the details service', () => {
  let service: FastifyInstance | undefined;
  let books: Server | undefined;

  afterEach(async () => {
    await service?.close();
    books?.closeAllConnections();
    books?.close();
  });

  async function startDetails(externalBookService?: ExternalBookService): Promise<string> {
    service = createDetails({ logger, ...(externalBookService && { externalBookService }) });
    return service.listen({ port: 0, host: '127.0.0.1' });
  }

  async function startBooks(listener: RequestListener): Promise<string> {
    books = createServer(listener).listen(0, '127.0.0.1');
    await once(books, 'listening');
    return `http://127.0.0.1:${(books.address() as AddressInfo).port}`;
  }

  it('knows one book', async () => {
    const response = await fetch(`${await startDetails()}/details/7`);
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      id: 7,
      author: 'William Shakespeare',
      year: 1595,
      type: 'paperback',
      pages: 200,
      publisher: 'PublisherA',
      language: 'English',
      'ISBN-10': '1234567890',
      'ISBN-13': '123-1234567890',
    });
  });

  it.each(['/details/seven', '/details/', '/details', '/details/7x'])('answers 400 to %s', async (path) => {
    const response = await fetch((await startDetails()) + path);
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({ error: 'please provide numeric product id' });
  });

  it('is healthy', async () => {
    const response = await fetch(`${await startDetails()}/health`);
    expect([response.status, await response.json()]).toEqual([200, { status: 'Details is healthy' }]);
  });

  it('asks the external book service in version 2, with the headers of the trace and without credentials', async () => {
    let asked: IncomingMessage | undefined;
    const origin = await startBooks((request, response) => {
      asked = request;
      response.end(JSON.stringify({ items: [{ volumeInfo: VOLUME }] }));
    });
    const url = await startDetails({ origin, timeoutMs: 5_000 });
    const headers = {
      'x-request-id': 'r1',
      traceparent: '00-1-2-01',
      'end-user': 'jason',
      cookie: 'session=x',
      authorization: 'Bearer y',
      jwt: 'z',
    };
    const response = await fetch(`${url}/details/0`, { headers });
    expect(await response.json()).toEqual({
      id: 0,
      author: 'William Shakespeare',
      year: '2002-01-01',
      type: 'paperback',
      pages: 64,
      publisher: 'Dover',
      language: 'English',
      'ISBN-10': '0486424618',
      'ISBN-13': '9780486424613',
    });
    expect(asked?.url).toBe('/books/v1/volumes?q=isbn:0486424618');
    expect(asked?.headers).toMatchObject({ 'x-request-id': 'r1', traceparent: '00-1-2-01' });
    for (const name of ['end-user', 'cookie', 'authorization', 'jwt']) expect(asked?.headers[name]).toBeUndefined();
  });

  it.each<{ name: string; listener: RequestListener; error: string; timeoutMs?: number }>([
    { name: 'fails', listener: (_request, response) => response.writeHead(503).end('{}'), error: 'it answered 503' },
    { name: 'answers no JSON', listener: (_request, response) => response.end('<html>'), error: 'could not fetch the book' },
    {
      name: 'knows no such book',
      listener: (_request, response) => response.end('{"items":[]}'),
      error: 'knows no book with ISBN 0486424618',
    },
    { name: 'hangs up', listener: (request) => request.socket.destroy(), error: 'could not fetch the book' },
    { name: 'is late', listener: () => undefined, error: 'no answer in time', timeoutMs: 200 },
  ])('answers 400 with the reason when the external book service $name', async ({ listener, error, timeoutMs = 20_000 }) => {
    const url = await startDetails({ origin: await startBooks(listener), timeoutMs });
    const response = await fetch(`${url}/details/0`);
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({ error: expect.stringContaining(error) });
  });
});

describe('the settings of details', () => {
  it.each([
    { name: 'nothing external', env: {}, origin: undefined },
    { name: 'HTTPS', env: { ENABLE_EXTERNAL_BOOK_SERVICE: 'true' }, origin: 'https://www.googleapis.com' },
    { name: 'plain HTTP', env: { ENABLE_EXTERNAL_BOOK_SERVICE: 'true', DO_NOT_ENCRYPT: 'true' }, origin: 'http://www.googleapis.com' },
  ])('mean $name with $env', ({ env, origin }) => {
    expect(readDetailsOptions(env, logger).externalBookService?.origin).toBe(origin);
  });
});
