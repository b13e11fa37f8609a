import { runIptables } from '@mizzen/agent/capture';

process.exitCode = await runIptables(process.argv.slice(2));
