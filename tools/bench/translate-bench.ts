import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { median, rounded } from './statistics.ts';

export interface TranslationCost {
  readonly cpuMs: number;
  /** Encoded resources that the client has to be sent. */
  readonly bytes: number;
  readonly resources: number;
}

export interface TranslationResult {
  readonly services: number;
  readonly endpointsPerService: number;
  readonly servicesWithRules: number;
  readonly snapshot: { readonly cpuMs: number };
  readonly coldClient: TranslationCost;
  readonly furtherClient: TranslationCost;
  readonly changedVirtualService: TranslationCost;
}

/** Medians over processes that each do it once: in one process the second run would find the code compiled. */
export function runTranslationBench(options: { readonly runs: number; readonly say: (line: string) => void }): TranslationResult {
  const runs: TranslationResult[] = [];
  for (let run = 0; run < options.runs; run++) {
    const child = spawnSync(process.execPath, [...process.execArgv, path.join(import.meta.dirname, 'translate-once.ts')], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (child.status !== 0) throw new Error('the translation benchmark failed; see above');
    runs.push(JSON.parse(child.stdout));
    options.say(`translation, run ${run + 1} of ${options.runs}: first client ${runs.at(-1)?.coldClient.cpuMs.toFixed(0)} ms of CPU`);
  }
  const first = runs[0] as TranslationResult;
  const medianMs = (cost: (run: TranslationResult) => { readonly cpuMs: number }, digits = 0): number =>
    rounded(median(runs.map((run) => cost(run).cpuMs)), digits);
  return {
    ...first,
    snapshot: { cpuMs: medianMs((run) => run.snapshot) },
    coldClient: { ...first.coldClient, cpuMs: medianMs((run) => run.coldClient) },
    furtherClient: { ...first.furtherClient, cpuMs: medianMs((run) => run.furtherClient, 2) },
    changedVirtualService: { ...first.changedVirtualService, cpuMs: medianMs((run) => run.changedVirtualService) },
  };
}
