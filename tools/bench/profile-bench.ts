import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { loadHost } from './bootstrap.ts';
import { type ProfileSummary, summarizeProfile } from './cpu-profile.ts';
import { startBackend, startProxy } from './proxy-bench.ts';
import { runWrk } from './wrk.ts';

const SHAPE = { virtualHosts: 200, routesPerHost: 5, idleClusters: 0, endpointsPerCluster: 0, tls: undefined };

/** Where our proxy spends its time under the load of the HTTP/1.1 benchmark. The start is in it too, so the load is long. */
export async function runProfileBench(options: { readonly seconds: number }): Promise<ProfileSummary> {
  const folder = mkdtempSync(path.join(tmpdir(), 'mizzen-bench-'));
  try {
    const backend = await startBackend(folder);
    const flags = ['--cpu-prof', `--cpu-prof-dir=${folder}/profiles`, '--cpu-prof-interval=500'];
    try {
      const proxy = await startProxy('mizzen', folder, { ...SHAPE, backendPort: backend.port }, flags);
      try {
        await runWrk(`http://127.0.0.1:${proxy.port}/productpage`, { seconds: options.seconds, host: loadHost(SHAPE.virtualHosts) });
      } finally {
        // The profile is written at the end of the process.
        await proxy.process.stop();
      }
    } finally {
      await backend.process.stop();
    }
    return summarizeProfile(largestProfile(path.join(folder, 'profiles')));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

// A large bootstrap is read in a child, which leaves a profile too.
function largestProfile(folder: string): Parameters<typeof summarizeProfile>[0] {
  const texts = readdirSync(folder).map((file) => readFileSync(path.join(folder, file), 'utf8'));
  return JSON.parse(texts.sort((a, b) => b.length - a.length)[0] as string);
}
