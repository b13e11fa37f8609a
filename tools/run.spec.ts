import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';

const NPM = `const fs = require('node:fs');
fs.appendFileSync('npm.log', process.argv.slice(2).join(' ') + '\\n');
if (process.env.NPM_HANGS) { process.on('SIGTERM', () => { fs.appendFileSync('npm.log', 'ended\\n'); process.exit(1); }); process.stderr.write('npm works\\n'); setInterval(() => {}, 1000); }
else if (process.env.NPM_FAILS) process.exit(1);
else { fs.mkdirSync('node_modules', { recursive: true }); fs.copyFileSync('package-lock.json', 'node_modules/.package-lock.json'); }
`;

const forThisMachine = { version: '1.0.0', optional: true, os: [process.platform], cpu: [process.arch] };
const forAnother = { version: '1.0.0', optional: true, cpu: ['wasm32'] };

describe('the entry of the npm scripts, in a clone with an npm that only writes down its call', () => {
  let clone: string;

  beforeEach(() => {
    clone = mkdtempSync(join(tmpdir(), 'mizzen-run-'));
    write('tools/run.cjs', readFileSync(join(import.meta.dirname, 'run.cjs'), 'utf8'));
    write('tools/generate/protos.cjs', "process.stdout.write('task ran\\n');");
    write('npm.cjs', NPM);
    lockFile('package-lock.json', { 'node_modules/a': { version: '1.0.0' } });
  });

  afterEach(() => rmSync(clone, { recursive: true, force: true }));

  function write(file: string, text: string): void {
    mkdirSync(dirname(join(clone, file)), { recursive: true });
    writeFileSync(join(clone, file), text);
  }

  function lockFile(file: string, packages: Readonly<Record<string, unknown>>): void {
    write(file, JSON.stringify({ packages }));
  }

  function start(env: Readonly<Record<string, string>>) {
    const child = spawn(process.execPath, [join(clone, 'tools/run.cjs'), 'generate'], {
      cwd: clone,
      env: { PATH: process.env['PATH'], npm_execpath: join(clone, 'npm.cjs'), ...env },
    });
    const outcome = { stdout: '', stderr: '' };
    child.stdout.on('data', (chunk) => {
      outcome.stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      outcome.stderr += chunk;
    });
    const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((done) =>
      child.on('close', (code) => done({ code, ...outcome })),
    );
    return { child, ended };
  }

  const run = (env: Readonly<Record<string, string>> = {}) => start(env).ended;
  const npmCalls = (): string[] =>
    existsSync(join(clone, 'npm.log')) ? readFileSync(join(clone, 'npm.log'), 'utf8').trim().split('\n') : [];

  it('installs once, says so, and the second time runs at once', async () => {
    expect(await run()).toMatchObject({ code: 0, stdout: 'task ran\n', stderr: expect.stringContaining('installing dependencies') });
    expect(await run()).toEqual({ code: 0, stdout: 'task ran\n', stderr: '' });
    expect(npmCalls()).toEqual([expect.stringMatching(/^ci --include=dev --include=optional /)]);
  });

  it('does not miss what npm leaves out on this machine', async () => {
    lockFile('package-lock.json', {
      'node_modules/a': { version: '1.0.0' },
      'node_modules/wasm': forAnother,
      'node_modules/wasm/node_modules/only-for-wasm': { version: '1.0.0', optional: true },
    });
    lockFile('node_modules/.package-lock.json', { 'node_modules/a': { version: '1.0.0' } });
    expect(await run()).toMatchObject({ code: 0, stderr: '' });
    expect(npmCalls()).toEqual([]);
  });

  it.each([
    ['a package is missing', {}],
    ['a version is another', { 'node_modules/a': { version: '2.0.0' }, 'node_modules/native': forThisMachine }],
    ['an optional package for this machine is missing', { 'node_modules/a': { version: '1.0.0' } }],
  ])('installs where %s', async (_, present) => {
    lockFile('package-lock.json', { 'node_modules/a': { version: '1.0.0' }, 'node_modules/native': forThisMachine });
    lockFile('node_modules/.package-lock.json', present);
    expect(await run()).toMatchObject({ code: 0 });
    expect(npmCalls()).toHaveLength(1);
  });

  it('ends with a sentence and without the task where npm fails', async () => {
    const outcome = await run({ NPM_FAILS: '1' });
    expect(outcome).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('mizzen: npm ci failed') });
  });

  it('takes npm along when it is ended', async () => {
    const { child, ended } = start({ NPM_HANGS: '1' });
    child.stderr.on('data', (chunk) => {
      if (String(chunk).includes('npm works')) child.kill('SIGTERM');
    });
    expect(await ended).toMatchObject({ code: 1, stderr: expect.stringContaining('mizzen: interrupted') });
    expect(npmCalls().at(-1)).toBe('ended');
    expect(existsSync(join(clone, '.mizzen/install.lock'))).toBe(false);
  });
});
