import { mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '@mizzen/core';
import { AccessLogWriter } from './access-log-writer.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mizzen-log-'));
});
afterEach(() => rm(folder, { recursive: true }));

describe('access log writer', () => {
  it('writes every line in order', async () => {
    const path = join(folder, 'a.log');
    const writer = new AccessLogWriter({ path, clock: systemClock });
    for (let index = 0; index < 1000; index++) writer.write(`${index}\n`);
    await writer.close();
    expect(await readFile(path, 'utf8')).toBe(Array.from({ length: 1000 }, (_, index) => `${index}\n`).join(''));
    expect(writer.droppedLines).toBe(0);
  });

  it('drops and counts what is over the bound, and what cannot be written', async () => {
    const full = new AccessLogWriter({ path: join(folder, 'b.log'), clock: systemClock, maxBufferedBytes: 10 });
    for (let index = 0; index < 5; index++) full.write('1234\n');
    expect(full.droppedLines).toBe(3);
    await full.close();
    const nowhere = new AccessLogWriter({ path: join(folder, 'no', 'such', 'folder'), clock: systemClock });
    nowhere.write('x\n');
    await nowhere.flushed();
    expect(nowhere.droppedLines).toBe(1);
    await nowhere.close();
  });

  it('opens its path anew when asked, for log rotation', async () => {
    const path = join(folder, 'c.log');
    const writer = new AccessLogWriter({ path, clock: systemClock });
    writer.write('old\n');
    await writer.flushed();
    await rename(path, `${path}.1`);
    writer.reopen();
    writer.write('new\n');
    await writer.close();
    expect([await readFile(`${path}.1`, 'utf8'), await readFile(path, 'utf8')]).toEqual(['old\n', 'new\n']);
  });
});
