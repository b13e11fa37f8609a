import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import type { Running } from '@mizzen/core';
import type { KubeClient, KubeKind, KubeName, KubeObject } from '../contract.ts';
import { createKubeClient } from '../kube-client.ts';
import { keyOfObject } from '../paths.ts';
import { Transport } from '../transport.ts';
import { ApiFault } from './api-fault.ts';
import { FakeApi, type Reviews } from './fake-api.ts';
import { ObjectStore } from './object-store.ts';

export interface FakeApiServerOptions extends Reviews {
  /** Default: a free one. */
  readonly port?: number;
  /** PEM; without it the server speaks plain HTTP. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Without it everybody is let in. */
  readonly token?: string;
}

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly body: unknown;
}

/** An API server in memory, over real HTTP, for any kind; and everything that may go wrong with one. */
export interface FakeApiServer extends Running {
  readonly url: string;
  /** A client of it, closed with it. */
  readonly client: KubeClient;
  /** For processes that are given a file. */
  readonly kubeconfig: string;
  /** Every request in order, watches among them. */
  readonly requests: readonly SeenRequest[];
  /** Called with every request before it is answered. */
  onRequest(listener: (request: SeenRequest) => void): void;
  /** Watches that are open now. */
  readonly openWatches: number;
  /** Creates the object or puts this in its place, status included, as controllers of the cluster would. */
  put<T extends KubeObject>(kind: KubeKind, object: T): T;
  object<T extends KubeObject>(kind: KubeKind, name: KubeName): T | undefined;
  objects<T extends KubeObject>(kind: KubeKind): readonly T[];
  remove(kind: KubeKind, name: KubeName): void;
  /** The CRD is not installed (or is again): requests for the kind get 404. */
  setInstalled(kind: KubeKind, isInstalled: boolean): void;
  /** Breaks the connections of all watches. */
  dropWatches(): void;
  /** Forgets the history: open watches get an ERROR event with 410, and so do old revisions and old pages. */
  expire(): void;
  /** Sends a bookmark on every open watch. */
  sendBookmarks(): void;
  /** Answers so many requests (that fit the path) with this status. */
  failNext(times: number, about: { readonly status: number; readonly path?: RegExp }): void;
  /** Holds every answer back for so long. Unit: ms. */
  setDelay(delayMs: number): void;
  /** Takes connections and says nothing more, as behind a broken network: half open. False: speaks again on new connections. */
  setSilent(isSilent: boolean): void;
  /** Goes away: connections break, new ones are refused. */
  stop(): Promise<void>;
  /** Comes back on the same port with the same objects. */
  restart(): Promise<void>;
}

// Smaller than the real server's 128 KiB, so that tests meet compressed answers.
const GZIP_FROM_BYTES = 4_096;

export async function createFakeApiServer(options: FakeApiServerOptions = {}): Promise<FakeApiServer> {
  const server = new HttpApiServer(options);
  await server.listen(options.port ?? 0);
  return server;
}

class HttpApiServer implements FakeApiServer {
  readonly client: KubeClient;
  readonly requests: SeenRequest[] = [];
  readonly #options: FakeApiServerOptions;
  readonly #store = new ObjectStore();
  readonly #api: FakeApi;
  readonly #transport: Transport;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #port = 0;
  #failures: { left: number; status: number; path: RegExp }[] = [];
  #delayMs = 0;
  #isSilent = false;
  #onRequest: (request: SeenRequest) => void = () => {};

  constructor(options: FakeApiServerOptions) {
    this.#options = options;
    this.#api = new FakeApi(this.#store, options);
    const access = {
      headers: options.token === undefined ? {} : { authorization: `Bearer ${options.token}` },
      isVerified: true,
      ...(options.tls && { ca: options.tls.cert }),
    };
    const url = (): URL => new URL(this.url);
    this.#transport = new Transport({
      get server() {
        return url();
      },
      namespace: 'default',
      access: async () => access,
      renew: () => {},
    });
    const transport = this.#transport;
    this.client = {
      ...createKubeClient(transport),
      get server() {
        return transport.server;
      },
    };
  }

  get url(): string {
    return `${this.#options.tls ? 'https' : 'http'}://127.0.0.1:${this.#port}`;
  }

  get kubeconfig(): string {
    const { tls, token } = this.#options;
    const cluster = {
      server: this.url,
      ...(tls ? { 'certificate-authority-data': Buffer.from(tls.cert).toString('base64') } : { 'insecure-skip-tls-verify': true }),
    };
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'fake', cluster }],
      users: [{ name: 'fake', user: token === undefined ? {} : { token } }],
      contexts: [{ name: 'fake', context: { cluster: 'fake', user: 'fake' } }],
      'current-context': 'fake',
    });
  }

  onRequest(listener: (request: SeenRequest) => void): void {
    this.#onRequest = listener;
  }

  get openWatches(): number {
    return this.#api.watches.size;
  }

  async listen(port: number): Promise<void> {
    const { tls } = this.#options;
    const handler = (request: IncomingMessage, response: ServerResponse): void => void this.#handle(request, response);
    const server = tls ? createTlsServer(tls, handler) : createServer(handler);
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', resolve);
    });
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
  }

  put<T extends KubeObject>(kind: KubeKind, object: T): T {
    const collection = this.#api.collectionOf(kind);
    const typed = { ...object, apiVersion: kind.apiVersion, kind: kind.kind };
    const before = this.#store.get(collection, keyOfObject(object.metadata));
    return (before ? this.#store.update(collection, before, typed) : this.#store.create(collection, typed)) as T;
  }

  object<T extends KubeObject>(kind: KubeKind, name: KubeName): T | undefined {
    return this.#store.get(this.#api.collectionOf(kind), keyOfObject(name)) as T | undefined;
  }

  objects<T extends KubeObject>(kind: KubeKind): readonly T[] {
    return this.#store.list(this.#api.collectionOf(kind)) as readonly T[];
  }

  remove(kind: KubeKind, name: KubeName): void {
    const object = this.object(kind, name);
    if (object) this.#api.remove(this.#api.collectionOf(kind), object);
  }

  setInstalled(kind: KubeKind, isInstalled: boolean): void {
    if (isInstalled) this.#api.missing.delete(this.#api.collectionOf(kind));
    else this.#api.missing.add(this.#api.collectionOf(kind));
  }

  dropWatches(): void {
    for (const watch of [...this.#api.watches]) watch.response.destroy();
  }

  expire(): void {
    this.#store.compact();
    const event = { type: 'ERROR', object: new ApiFault(410, 'Expired', 'too old resource version').toStatus() };
    for (const watch of [...this.#api.watches]) watch.response.end(`${JSON.stringify(event)}\n`);
  }

  sendBookmarks(): void {
    for (const watch of this.#api.watches) watch.bookmark();
  }

  failNext(times: number, { status, path = /./ }: { status: number; path?: RegExp }): void {
    this.#failures.push({ left: times, status, path });
  }

  setDelay(delayMs: number): void {
    this.#delayMs = delayMs;
  }

  setSilent(isSilent: boolean): void {
    this.#isSilent = isSilent;
    for (const watch of this.#api.watches) watch.isSilent = isSilent;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.listen(this.#port);
  }

  async close(): Promise<void> {
    await this.#transport.close();
    await this.stop();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const url = new URL(request.url ?? '/', 'http://fake');
      const body = await readJson(request);
      const method = request.method ?? 'GET';
      const seen = { method, path: url.pathname, query: Object.fromEntries(url.searchParams), body };
      this.requests.push(seen);
      this.#onRequest(seen);
      if (this.#isSilent) return;
      if (this.#delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.#delayMs));
      this.#refuse(url.pathname, request);
      const answer = this.#api.answer({ method, url, body, contentType: request.headers['content-type'] ?? '' }, response);
      if (answer !== undefined) send(request, response, { status: answer.status, body: answer.body });
    } catch (thrown) {
      const fault = thrown instanceof ApiFault ? thrown : new ApiFault(500, 'InternalError', String(thrown));
      send(request, response, { status: fault.status, body: fault.toStatus() });
    }
  }

  #refuse(path: string, request: IncomingMessage): void {
    const { token } = this.#options;
    if (token !== undefined && request.headers.authorization !== `Bearer ${token}`) throw new ApiFault(401, 'Unauthorized', 'Unauthorized');
    const failure = this.#failures.find((each) => each.left > 0 && each.path.test(path));
    if (!failure) return;
    failure.left--;
    throw new ApiFault(failure.status, 'InternalError', 'the test wanted it so');
  }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  return text === '' ? undefined : (JSON.parse(text) as unknown);
}

function send(request: IncomingMessage, response: ServerResponse, { status, body }: { status: number; body: unknown }): void {
  const text = Buffer.from(JSON.stringify(body));
  const isGzip = text.length >= GZIP_FROM_BYTES && /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
  response.writeHead(status, { 'content-type': 'application/json', ...(isGzip && { 'content-encoding': 'gzip' }) });
  response.end(isGzip ? gzipSync(text) : text);
}
