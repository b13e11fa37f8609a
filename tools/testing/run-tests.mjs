// `npm test [-- PATTERN…]`: every test that needs neither containers nor a cluster, and at the end what was skipped and why, and one line
// of counts. Two runs of Jest: first everything inside one process each, side by side; then the suites that start a whole mesh, one after
// another, because several meshes at once would measure each other.
// `npm run test:containers` and `npm run test:kubernetes` (--needs containers, --needs kubernetes): the specs named so, on fresh images.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const WHOLE_MESH = 'apps/e2e/';

// The kinds of specs that need more than Node, and what to do where the machine has not got it.
const KINDS = {
  containers: 'start a Docker engine with Compose v2 (`docker info`, `docker compose version`)',
  kubernetes: 'start a cluster and let KUBECONFIG or ~/.kube/config name it; MIZZEN_LOAD_IMAGES is the command that copies images into it',
};
const NEEDS_MORE = `\\.(${Object.keys(KINDS).join('|')})\\.spec\\.ts$`;

const given = process.argv.slice(2);
const kind = given.includes('--needs') ? given.splice(given.indexOf('--needs'), 2)[1] : undefined;
if (kind !== undefined && !(kind in KINDS)) throw new Error(`--needs ${kind}: choose one of ${Object.keys(KINDS).join(', ')}`);
const isGoldens = given.includes('--update-goldens');
const patterns = given.filter((argument) => !argument.startsWith('-'));
const flags = given.filter((argument) => argument.startsWith('-') && argument !== '--update-goldens');
if (isGoldens && patterns.length === 0) patterns.push('libs/translate', 'libs/injection');

const results = mkdtempSync(path.join(tmpdir(), 'mizzen-tests-'));
let child;
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child?.kill(signal));

const codes = kind === undefined ? await runOwnTests() : await runKind(kind);
const passed = summarize();
rmSync(results, { recursive: true, force: true });
process.exit(passed && codes.every((code) => code === 0) ? 0 : 1);

async function runOwnTests() {
  const first = await runJest(['--testPathIgnorePatterns', WHOLE_MESH, '/node_modules/', NEEDS_MORE], patterns);
  const meshPatterns =
    patterns.length === 0 ? [WHOLE_MESH] : patterns.filter((pattern) => pattern.startsWith('apps/e2e') || WHOLE_MESH.startsWith(pattern));
  if (meshPatterns.length === 0) return [first];
  const wanted = meshPatterns.map((pattern) => (pattern.startsWith(WHOLE_MESH) ? pattern : WHOLE_MESH));
  return [first, await runJest(['--runInBand', '--testPathIgnorePatterns', '/node_modules/', NEEDS_MORE], wanted)];
}

/** The specs of one kind, one after another, with images of the tree as it is now. */
async function runKind(name) {
  if (spawnSync('docker', ['version'], { stdio: 'ignore' }).status === 0) {
    const images = await run([path.join(root, 'tools/images/main.ts'), '--test-images'], {});
    if (images !== 0) return [images];
    const loaded = name === 'kubernetes' ? loadImages() : 0;
    if (loaded !== 0) return [loaded];
  }
  // A failed suite may leave a connection to the cluster open, which must not hold the run.
  return [await runJest(['--runInBand', '--forceExit', '--testMatch', `<rootDir>/{apps,libs,tools}/**/*.${name}.spec.ts`], patterns)];
}

/**
 * A cluster without a registry is given the images by MIZZEN_LOAD_IMAGES, a command that takes their names: `kind load docker-image`. All at
 * once, so that the layers that they share go there once.
 */
function loadImages() {
  const [command, ...args] = (process.env.MIZZEN_LOAD_IMAGES ?? '').split(' ');
  if (command === '') return 0;
  const list = spawnSync(process.execPath, [path.join(root, 'tools/images/main.ts'), '--list', '--test-images'], { encoding: 'utf8' });
  const names = list.stdout.split('\n').filter(Boolean);
  process.stdout.write(`loading ${names.length} images into the cluster\n`);
  const both = names.flatMap((image) => [image, image.replace(/:[^:]*$/, ':dev')]);
  return spawnSync(command, [...args, ...both], { stdio: 'inherit' }).status ?? 1;
}

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
  return run(args, {
    NX_DAEMON: 'false',
    NX_TUI: 'false',
    MIZZEN_TEST_RESULTS: results,
    // No registry is asked for its helper container; the tests remove what they start.
    TESTCONTAINERS_RYUK_DISABLED: 'true',
    ...(isGoldens && { UPDATE_GOLDENS: '1' }),
  });
}

function run(args, env) {
  return new Promise((resolve) => {
    child = spawn(process.execPath, args, { cwd: root, env: { ...process.env, ...env }, stdio: 'inherit' });
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

/** Adds the runs up. False where a test failed, was required and skipped, or none ran at all (a kind that the machine has not got may be skipped as a whole). */
function summarize() {
  const runs = readdirSync(results).map((file) => JSON.parse(readFileSync(path.join(results, file), 'utf8')));
  const total = (key) => runs.reduce((sum, run) => sum + run[key], 0);
  const skips = new Map();
  for (const [need, count] of runs.flatMap((run) => run.skips)) skips.set(need, (skips.get(need) ?? 0) + count);
  if (skips.size > 0) process.stdout.write('\nSkipped on this machine:\n');
  for (const [need, count] of [...skips].sort()) {
    const remedy = KINDS[need] === undefined ? '' : `: ${KINDS[need]}`;
    process.stdout.write(`  ${count} need${count === 1 ? 's' : ''} ${need}${remedy}\n`);
  }
  for (const title of runs.flatMap((run) => run.missing)) process.stdout.write(`required by MIZZEN_REQUIRE, but skipped: ${title}\n`);
  const failed = total('failed') + runs.reduce((sum, run) => sum + run.missing.length, 0);
  process.stdout.write(`\n${total('passed')} passed, ${failed} failed, ${total('skipped')} skipped\n`);
  return failed === 0 && total('passed') + (kind === undefined ? 0 : total('skipped')) > 0;
}
