import type { Environment } from '@mizzen/bookinfo-common';
import type { FastifyBaseLogger } from 'fastify';
import type { ProductpageOptions } from './productpage.ts';

export const PRODUCTPAGE_VARIABLES = `  SERVICES_DOMAIN       appended to the host names of the services (default none)
  DETAILS_HOSTNAME      host of the details service (default details)
  DETAILS_SERVICE_PORT  its port (default 9080); likewise REVIEWS_… and RATINGS_…
  FLOOD_FACTOR          how many more times reviews are asked for every page (default 0)
  SESSION_SECRET        signs the session cookie (default: a value that everybody knows)
  STATIC_DIR            folder of the style sheet and the pictures (default: the package's)
`;

/** Each single call of the original gives up after this long. */
const UPSTREAM_TIMEOUT_MS = 3_000;

/** The options that the environment asks for. */
export function readProductpageOptions(env: Environment, logger: FastifyBaseLogger): ProductpageOptions {
  const floodFactor = env['FLOOD_FACTOR'] || '0';
  if (!/^\d{1,5}$/.test(floodFactor)) throw new Error(`FLOOD_FACTOR is "${floodFactor}": set it to a whole number, 0 or more`);
  return {
    logger,
    origins: {
      details: readOrigin(env, 'details'),
      reviews: readOrigin(env, 'reviews'),
      ratings: readOrigin(env, 'ratings'),
    },
    timeoutMs: UPSTREAM_TIMEOUT_MS,
    floodFactor: Number(floodFactor),
    sessionSecret: env['SESSION_SECRET'] || 'bookinfo-sample-session',
    ...(env['STATIC_DIR'] && { staticDirectory: env['STATIC_DIR'] }),
  };
}

function readOrigin(env: Environment, service: string): string {
  const prefix = service.toUpperCase();
  const domain = env['SERVICES_DOMAIN'] ? `.${env['SERVICES_DOMAIN']}` : '';
  const origin = `http://${env[`${prefix}_HOSTNAME`] || service}${domain}:${env[`${prefix}_SERVICE_PORT`] || '9080'}`;
  if (!URL.canParse(origin)) throw new Error(`${prefix}_HOSTNAME, SERVICES_DOMAIN and ${prefix}_SERVICE_PORT make no URL: "${origin}"`);
  return origin;
}
