import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { formatDiagnostic } from '@mizzen/core';
import { parseResource } from './parse-resource.ts';
import { parseYaml } from './yaml.ts';

const SAMPLES = new URL('../../../deploy/samples/', import.meta.url);

const files = readdirSync(SAMPLES, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.yaml'))
  .sort();

describe('deploy/samples', () => {
  it('has samples', () => {
    expect(files.length).toBeGreaterThan(0);
  });

  it.each(files)('%s is valid', (name) => {
    const { documents, diagnostics } = parseYaml(readFileSync(new URL(name, SAMPLES), 'utf8'), name);
    const all = [...diagnostics, ...documents.flatMap((document) => parseResource(document).diagnostics)];
    expect(all.filter(({ severity }) => severity !== 'info').map(formatDiagnostic)).toEqual([]);
  });
});
