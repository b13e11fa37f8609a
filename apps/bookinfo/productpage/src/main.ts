import { runServiceProcess } from '@mizzen/bookinfo-common';
import { createProductpage } from './productpage.ts';
import { PRODUCTPAGE_VARIABLES, readProductpageOptions } from './settings.ts';

await runServiceProcess({
  name: 'productpage',
  variables: PRODUCTPAGE_VARIABLES,
  create: (env, logger) => createProductpage(readProductpageOptions(env, logger)),
});
