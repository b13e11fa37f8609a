import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { systemClock, Watchable } from '@mizzen/core';
import { isProcessAlive } from '../launch/alive.ts';
import { ManagedProcess, type ProcessState } from './managed-process.ts';

const READY = `console.log(JSON.stringify({ ready: true, app: 'x', ports: { main: 1234 } }));`;
const STAY = 'setInterval(() => {}, 1000);';
const EXIT_WITH_PARENT = resolve(import.meta.dirname, 'exit-with-parent.mjs');

describe('ManagedProcess', () => {
  let logs: string;
  let reports: string[];
  let running: ManagedProcess[];

  beforeEach(() => {
    logs = mkdtempSync(join(tmpdir(), 'mizzen-process-'));
    reports = [];
    running = [];
  });

  afterEach(async () => {
    await Promise.all(running.map((process) => process.stop({ isForced: true })));
    rmSync(logs, { recursive: true, force: true });
  });

  function manage(code: string | (() => string)): { process: ManagedProcess; state: Watchable<ProcessState> } {
    const state = new Watchable<ProcessState>('stopped');
    const process: ManagedProcess = new ManagedProcess(
      {
        name: 'x',
        title: 'x',
        stopDeadlineMs: 5000,
        launch: async () => ({
          command: globalThis.process.execPath,
          arguments: ['--import', EXIT_WITH_PARENT, '--eval', typeof code === 'string' ? code : code()],
          env: {},
        }),
      },
      { logs, clock: systemClock, random: () => 0, report: (line) => reports.push(line), onChange: () => state.set(process.status.state) },
    );
    running.push(process);
    return { process, state };
  }

  it('is running once the process has said so, with its ports, and its output is in the log', async () => {
    const { process } = manage(`console.error('a message'); ${READY} ${STAY}`);
    await process.start();
    expect(process.status).toMatchObject({ state: 'running', ports: { main: 1234 }, restarts: 0 });
    await process.stop();
    expect(process.status.state).toBe('stopped');
    expect(readFileSync(process.logFile, 'utf8')).toContain('a message');
  });

  it('leaves a process down that somebody asked to end, and says how to start it again', async () => {
    const { process, state } = manage(`process.on('SIGTERM', () => process.exit(0)); ${READY} ${STAY}`);
    await process.start();
    globalThis.process.kill(process.status.pid as number, 'SIGTERM');
    await state.until((value) => value === 'stopped');
    expect(process.status.restarts).toBe(0);
    expect(reports.join()).toContain('mizzen start x');
  });

  it('tells the last words of a process that ends before it is ready', async () => {
    const { process } = manage(`console.error('mizzen ca: port 15013 is in use'); process.exit(1);`);
    await expect(process.start()).rejects.toMatchObject({
      code: 'MIZZEN_CHILD',
      message: 'x ended with code 1: mizzen ca: port 15013 is in use',
    });
    expect(process.status.state).toBe('stopped');
  });

  it('starts a process again that died, and says so', async () => {
    const { process, state } = manage(`${READY} ${STAY}`);
    await process.start();
    const firstPid = process.status.pid ?? 0;
    globalThis.process.kill(firstPid, 'SIGKILL');
    await state.until((value) => value === 'waiting to restart');
    await state.until((value) => value === 'running');
    expect(process.status.restarts).toBe(1);
    expect(process.status.pid).not.toBe(firstPid);
    expect(reports[0]).toContain('x was ended by SIGKILL; starting it again in 0.3 s');
  });

  it('tries again when the restart fails', async () => {
    let starts = 0;
    const { process, state } = manage(() => (++starts === 2 ? 'process.exit(3)' : `${READY} ${STAY}`));
    await process.start();
    globalThis.process.kill(process.status.pid ?? 0, 'SIGKILL');
    await state.until((value) => value === 'running' && process.status.restarts === 2);
    expect(reports.some((line) => line.includes('ended with code 3'))).toBe(true);
  });

  it('does not start again what was stopped, even while it waits to', async () => {
    const { process, state } = manage(`${READY} ${STAY}`);
    await process.start();
    globalThis.process.kill(process.status.pid ?? 0, 'SIGKILL');
    await state.until((value) => value === 'waiting to restart');
    await process.stop();
    expect(process.status).toMatchObject({ state: 'stopped', restarts: 0 });
    await process.start();
    expect(process.status.state).toBe('running');
  });

  it('does not start what was stopped while its start was being prepared', async () => {
    const { process } = manage(`${READY} ${STAY}`);
    const started = process.start();
    await process.stop();
    await expect(started).rejects.toThrow('x was stopped before it was started');
    expect(process.status).toMatchObject({ state: 'stopped' });
    expect(existsSync(process.logFile)).toBe(false);
  });

  it('kills what does not heed SIGTERM', async () => {
    const { process } = manage(`process.on('SIGTERM', () => {}); ${READY} ${STAY}`);
    Object.assign(process.definition, { stopDeadlineMs: 50 });
    await process.start();
    const pid = process.status.pid ?? 0;
    await process.stop();
    expect(isProcessAlive(pid)).toBe(false);
    expect(reports[0]).toContain('did not stop within');
  });

  it('keeps the log private', async () => {
    const { process } = manage(`${READY} ${STAY}`);
    await process.start();
    expect(statSync(process.logFile).mode & 0o077).toBe(0);
  });
});
