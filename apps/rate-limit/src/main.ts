import { runApp } from '@mizzen/core';
import { rateLimitApp } from './app.ts';

await runApp(rateLimitApp);
