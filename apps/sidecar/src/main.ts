import { runApp } from '@mizzen/core';
import { sidecarApp } from './sidecar-app.ts';

await runApp(sidecarApp);
