import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import { createMeshConfigSource } from './mesh-config-source.ts';
import { temporaryDirectory } from './temporary-directory.ts';

describe('createMeshConfigSource', () => {
  it('follows the file and keeps the last valid content', async () => {
    await using directory = await temporaryDirectory();
    const file = join(directory.path, 'mesh.yaml');
    const source = createMeshConfigSource({ file, clock: systemClock, logger: silentLogger, rescanMs: 60_000 });
    await source.start();
    try {
      expect(source.synced.value).toBe(true);
      expect(source.snapshot.value.meshConfig.trustDomain).toBe('cluster.local');

      await writeFile(file, 'trustDomain: a.example\n');
      await source.snapshot.until(({ meshConfig }) => meshConfig.trustDomain === 'a.example');

      await writeFile(file, 'trustDomain: [\n');
      const broken = await source.snapshot.until(({ diagnostics }) => diagnostics.length > 0);
      expect(broken).toMatchObject({
        meshConfig: { trustDomain: 'a.example' },
        diagnostics: [{ code: 'yaml-syntax', position: { file, line: 2 } }],
      });

      await rm(file);
      const gone = await source.snapshot.until(({ meshConfig }) => meshConfig.trustDomain === 'cluster.local');
      expect(gone.diagnostics).toEqual([]);
    } finally {
      await source.close();
    }
  });
});
