import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { homeAt, makeHome } from './home.ts';

describe('home', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'mizzen-home-'));
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('keeps sockets in run/, which only its owner may enter', () => {
    const home = homeAt(folder);
    makeHome(home);
    expect(home.controlSocket).toBe(join(folder, 'run', 'mizzen.sock'));
    expect(statSync(home.run).mode & 0o777).toBe(0o700);
  });

  it('says so where it cannot be made', () => {
    expect(() => makeHome(homeAt(import.meta.filename))).toThrow(/cannot be the home: .*; choose another with --home/);
  });

  it('has its sockets elsewhere where their paths would be too long for the system', () => {
    const home = homeAt(join(folder, 'a'.repeat(90)));
    expect(Buffer.byteLength(home.controlSocket)).toBeLessThan(104);
    expect(home.sockets).not.toBe(homeAt(join(folder, 'b'.repeat(90))).sockets);
  });
});
