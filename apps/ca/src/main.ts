import { runApp } from '@mizzen/core';
import { caApp } from './index.ts';

await runApp(caApp);
