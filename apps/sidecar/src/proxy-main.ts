import { runApp } from '@mizzen/core';
import { proxyApp, translateEnvoyFlags } from './proxy-app.ts';

await runApp(proxyApp, { argv: [...translateEnvoyFlags(process.argv.slice(2))], env: process.env });
