import type { Environment } from '@mizzen/bookinfo-common';
import type { FastifyBaseLogger } from 'fastify';
import type { DetailsOptions } from './details.ts';

export const DETAILS_VARIABLES = `  ENABLE_EXTERNAL_BOOK_SERVICE  true: look the book up at the external book service (version 2; default false)
  DO_NOT_ENCRYPT                true: call it by plain HTTP on port 80 and leave TLS to the mesh (default false: HTTPS)
  EXTERNAL_BOOK_SERVICE_HOST    host or host:port of the service (default www.googleapis.com)
`;

/** Read timeout of the original's HTTP client. */
const EXTERNAL_TIMEOUT_MS = 5_000;

/** The options that the environment asks for. */
export function readDetailsOptions(env: Environment, logger: FastifyBaseLogger): DetailsOptions {
  if (env['ENABLE_EXTERNAL_BOOK_SERVICE'] !== 'true') return { logger };
  const scheme = env['DO_NOT_ENCRYPT'] === 'true' ? 'http' : 'https';
  const origin = `${scheme}://${env['EXTERNAL_BOOK_SERVICE_HOST'] || 'www.googleapis.com'}`;
  if (!URL.canParse(origin)) {
    throw new Error(`EXTERNAL_BOOK_SERVICE_HOST is "${env['EXTERNAL_BOOK_SERVICE_HOST']}": set it to a host or host:port`);
  }
  return { logger, externalBookService: { origin, timeoutMs: EXTERNAL_TIMEOUT_MS } };
}
