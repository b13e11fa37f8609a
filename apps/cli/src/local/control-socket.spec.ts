import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { askSupervisor, type ControlRequest, isSupervisorRunning, serveControl } from './control-socket.ts';

describe('control socket', () => {
  let folder: string;
  let path: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'mizzen-control-'));
    path = join(folder, 'mizzen.sock');
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('passes a request on and answers when it is done', async () => {
    const requests: ControlRequest[] = [];
    const control = await serveControl(path, async (request) => void requests.push(request));
    await askSupervisor(path, { command: 'stop', process: 'ca' });
    await control.close();
    expect(requests).toEqual([{ command: 'stop', process: 'ca' }]);
  });

  it('passes the reason of a failure back', async () => {
    const control = await serveControl(path, async () => {
      throw new Error('there is no process x');
    });
    await expect(askSupervisor(path, { command: 'stop', process: 'x' })).rejects.toMatchObject({
      code: 'MIZZEN_CHILD',
      message: 'there is no process x',
    });
    await control.close();
  });

  it('answers before it closes, and does not mind who left without waiting', async () => {
    const ended = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const control = await serveControl(path, async () => {
      asked.resolve();
      await ended.promise;
    });
    const impatient = connect(path).on('connect', () => impatient.write('{"command":"down"}\n'));
    await asked.promise;
    impatient.destroy();
    const answered = askSupervisor(path, { command: 'down' });
    ended.resolve();
    await answered;
    await control.close();
  });

  it('refuses a second supervisor of the same home while the first lives', async () => {
    const control = await serveControl(path, async () => undefined);
    await expect(serveControl(path, async () => undefined)).rejects.toMatchObject({ code: 'MIZZEN_STORE' });
    await control.close();
    expect(await isSupervisorRunning(path)).toBe(false);
  });

  it('takes over what a killed supervisor left behind', async () => {
    writeFileSync(path, '');
    const control = await serveControl(path, async () => undefined);
    expect(await isSupervisorRunning(path)).toBe(true);
    await control.close();
  });

  it('says that nothing runs where nobody answers', async () => {
    await expect(askSupervisor(path, { command: 'down' })).rejects.toMatchObject({ code: 'MIZZEN_NOT_RUNNING' });
  });
});
