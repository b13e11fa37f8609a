import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';

const MODULE = resolve(import.meta.dirname, 'exit-with-parent.mjs');

describe('exit-with-parent', () => {
  it('sends SIGTERM to the process when the other end of its standard input is gone', async () => {
    const code = `process.on('SIGTERM', () => { console.log('closing'); process.exit(7); }); console.log('up'); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--import', MODULE, '--eval', code], { stdio: ['pipe', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
      if (output === 'up\n') child.stdin.destroy();
    });
    const [exitCode] = await once(child, 'close');
    expect({ exitCode, output }).toEqual({ exitCode: 7, output: 'up\nclosing\n' });
  });

  it('does not keep a process alive that has nothing left to do', async () => {
    const child = spawn(process.execPath, ['--import', MODULE, '--eval', '0'], { stdio: ['pipe', 'ignore', 'inherit'] });
    expect((await once(child, 'exit'))[0]).toBe(0);
  });
});
