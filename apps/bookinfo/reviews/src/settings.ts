import { hostname } from 'node:os';
import type { Environment } from '@mizzen/bookinfo-common';
import type { FastifyBaseLogger } from 'fastify';
import type { ReviewsOptions } from './reviews.ts';

export const REVIEWS_VARIABLES = `  SERVICE_VERSION       v1, v2 or v3: sets the defaults of the next two (default v1)
  ENABLE_RATINGS        true: ask the ratings service for stars (default true in v2 and v3)
  STAR_COLOR            colour of the stars, a CSS class name part (default black, in v3 red)
  SERVICES_DOMAIN       appended to the host name of the ratings service (default none)
  RATINGS_HOSTNAME      host of the ratings service (default ratings)
  RATINGS_SERVICE_PORT  its port (default 9080)
  HOSTNAME              shown as the pod that served the reviews (default this machine's name)
  CLUSTER_NAME          shown as its cluster (default null)
`;

/** How long the original waits for ratings: long with black stars, short with any other colour. The delay scenarios rest on both. */
const BLACK_STARS_TIMEOUT_MS = 10_000;
const OTHER_STARS_TIMEOUT_MS = 2_500;

/** The options that the environment asks for. */
export function readReviewsOptions(env: Environment, logger: FastifyBaseLogger): ReviewsOptions {
  const version = env['SERVICE_VERSION'] || 'v1';
  const common = { logger, podName: env['HOSTNAME'] || hostname(), clusterName: env['CLUSTER_NAME'] || 'null' };
  const isRatingsEnabled = env['ENABLE_RATINGS'] ? env['ENABLE_RATINGS'].toLowerCase() === 'true' : version === 'v2' || version === 'v3';
  if (!isRatingsEnabled) return common;
  const color = env['STAR_COLOR'] || (version === 'v3' ? 'red' : 'black');
  const timeoutMs = color === 'black' ? BLACK_STARS_TIMEOUT_MS : OTHER_STARS_TIMEOUT_MS;
  return { ...common, stars: { color, upstream: { origin: ratingsOrigin(env), timeoutMs } } };
}

function ratingsOrigin(env: Environment): string {
  const domain = env['SERVICES_DOMAIN'] ? `.${env['SERVICES_DOMAIN']}` : '';
  const origin = `http://${env['RATINGS_HOSTNAME'] || 'ratings'}${domain}:${env['RATINGS_SERVICE_PORT'] || '9080'}`;
  if (!URL.canParse(origin)) throw new Error(`RATINGS_HOSTNAME, SERVICES_DOMAIN and RATINGS_SERVICE_PORT make no URL: "${origin}"`);
  return origin;
}
