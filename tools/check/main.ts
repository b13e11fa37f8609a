/** `npm run check`: what CI demands of the tree. Each step says what it looks at; all run, and the exit code tells whether all passed. */
import { spawnSync } from 'node:child_process';
import { checkBoundaries } from './boundaries.ts';
import { checkDocuments } from './documents.ts';
import { checkReference } from './reference.ts';
import { root } from './workspace.ts';

const skipTests = process.argv.includes('--no-tests');

function run(command: string, args: readonly string[]): boolean {
  return spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status === 0;
}

function report(findings: readonly string[]): boolean {
  for (const finding of findings) process.stdout.write(`  ${finding}\n`);
  return findings.length === 0;
}

const steps: readonly (readonly [name: string, step: () => boolean])[] = [
  ['format and lint', () => run(process.execPath, ['node_modules/@biomejs/biome/bin/biome', 'check', '.'])],
  ['types', () => run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.'])],
  ['boundaries', () => report(checkBoundaries())],
  ['documents', () => report([...checkReference(), ...checkDocuments()])],
  ...(skipTests ? [] : [['tests', () => run(process.execPath, ['tools/testing/run-tests.mjs'])] as const]),
];

const failed: string[] = [];
for (const [name, step] of steps) {
  process.stdout.write(`check: ${name}\n`);
  if (!step()) failed.push(name);
}
process.stdout.write(failed.length === 0 ? 'check: all good\n' : `check: failed: ${failed.join(', ')}\n`);
process.exit(failed.length === 0 ? 0 : 1);
