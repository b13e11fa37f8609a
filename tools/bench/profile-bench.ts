import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type ProfileSummary, summarizeProfile } from './cpu-profile.ts';
import { preparePlace, SCENARIOS, type ScenarioName } from './scenarios.ts';

/**
 * Where our proxy spends its time under the load of one scenario (of two proxies, the busier one). The start is in it too, so the load is long.
 * What OpenSSL does is not: for V8 the process is idle then.
 */
export async function runProfileBench(options: { readonly seconds: number; readonly scenario: ScenarioName }): Promise<ProfileSummary> {
  const folder = mkdtempSync(path.join(tmpdir(), 'mizzen-bench-'));
  const scenario = SCENARIOS[options.scenario];
  try {
    const nodeFlags = ['--cpu-prof', `--cpu-prof-dir=${folder}/profiles`, '--cpu-prof-interval=500'];
    const place = { ...(await preparePlace(folder)), nodeFlags };
    const backend = await scenario.startBackend(place);
    try {
      const { port, measured } = await scenario.startSide('mizzen', { ...place, backendPort: backend.port });
      try {
        await scenario.load(port, { ...place, seconds: options.seconds, isWarmUp: true });
      } finally {
        // The profile is written at the end of the process.
        for (const process of measured) await process.stop();
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
