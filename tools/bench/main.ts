// `npm run bench [-- proxy|profile|translate|SCENARIO …] [--quick]`: what the proxy costs against Envoy and where its time goes, what
// translation costs; `profile SCENARIO` profiles the load of that one, not HTTP/1.1's. Writes the figures to docs/reference/bench and prints
// them; --quick, or with a scenario, only prints. Judges nothing: the machine is too noisy for that.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import path from 'node:path';
import { root } from '../check/workspace.ts';
import { runProfileBench } from './profile-bench.ts';
import { missingForProxyBench, runProxyBench } from './proxy-bench.ts';
import { SCENARIOS, type ScenarioName } from './scenarios.ts';
import { profileTable, proxyTable, translationTable } from './tables.ts';
import { runTranslationBench } from './translate-bench.ts';

const BENCHES: Readonly<Record<string, (isQuick: boolean) => Promise<readonly [result: object, table: string] | undefined>>> = {
  async proxy(isQuick) {
    const missing = missingForProxyBench();
    if (missing !== undefined) {
      say(missing);
      return undefined;
    }
    const length = isQuick ? { rounds: 2, secondsPerRound: 2 } : { rounds: 7, secondsPerRound: 6 };
    const result = await runProxyBench({ ...length, ...(scenarios.length > 0 && { only: scenarios }), say });
    return [result, proxyTable(result)];
  },
  async profile(isQuick) {
    const missing = missingForProxyBench();
    if (missing !== undefined) {
      say(missing);
      return undefined;
    }
    const result = await runProfileBench({ seconds: isQuick ? 4 : 15, scenario: scenarios[0] ?? 'http1' });
    return [result, profileTable(result)];
  },
  async translate(isQuick) {
    const result = runTranslationBench({ runs: isQuick ? 1 : 5, say });
    return [result, translationTable(result)];
  },
};

function isScenario(name: string): name is ScenarioName {
  return Object.hasOwn(SCENARIOS, name);
}

function say(line: string): void {
  process.stderr.write(`bench: ${line}\n`);
}

const isQuick = process.argv.includes('--quick');
const asked = process.argv.slice(2).filter((argument) => !argument.startsWith('-'));
const scenarios = asked.filter(isScenario);
const unknown = asked.find((name) => BENCHES[name] === undefined && !isScenario(name));
if (unknown !== undefined) {
  say(`there is no benchmark "${unknown}"; choose of ${[...Object.keys(BENCHES), ...Object.keys(SCENARIOS)].join(', ')}`);
  process.exit(64);
}
const isWhole = !isQuick && scenarios.length === 0;
const benches = Object.keys(BENCHES).filter(
  (name) => asked.length === 0 || asked.includes(name) || (name === 'proxy' && scenarios.length > 0 && !asked.includes('profile')),
);

for (const name of benches) {
  const outcome = await BENCHES[name]?.(isQuick);
  if (outcome === undefined) {
    process.exitCode = 1;
    continue;
  }
  const [result, table] = outcome;
  process.stdout.write(`\n${table}\n`);
  if (!isWhole) continue;
  const machine = { cores: cpus().length, model: cpus()[0]?.model ?? 'unknown', memoryGiB: Math.round(totalmem() / 2 ** 30) };
  const file = `docs/reference/bench/${name}.json`;
  writeFileSync(path.join(root, file), `${JSON.stringify({ machine, node: process.version, ...result }, null, 2)}\n`);
  spawnSync(process.execPath, ['node_modules/@biomejs/biome/bin/biome', 'format', '--write', file], { cwd: root });
  say(`wrote ${file}; bring docs/reference/performance.md up to date (npm run check compares them)`);
}
