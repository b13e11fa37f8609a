import type { IncomingHttpHeaders } from 'node:http';
import { createService } from '@mizzen/bookinfo-common';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import { type BookDetails, type ExternalBookService, fetchBookDetails } from './external-book-service.ts';

export interface DetailsOptions {
  readonly logger: FastifyBaseLogger;
  /** Where version 2 looks the book up. Absent: the built-in book of version 1. */
  readonly externalBookService?: ExternalBookService;
}

/** The details service: facts about one book, its own or (version 2) those of an external book service. */
export function createDetails(options: DetailsOptions): FastifyInstance {
  const service = createService(options.logger);
  service.get('/health', async () => ({ status: 'Details is healthy' }));
  for (const path of ['/details', '/details/*']) {
    service.get(path, async (request, reply) => {
      const productId = parseProductId(request.url);
      if (productId === undefined) return reply.code(400).send({ error: 'please provide numeric product id' });
      try {
        return await getBookDetails(productId, request.headers, options.externalBookService);
      } catch (error) {
        // The original answers every failure with 400, that of the external service included.
        request.log.warn({ reason: (error as Error).message }, 'the external book service failed; check that egress to it is allowed');
        return reply.code(400).send({ error: (error as Error).message });
      }
    });
  }
  return service;
}

async function getBookDetails(
  productId: number,
  incoming: IncomingHttpHeaders,
  externalBookService: ExternalBookService | undefined,
): Promise<BookDetails> {
  if (externalBookService) return fetchBookDetails(externalBookService, productId, incoming);
  return {
    id: productId,
    author: 'William Shakespeare',
    year: 1595,
    type: 'paperback',
    pages: 200,
    publisher: 'PublisherA',
    language: 'English',
    'ISBN-10': '1234567890',
    'ISBN-13': '123-1234567890',
  };
}

function parseProductId(url: string): number | undefined {
  const lastSegment = url.replace(/\?.*$/, '').split('/').pop() ?? '';
  return /^-?\d+$/.test(lastSegment) ? Number(lastSegment) : undefined;
}
