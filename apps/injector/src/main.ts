import { runApp } from '@mizzen/core';
import { injectorApp } from './index.ts';

await runApp(injectorApp);
