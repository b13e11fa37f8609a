// `npm test [-- PATTERN…]`: every test that this machine can run, and at the end what was skipped and why, and one line of counts.
// Two runs of Jest: first everything inside one process each, side by side; then the suites that start a whole mesh, one after another,
// because several meshes at once would measure each other.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const WHOLE_MESH = 'apps/e2e/';

const given = process.argv.slice(2);
const isGoldens = given.includes('--update-goldens');
const patterns = given.filter((argument) => !argument.startsWith('-'));
const flags = given.filter((argument) => argument.startsWith('-') && argument !== '--update-goldens');
if (isGoldens && patterns.length === 0) patterns.push('libs/translate');

const results = mkdtempSync(path.join(tmpdir(), 'mizzen-tests-'));
let child;
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child?.kill(signal));

const codes = [];
codes.push(await runJest(['--testPathIgnorePatterns', WHOLE_MESH, '/node_modules/'], patterns));
const meshPatterns =
  patterns.length === 0 ? [WHOLE_MESH] : patterns.filter((pattern) => pattern.startsWith('apps/e2e') || WHOLE_MESH.startsWith(pattern));
if (meshPatterns.length > 0)
  codes.push(
    await runJest(
      ['--runInBand'],
      meshPatterns.map((pattern) => (pattern.startsWith(WHOLE_MESH) ? pattern : WHOLE_MESH)),
    ),
  );
const passed = summarize();
rmSync(results, { recursive: true, force: true });
process.exit(passed && codes.every((code) => code === 0) ? 0 : 1);

function runJest(options, wanted) {
  const args = [
    ...['--experimental-vm-modules', '--disable-warning=ExperimentalWarning'],
    path.join(root, 'node_modules/jest/bin/jest.js'),
    ...['--config', path.join(root, 'jest.config.mjs'), '--rootDir', root, '--passWithNoTests'],
    ...['--reporters', path.join(root, 'tools/testing/reporter.cjs')],
    ...(wanted.length > 0 ? ['--testPathPatterns', ...wanted] : []),
    ...options,
    ...flags,
  ];
  const env = {
    ...process.env,
    NX_DAEMON: 'false',
    NX_TUI: 'false',
    MIZZEN_TEST_RESULTS: results,
    ...(isGoldens && { UPDATE_GOLDENS: '1' }),
  };
  return new Promise((resolve) => {
    child = spawn(process.execPath, args, { cwd: root, env, stdio: 'inherit' });
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

/** Adds the runs up. False where a test failed, was required and skipped, or none ran at all. */
function summarize() {
  const runs = readdirSync(results).map((file) => JSON.parse(readFileSync(path.join(results, file), 'utf8')));
  const total = (key) => runs.reduce((sum, run) => sum + run[key], 0);
  const skips = new Map();
  for (const [need, count] of runs.flatMap((run) => run.skips)) skips.set(need, (skips.get(need) ?? 0) + count);
  if (skips.size > 0) process.stdout.write('\nSkipped on this machine:\n');
  for (const [need, count] of [...skips].sort()) process.stdout.write(`  ${count} need${count === 1 ? 's' : ''} ${need}\n`);
  for (const title of runs.flatMap((run) => run.missing)) process.stdout.write(`required by MIZZEN_REQUIRE, but skipped: ${title}\n`);
  const failed = total('failed') + runs.reduce((sum, run) => sum + run.missing.length, 0);
  process.stdout.write(`\n${total('passed')} passed, ${failed} failed, ${total('skipped')} skipped\n`);
  return failed === 0 && total('passed') > 0;
}
