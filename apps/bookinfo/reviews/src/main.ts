import { runServiceProcess } from '@mizzen/bookinfo-common';
import { createReviews } from './reviews.ts';
import { REVIEWS_VARIABLES, readReviewsOptions } from './settings.ts';

await runServiceProcess({
  name: 'reviews',
  variables: REVIEWS_VARIABLES,
  create: (env, logger) => createReviews(readReviewsOptions(env, logger)),
});
