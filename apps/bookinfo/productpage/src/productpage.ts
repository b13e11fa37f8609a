import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import cookie from '@fastify/cookie';
import formBody from '@fastify/formbody';
import staticFiles from '@fastify/static';
import { createService } from '@mizzen/bookinfo-common';
import type { FastifyBaseLogger, FastifyInstance, FastifyReply } from 'fastify';
import { forwardedHeaders } from './forwarded-headers.ts';
import type { Html } from './html.ts';
import { renderIndexPage } from './pages/index-page.ts';
import { renderProductPage } from './pages/product-page.ts';
import { PRODUCTS, THE_COMEDY_OF_ERRORS } from './products.ts';
import { RequestCounter } from './request-counter.ts';
import { addLogin, sessionUser } from './session.ts';
import { type UpstreamAnswer, type UpstreamName, Upstreams, type UpstreamsOptions } from './upstreams.ts';

export interface ProductpageOptions extends UpstreamsOptions {
  readonly logger: FastifyBaseLogger;
  /** How many more times reviews are asked for every page, all at once and the answers ignored. 0 in the normal version. */
  readonly floodFactor: number;
  /** Signs the session cookie. It keeps a name from being changed by accident; it protects nothing, as anybody may log in as anybody. */
  readonly sessionSecret: string;
  /** Folder of the style sheet and the pictures. Default: the one of this package. */
  readonly staticDirectory?: string;
}

/** The product page: it puts together what details and reviews know of one book. */
export function createProductpage(options: ProductpageOptions): FastifyInstance {
  const service = createService(options.logger);
  const counter = new RequestCounter();
  const upstreams = new Upstreams(options, { counter, logger: options.logger });
  service.register(cookie, { secret: options.sessionSecret });
  service.register(formBody);
  service.register(staticFiles, { root: options.staticDirectory ?? findStaticDirectory(), prefix: '/static/' });
  addLogin(service);
  addPages(service, upstreams, options);
  addApi(service, upstreams);
  service.get('/health', async (_request, reply) => reply.type('text/plain').send('Product page is healthy'));
  service.get('/metrics', async (_request, reply) => reply.type('text/plain; version=0.0.4').send(counter.toPrometheusText()));
  return service;
}

function addPages(service: FastifyInstance, upstreams: Upstreams, options: ProductpageOptions): void {
  for (const path of ['/', '/index.html']) service.get(path, async (_request, reply) => sendPage(reply, renderIndexPage(options.origins)));

  service.get('/productpage', async (request, reply) => {
    const product = THE_COMEDY_OF_ERRORS;
    const call = { productId: String(product.id), headers: forwardedHeaders(request) };
    const details = await upstreams.ask({ ...call, upstream: 'details' });
    await Promise.all(Array.from({ length: options.floodFactor }, () => upstreams.ask({ ...call, upstream: 'reviews' })));
    const reviews = await upstreams.ask({ ...call, upstream: 'reviews' });
    return sendPage(reply, renderProductPage({ product, details, reviews, user: sessionUser(request) }));
  });
}

function addApi(service: FastifyInstance, upstreams: Upstreams): void {
  const upstreamOf: Readonly<Record<string, UpstreamName>> = { '': 'details', '/reviews': 'reviews', '/ratings': 'ratings' };
  service.get('/api/v1/products', async () => PRODUCTS);
  for (const [path, upstream] of Object.entries(upstreamOf)) {
    service.get<{ Params: { productId: string } }>(`/api/v1/products/:productId${path}`, async (request, reply) => {
      const headers = forwardedHeaders(request);
      return sendAnswer(reply, await upstreams.ask({ upstream, productId: request.params.productId, headers }));
    });
  }
}

function sendPage(reply: FastifyReply, page: Html): FastifyReply {
  return reply.type('text/html; charset=utf-8').header('cache-control', 'no-store').send(page.text);
}

/** Serialised here, because fastify would send a JSON text that is a mere string as it is. */
function sendAnswer(reply: FastifyReply, answer: UpstreamAnswer): FastifyReply {
  return reply.code(answer.status).type('application/json').send(JSON.stringify(answer.body));
}

/** Beside the sources, beside a bundle, or in the installed package when a bundle lies elsewhere. */
function findStaticDirectory(): string {
  const candidates = [join(import.meta.dirname, '..', 'static'), join(import.meta.dirname, 'static')];
  const found = candidates.find((directory) => existsSync(join(directory, 'bookinfo.css')));
  return found ?? join(dirname(createRequire(import.meta.url).resolve('@mizzen/bookinfo-productpage')), '..', 'static');
}
