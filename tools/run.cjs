// The one entry of every npm script: installs what is missing, finds a Node 24, and runs the task with it.
// Plain CommonJS without dependencies, because it runs before anything is installed and on whatever Node the machine has.
'use strict';
const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const root = path.resolve(__dirname, '..');
const NEEDED_MAJOR = 24;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** Task → what Node runs, relative to the root. `needsMessages`: the generated xDS messages must be there. */
const TASKS = {
  start: { run: ['apps/cli/bin/mizzen.cjs', 'up'], needsMessages: true },
  mizzen: { run: ['apps/cli/bin/mizzen.cjs'], needsMessages: true },
  test: { run: ['tools/testing/run-tests.mjs'], needsMessages: true },
  'test:containers': { run: ['tools/testing/run-tests.mjs', '--needs', 'containers'], needsMessages: true },
  'test:kubernetes': { run: ['tools/testing/run-tests.mjs', '--needs', 'kubernetes'], needsMessages: true },
  goldens: { run: ['tools/testing/run-tests.mjs', '--update-goldens'], needsMessages: true },
  check: { run: ['tools/check/main.ts'], needsMessages: true },
  format: { run: ['node_modules/@biomejs/biome/bin/biome', 'check', '--write', '.'], needsMessages: false },
  bench: { run: ['tools/bench/main.ts'], needsMessages: true },
  features: { run: ['tools/features/main.ts'], needsMessages: true },
  soak: { run: ['apps/e2e/src/soak.ts'], needsMessages: true },
  images: { run: ['tools/images/main.ts'], needsMessages: true },
  generate: { run: ['tools/generate/protos.cjs'], needsMessages: false },
};

main().catch((error) => {
  process.stderr.write(`mizzen: ${error.message}\n`);
  process.exit(1);
});

async function main() {
  const [name, ...args] = process.argv.slice(2);
  const task = TASKS[name];
  if (!task) throw new Error(`there is no task "${name}"; choose one of ${Object.keys(TASKS).join(', ')}`);
  await install();
  const node = findNode();
  // `mizzen up` then ends with this process, even when it is killed in a way that no signal tells of.
  const env = {
    ...process.env,
    MIZZEN_EXIT_WITH_PARENT: '1',
    PATH: [path.dirname(node), path.join(root, 'node_modules/.bin'), process.env.PATH].join(path.delimiter),
  };
  if (task.needsMessages) {
    const generated = spawnSync(node, [path.join(root, 'tools/generate/protos.cjs'), '--quiet'], {
      cwd: root,
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    if (generated.status !== 0) throw new Error('the xDS messages could not be generated; see above');
  }
  runUntilEnd(node, [...task.run.slice(0, 1).map((file) => path.join(root, file)), ...task.run.slice(1), ...args], env);
}

// --- installation ---

async function install() {
  if (isInstalled()) return;
  const unlock = await lock();
  try {
    if (isInstalled()) return;
    const { command, prefix } = npmCommand();
    const env = { ...process.env, NODE_ENV: '' };
    // What the caller's npm was told (omit=dev, a prefix, a dry run) must not shape this install.
    for (const key of Object.keys(env))
      if (
        /^npm_config_(omit|include|production|only|dev|dry_run|prefix|global|location|workspace|workspaces|ignore_scripts|package_lock)/i.test(
          key,
        )
      )
        delete env[key];
    const args = [...prefix, 'ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'];
    const status = await showingTime('installing dependencies, half a minute to a minute the first time', () =>
      exitCodeOf(spawn(command, args, { cwd: root, env, stdio: ['ignore', 'ignore', 'inherit'] })),
    );
    if (status !== 0) throw new Error('npm ci failed; see above. Check the network and the registry, then run the command again');
  } finally {
    unlock();
  }
}

/** Says what is going on while `work` does: a line that counts the seconds in a terminal, elsewhere one line. */
async function showingTime(what, work) {
  const startedMs = Date.now();
  const line = () => `mizzen: ${what} (${Math.round((Date.now() - startedMs) / 1000)} s)`;
  if (!process.stderr.isTTY) {
    process.stderr.write(`mizzen: ${what}\n`);
    return work();
  }
  process.stderr.write(line());
  const timer = setInterval(() => process.stderr.write(`\r${line()}`), 1000);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    process.stderr.write(`\r${line()}\n`);
  }
}

/** The exit code of an npm that a signal to this process ends too, so that no second one works on the same node_modules. */
function exitCodeOf(child) {
  let isInterrupted = false;
  const stop = (signal) => {
    isInterrupted = true;
    child.kill(signal);
  };
  for (const signal of SIGNALS) process.on(signal, stop);
  return new Promise((resolve, reject) => {
    child.on('error', (error) => reject(new Error(`cannot run npm: ${error.message}`)));
    child.on('exit', (code) => {
      for (const signal of SIGNALS) process.off(signal, stop);
      if (isInterrupted) reject(new Error('interrupted while it installed; the next time it installs again'));
      else resolve(code);
    });
  });
}

/** Whether node_modules holds what package-lock.json says, optional packages for other platforms aside. */
function isInstalled() {
  let wanted;
  let present;
  try {
    wanted = JSON.parse(fs.readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages;
    present = JSON.parse(fs.readFileSync(path.join(root, 'node_modules/.package-lock.json'), 'utf8')).packages;
  } catch {
    return false;
  }
  return Object.entries(wanted).every(([where, entry]) => {
    if (!where.startsWith('node_modules/') && !where.includes('/node_modules/')) return true;
    const installed = present[where];
    if (!installed) return entry.optional === true && !isMadeForThisMachine(entry);
    return installed.version === entry.version && Boolean(installed.link) === Boolean(entry.link);
  });
}

// An optional package that names no machine is what one for another machine needs (@emnapi/core below a binding for wasm32): npm leaves it out too.
function isMadeForThisMachine({ os, cpu, libc }) {
  const fits = (list, value) => !list || list.includes(value);
  return Boolean(os || cpu) && fits(os, process.platform) && fits(cpu, process.arch) && (!libc || libc.includes('glibc'));
}

function npmCommand() {
  const script = process.env.npm_execpath;
  if (script && /\.c?js$/.test(script)) return { command: process.env.npm_node_execpath || process.execPath, prefix: [script] };
  return { command: 'npm', prefix: [] };
}

/** A lock outside node_modules, because npm ci empties that. Two first starts at once: the second waits for the first. */
async function lock() {
  const file = path.join(root, '.mizzen', 'install.lock');
  fs.mkdirSync(path.dirname(file), { recursive: true });
  for (;;) {
    try {
      fs.writeFileSync(file, String(process.pid), { flag: 'wx' });
      return () => fs.rmSync(file, { force: true });
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (!isAlive(Number(readOr(file, '0')))) fs.rmSync(file, { force: true });
    else await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function isAlive(pid) {
  if (!pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function readOr(file, fallback) {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return fallback;
  }
}

// --- the Node to run with ---

function findNode() {
  const carried = path.join(root, `node_modules/node-linux-${process.arch}/bin/node`);
  if (process.platform === 'linux' && spawnSync(carried, ['--version']).status === 0) return carried;
  if (Number(process.versions.node.split('.')[0]) >= NEEDED_MAJOR) return process.execPath;
  throw new Error(
    `Node ${process.versions.node} is too old and node_modules holds no Node ${NEEDED_MAJOR} for ${process.platform} ${process.arch}; install Node ${NEEDED_MAJOR} or newer and run the command again`,
  );
}

// --- running ---

function runUntilEnd(node, args, env) {
  const child = spawn(node, ['--disable-warning=ExperimentalWarning', ...args], { cwd: process.cwd(), env, stdio: 'inherit' });
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal));
  // npm may be killed in a way that no signal tells of; what it started must not outlive it.
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) child.kill('SIGTERM');
  }, 500).unref();
  child.on('error', (error) => {
    process.stderr.write(`mizzen: cannot start ${node}: ${error.message}\n`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => {
    process.exit(signal ? 128 + (require('node:os').constants.signals[signal] || 0) : code);
  });
}
