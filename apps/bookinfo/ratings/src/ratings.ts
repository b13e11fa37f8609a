import { createService } from '@mizzen/bookinfo-common';
import type { FastifyBaseLogger, FastifyInstance, FastifyReply } from 'fastify';
import { decideFate, isHealthy, type Misbehaviour, type MisbehaviourInputs } from './misbehaviour.ts';
import type { RatingsStore, StoreError } from './store.ts';

export interface RatingsOptions {
  readonly logger: FastifyBaseLogger;
  /** Closed with the service. */
  readonly store: RatingsStore;
  readonly misbehaviour?: Misbehaviour;
  /** Chance, time and waiting of the misbehaving versions. Default: the real ones. */
  readonly inputs?: MisbehaviourInputs & { readonly wait: (ms: number) => Promise<void> };
}

const NOT_NUMERIC = { error: 'please provide numeric product ID' };

/** The ratings service: how many stars each reviewer gave to a product. */
export function createRatings(options: RatingsOptions): FastifyInstance {
  const { store, misbehaviour, inputs = realInputs() } = options;
  const service = createService(options.logger);
  service.addHook('onClose', async () => store.close());
  // Whatever its content type, a body is read as JSON by the handler, which has its own words for a bad one.
  service.removeAllContentTypeParsers();
  service.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body));

  service.get('/health', async (_request, reply) =>
    isHealthy(misbehaviour, inputs) ? { status: 'Ratings is healthy' } : reply.code(500).send({ status: 'Ratings is not healthy' }),
  );

  service.get('/ratings/*', async (request, reply) => {
    const productId = parseProductId(request.url);
    if (Number.isNaN(productId)) return reply.code(400).send(NOT_NUMERIC);
    const fate = decideFate(misbehaviour, inputs);
    if (fate.kind === 'unavailable') return reply.code(503).send({ error: 'Service unavailable' });
    if (fate.afterMs > 0) await inputs.wait(fate.afterMs);
    return sendRatings(reply, store, productId);
  });

  service.post('/ratings/*', async (request, reply) => {
    const productId = parseProductId(request.url);
    if (Number.isNaN(productId)) return reply.code(400).send(NOT_NUMERIC);
    const ratings = parseJson(request.body);
    if (ratings === undefined) return reply.code(400).send({ error: 'please provide valid ratings JSON' });
    if (!store.write) return reply.code(501).send({ error: 'Post not implemented for database backed ratings' });
    await store.write(productId, ratings);
    return sendRatings(reply, store, productId);
  });
  return service;
}

async function sendRatings(reply: FastifyReply, store: RatingsStore, productId: number): Promise<FastifyReply> {
  try {
    return await reply.send({ id: productId, ratings: await store.read(productId) });
  } catch (error) {
    const { message, cause } = error as StoreError;
    reply.log.error({ reason: (cause as Error | undefined)?.message }, `${message}; check the variables of the database`);
    return reply.code(500).send({ error: message });
  }
}

/** As JavaScript's `parseInt` reads the last segment of the path: `12abc` is 12. */
function parseProductId(url: string): number {
  return Number.parseInt(url.replace(/\?.*$/, '').split('/').pop() ?? '', 10);
}

function parseJson(body: unknown): unknown {
  try {
    return JSON.parse(String(body));
  } catch {
    return undefined;
  }
}

function realInputs(): Required<RatingsOptions>['inputs'] {
  const startedAt = performance.now();
  return {
    random: Math.random,
    uptimeMs: () => performance.now() - startedAt,
    wait: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  };
}
