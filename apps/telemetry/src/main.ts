import { runApp } from '@mizzen/core';
import { telemetryApp } from './app.ts';

await runApp(telemetryApp);
