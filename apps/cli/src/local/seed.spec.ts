import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type Home, homeAt, makeHome } from '../home.ts';
import { checkDirectory } from './configuration-report.ts';
import { seedHome } from './seed.ts';

const workspace = resolve(import.meta.dirname, '../../../..');

describe('seedHome', () => {
  let home: Home;

  beforeEach(() => {
    home = homeAt(mkdtempSync(join(tmpdir(), 'mizzen-seed-')));
    makeHome(home);
  });

  afterEach(() => rmSync(home.root, { recursive: true, force: true }));

  it('writes a configuration in which nothing is wrong', () => {
    expect(seedHome(home, { workspace, withBookinfo: true })).toEqual(['mesh', 'bookinfo']);
    expect(readFileSync(home.meshConfig, 'utf8')).toContain('%DOWNSTREAM_PEER_URI_SAN%');
    expect(existsSync(join(home.config, 'bookinfo', 'reviews.yaml'))).toBe(true);
    expect(checkDirectory(home.config)).toEqual([]);
  });

  it('does not bring back what was deleted, nor overwrite what was changed', () => {
    const reviews = join(home.config, 'bookinfo', 'reviews.yaml');
    seedHome(home, { workspace, withBookinfo: true });
    rmSync(reviews);
    writeFileSync(home.meshConfig, 'accessLogFile: ""\n');
    expect(seedHome(home, { workspace, withBookinfo: true })).toEqual([]);
    expect(existsSync(reviews)).toBe(false);
    expect(readFileSync(home.meshConfig, 'utf8')).toBe('accessLogFile: ""\n');
  });

  it('adds the sample to a home that was started without it', () => {
    expect(seedHome(home, { workspace, withBookinfo: false })).toEqual(['mesh']);
    expect(existsSync(join(home.config, 'bookinfo'))).toBe(false);
    expect(seedHome(home, { workspace, withBookinfo: true })).toEqual(['bookinfo']);
  });
});

describe('checkDirectory', () => {
  it('names file and line of what is broken, and goes on with the other files', () => {
    const directory = mkdtempSync(join(tmpdir(), 'mizzen-check-'));
    writeFileSync(join(directory, 'a.yaml'), 'kind: [\n');
    writeFileSync(
      join(directory, 'b.yaml'),
      'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: x\nspec:\n  hostz: [a]\n',
    );
    const found = checkDirectory(directory).map(({ position }) => `${position?.file.slice(directory.length)}:${position?.line}`);
    rmSync(directory, { recursive: true });
    expect(found[0]).toMatch(/^\/a\.yaml:[12]$/);
    expect(found).toContain('/b.yaml:6');
  });
});
