// `npm run bench [-- proxy|profile|translate] [--quick]`: what the proxy costs against Envoy and where its time goes, what translation costs. Writes the figures to
// docs/reference/bench and prints them; --quick only prints. Judges nothing: the machine is too noisy for that.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import path from 'node:path';
import { root } from '../check/workspace.ts';
import { runProfileBench } from './profile-bench.ts';
import { missingForProxyBench, runProxyBench } from './proxy-bench.ts';
import { profileTable, proxyTable, translationTable } from './tables.ts';
import { runTranslationBench } from './translate-bench.ts';

const BENCHES: Readonly<Record<string, (isQuick: boolean) => Promise<readonly [result: object, table: string] | undefined>>> = {
  async proxy(isQuick) {
    const missing = missingForProxyBench();
    if (missing !== undefined) {
      say(missing);
      return undefined;
    }
    const result = await runProxyBench({ rounds: isQuick ? 2 : 7, secondsPerRound: isQuick ? 2 : 6, say });
    return [result, proxyTable(result)];
  },
  async profile(isQuick) {
    const missing = missingForProxyBench();
    if (missing !== undefined) {
      say(missing);
      return undefined;
    }
    const result = await runProfileBench({ seconds: isQuick ? 4 : 15 });
    return [result, profileTable(result)];
  },
  async translate(isQuick) {
    const result = runTranslationBench({ runs: isQuick ? 1 : 5, say });
    return [result, translationTable(result)];
  },
};

function say(line: string): void {
  process.stderr.write(`bench: ${line}\n`);
}

const isQuick = process.argv.includes('--quick');
const asked = process.argv.slice(2).filter((argument) => !argument.startsWith('-'));
const unknown = asked.find((name) => BENCHES[name] === undefined);
if (unknown !== undefined) {
  say(`there is no benchmark "${unknown}"; choose of ${Object.keys(BENCHES).join(', ')}`);
  process.exit(64);
}

for (const name of asked.length > 0 ? asked : Object.keys(BENCHES)) {
  const outcome = await BENCHES[name]?.(isQuick);
  if (outcome === undefined) {
    process.exitCode = 1;
    continue;
  }
  const [result, table] = outcome;
  process.stdout.write(`\n${table}\n`);
  if (isQuick) continue;
  const machine = { cores: cpus().length, model: cpus()[0]?.model ?? 'unknown', memoryGiB: Math.round(totalmem() / 2 ** 30) };
  const file = `docs/reference/bench/${name}.json`;
  writeFileSync(path.join(root, file), `${JSON.stringify({ machine, node: process.version, ...result }, null, 2)}\n`);
  spawnSync(process.execPath, ['node_modules/@biomejs/biome/bin/biome', 'format', '--write', file], { cwd: root });
  say(`wrote ${file}; bring docs/reference/performance.md up to date (npm run check compares them)`);
}
