import { runApp } from '@mizzen/core';
import { controlPlaneApp } from './index.ts';

await runApp(controlPlaneApp);
