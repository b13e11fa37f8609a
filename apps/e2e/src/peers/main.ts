/** What the scenarios talk to, as a program of its own: `main.ts PEER`. Listens on PORT and prints one JSON line for each event. */
import { createServer } from 'node:http';
import { RATING_COLUMN, startMysqlPeer } from '@mizzen/bookinfo-ratings/testing';
import { startBookApi } from './book-api.ts';
import { startGreeter } from './greeter.ts';

const BOOK_HOST = 'www.googleapis.com';

function tell(event: object): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

const PEERS: Readonly<Record<string, (port: number) => Promise<AsyncDisposable>>> = {
  /** A MySQL server whose every query has two ratings for an answer. */
  mysql: (port) =>
    startMysqlPeer(
      (connection, query) => {
        tell({ query });
        connection.writeTextResult([{ Rating: 4 }, { Rating: 2 }], [RATING_COLUMN]);
      },
      { port },
    ),
  books: async (port) => {
    const books = await startBookApi({ host: BOOK_HOST, port, onRequest: (request) => tell({ request }) });
    tell({ ca: books.ca });
    return books;
  },
  greeter: startGreeter,
  'acme-solver': async (port) => {
    const server = createServer((request, response) => response.end(`solved ${request.url}`));
    await new Promise<void>((resolve) => server.listen(port, resolve));
    return {
      async [Symbol.asyncDispose]() {
        server.closeAllConnections();
        await new Promise<void>((resolve) => server.close(() => resolve()));
      },
    };
  },
};

const name = process.argv[2] ?? '';
const start = PEERS[name];
const port = Number(process.env['PORT']);
if (start === undefined || !Number.isInteger(port) || port < 1) {
  process.stderr.write(`call it with PORT in the environment and one of ${Object.keys(PEERS).join(', ')}\n`);
  process.exit(2);
}
const peer = await start(port);
tell({ listening: name, port });
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => void peer[Symbol.asyncDispose]().then(() => process.exit(0)));
