import { runServiceProcess } from '@mizzen/bookinfo-common';
import { createRatings } from './ratings.ts';
import { RATINGS_VARIABLES, readRatingsOptions } from './settings.ts';

await runServiceProcess({
  name: 'ratings',
  variables: RATINGS_VARIABLES,
  create: (env, logger) => createRatings(readRatingsOptions(env, logger)),
});
