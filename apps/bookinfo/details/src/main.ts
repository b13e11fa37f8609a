import { runServiceProcess } from '@mizzen/bookinfo-common';
import { createDetails } from './details.ts';
import { DETAILS_VARIABLES, readDetailsOptions } from './settings.ts';

await runServiceProcess({
  name: 'details',
  variables: DETAILS_VARIABLES,
  create: (env, logger) => createDetails(readDetailsOptions(env, logger)),
});
