export type { Ratings, RatingsUpstream } from './ratings-upstream.ts';
export { createReviews, type ReviewsOptions } from './reviews.ts';
export { readReviewsOptions } from './settings.ts';
