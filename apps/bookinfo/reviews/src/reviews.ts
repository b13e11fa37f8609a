import { createService } from '@mizzen/bookinfo-common';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import { fetchRatings, type Ratings, type RatingsUpstream } from './ratings-upstream.ts';

export interface ReviewsOptions {
  readonly logger: FastifyBaseLogger;
  /** Which copy of the service answered; shown on the page. */
  readonly podName: string;
  /** The string `null` outside a named cluster, as in the original. */
  readonly clusterName: string;
  /** Absent in version 1, which knows no stars. */
  readonly stars?: { readonly color: string; readonly upstream: RatingsUpstream };
}

interface Review {
  readonly reviewer: string;
  readonly text: string;
  readonly rating?: { readonly stars: number; readonly color: string } | { readonly error: string };
}

const REVIEWS: readonly Review[] = [
  { reviewer: 'Reviewer1', text: 'An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!' },
  {
    reviewer: 'Reviewer2',
    text: 'Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare.',
  },
];

/** The reviews service: two reviews of a book, in versions 2 and 3 with the stars that the ratings service knows. */
export function createReviews(options: ReviewsOptions): FastifyInstance {
  const service = createService(options.logger);
  const { stars } = options;
  service.get('/health', async () => ({ status: 'Reviews is healthy' }));
  service.get<{ Params: { productId: string } }>('/reviews/:productId', async (request, reply) => {
    const { productId } = request.params;
    // The original binds the path to an int, and its framework answers 404 where that fails.
    if (!/^-?\d{1,10}$/.test(productId)) return reply.callNotFound();
    const ratings = stars && (await fetchRatings(stars.upstream, productId, request));
    return {
      id: String(Number(productId)),
      podname: options.podName,
      clustername: options.clusterName,
      reviews: stars ? REVIEWS.map((review) => ({ ...review, rating: ratingOf(review.reviewer, ratings, stars.color) })) : REVIEWS,
    };
  });
  return service;
}

function ratingOf(reviewer: string, ratings: Ratings | undefined, color: string): NonNullable<Review['rating']> {
  const stars = ratings?.[reviewer];
  return stars === undefined ? { error: 'Ratings service is currently unavailable' } : { stars, color };
}
