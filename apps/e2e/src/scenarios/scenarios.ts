import { readdirSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { Home } from '../homes/home.ts';
import { networkingFolder } from '../workspace.ts';
import { ENTRY_SCENARIOS } from './entry.ts';
import { FAULT_SCENARIOS } from './faults.ts';
import { GRPC_SCENARIOS } from './grpc.ts';
import { OTHER_SERVICE_SCENARIOS } from './other-services.ts';
import { BASE_FILES, type Scenario, Stage } from './scenario.ts';
import { VERSION_SCENARIOS } from './versions.ts';

/** Every scenario of Bookinfo, the same in every home. */
export const SCENARIOS: readonly Scenario[] = [
  ...ENTRY_SCENARIOS,
  ...VERSION_SCENARIOS,
  ...FAULT_SCENARIOS,
  ...OTHER_SERVICE_SCENARIOS,
  ...GRPC_SCENARIOS,
];

const DEFAULT_TIMEOUT_MS = 60_000;

export interface HomeUnderTest {
  /** Names the home, and what it needs of the machine: `in compose (needs containers)`. */
  readonly title: string;
  readonly start: () => Promise<Home>;
  /** False where the machine has not what the home needs. */
  readonly isAvailable?: boolean;
  readonly startTimeoutMs?: number;
  /** How many times longer than in local processes a change may take here. Default 1. */
  readonly patience?: number;
}

/**
 * Runs every scenario in one home, one after another in one mesh. The last test counts: every scenario ran to its end here, and every file
 * of deploy/samples/bookinfo/networking was used by one.
 */
export function describeScenarios({ title, start, isAvailable = true, startTimeoutMs = 120_000, patience = 1 }: HomeUnderTest): void {
  const describeHome = isAvailable ? describe : describe.skip;
  describeHome(`Bookinfo ${title}`, () => {
    const covered = new Set<string>(BASE_FILES);
    const passed: string[] = [];
    let home: Home;
    let stage: Stage;
    let run: Promise<void> | undefined;

    beforeAll(async () => {
      home = await start();
    }, startTimeoutMs);

    afterAll(async () => {
      await home?.[Symbol.asyncDispose]();
    }, startTimeoutMs);

    afterEach(
      async () => {
        // One that took too long still ends what it started, before the next begins.
        await run?.catch(() => undefined);
        await stage?.strike();
      },
      2 * DEFAULT_TIMEOUT_MS * patience,
    );

    it.each(SCENARIOS.map((scenario) => [scenario.title, scenario] as const))(
      '%s',
      async (name, scenario) => {
        stage = new Stage(home, covered);
        run = scenario.run(stage);
        await withinMs((scenario.timeoutMs ?? DEFAULT_TIMEOUT_MS) * patience, run);
        passed.push(name);
      },
      Math.max(...SCENARIOS.map(({ timeoutMs = DEFAULT_TIMEOUT_MS }) => timeoutMs)) * patience + 1_000,
    );

    it('has run every scenario, and has one for each file of the folder', () => {
      expect(passed).toEqual(SCENARIOS.map((scenario) => scenario.title));
      const files = readdirSync(networkingFolder).map((file) => file.replace('.yaml', ''));
      expect([...covered].sort()).toEqual(files.sort());
    });
  });
}

async function withinMs(limitMs: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the scenario did not end within ${limitMs} ms`)), limitMs);
  });
  await Promise.race([work, limit]).finally(() => clearTimeout(timer));
}
