import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { errorMessage, listenError } from '@mizzen/core';
import type { Address } from '@mizzen/xds-api/envoy/config/core/v3/address';
import { addressText, compileAddress } from '../config/values.ts';
import type { SocketAddress } from '../contract.ts';
import { type AdminOptions, type AdminRoute, defineAdminRoutes, helpText } from './admin-routes.ts';
import type { Answer } from './answer.ts';
import { indexPage } from './index-page.ts';

// Envoy takes forms for /runtime_modify; nothing else has a body.
const MAX_BODY_BYTES = 64 * 1024;

/** Envoy's admin interface. Source: envoy docs, "Administration interface" (1.40). What changes something is POST. */
export class AdminServer {
  readonly #routes: ReadonlyMap<string, AdminRoute>;
  readonly #tellOtherLoops: AdminOptions['tellOtherLoops'];
  #server: Server | undefined;
  #address: SocketAddress | undefined;

  constructor(options: AdminOptions) {
    this.#tellOtherLoops = options.tellOtherLoops;
    this.#routes = new Map(
      Object.entries({
        ...defineAdminRoutes({ ...options, startedMs: options.clock.now() }),
        '/': { help: 'Admin home page', handle: () => ({ type: 'text/html; charset=UTF-8', body: indexPage(this.#routes) }) },
        '/help': { help: 'print out list of admin commands', handle: () => ({ body: helpText(this.#routes) }) },
      } satisfies Record<string, AdminRoute>).sort(([a], [b]) => (a < b ? -1 : 1)),
    );
  }

  /** Where it listens, or undefined. */
  get address(): SocketAddress | undefined {
    return this.#address;
  }

  async start(message: Address): Promise<void> {
    const address = compileAddress(message);
    if (address.kind === 'internal') throw new Error('admin.address cannot be an internal address');
    await this.#listen(address);
  }

  /** Listens again where it did before `close`. */
  async reopen(): Promise<void> {
    if (this.#server === undefined && this.#address !== undefined) await this.#listen(this.#address);
  }

  async #listen(address: SocketAddress): Promise<void> {
    const server = createServer((request, response) => void this.#answer(request, response));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (thrown) => reject(listenError(thrown, addressText(address), 'the admin interface')));
      server.once('listening', resolve);
      if (address.kind === 'pipe') server.listen(address.path);
      else server.listen(address.port, address.host);
    });
    const bound = server.address();
    this.#address = bound !== null && typeof bound === 'object' ? { kind: 'ip', host: bound.address, port: bound.port } : address;
    this.#server = server;
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer: Answer;
    try {
      answer = await this.#dispatch(request);
    } catch (thrown) {
      answer = { status: 500, body: `${errorMessage(thrown)}\n` };
    }
    response.writeHead(answer.status ?? 200, {
      'content-type': answer.type ?? 'text/plain; charset=UTF-8',
      'cache-control': 'no-cache, max-age=0',
      'x-content-type-options': 'nosniff',
    });
    response.end(answer.body);
  }

  async #dispatch(request: IncomingMessage): Promise<Answer> {
    const url = URL.parse(request.url ?? '/', 'http://admin');
    const route = this.#routes.get(url?.pathname ?? '');
    if (url === null || route === undefined) return { status: 404, body: `invalid path. ${helpText(this.#routes)}` };
    if (route.isChange === true) {
      // A page in a browser can send requests here, and must change nothing.
      if (request.method !== 'POST') return { status: 405, body: `Method ${request.method} not allowed, POST required.` };
      if (isForeign(request)) return { status: 403, body: 'requests of other sites are not taken\n' };
      if (route.takesForm === true) for (const [key, value] of await readForm(request)) url.searchParams.append(key, value);
    }
    if (route.isForAllLoops === true) this.#tellOtherLoops(url.pathname, url.searchParams);
    return route.handle(url.searchParams);
  }

  /** What another event loop was asked to change. */
  repeat(path: string, query: URLSearchParams): void {
    void this.#routes.get(path)?.handle(query);
  }
}

function isForeign({ headers }: IncomingMessage): boolean {
  return headers.origin !== undefined && URL.parse(headers.origin)?.host !== headers.host;
}

async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  let text = '';
  for await (const chunk of request) {
    text += String(chunk);
    if (text.length > MAX_BODY_BYTES) throw new Error(`the form is larger than ${MAX_BODY_BYTES} bytes`);
  }
  return new URLSearchParams(text);
}
