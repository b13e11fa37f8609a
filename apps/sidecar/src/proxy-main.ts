import { isMainThread } from 'node:worker_threads';
import { runApp } from '@mizzen/core';
import { runProxyWorker } from '@mizzen/proxy';
import { proxyApp, translateEnvoyFlags } from './proxy-app.ts';

// The threads of --concurrency start here too.
if (isMainThread) await runApp(proxyApp, { argv: [...translateEnvoyFlags(process.argv.slice(2))], env: process.env });
else await runProxyWorker();
