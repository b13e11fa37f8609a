import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { parseMeshConfig, parseResource, type Resource } from '@mizzen/mesh-api';
import { parseAllDocuments, stringify } from 'yaml';
import { type InjectionRequest, injectPod } from './inject-pod.ts';
import { parseInjectorConfig } from './injector-config.ts';
import type { Pod } from './pod.ts';
import { applyPatch } from './testing/apply-patch.ts';

const TESTDATA = fileURLToPath(new URL('../testdata/', import.meta.url));
const isUpdate = process.env['UPDATE_GOLDENS'] === '1';

interface Header {
  readonly namespace: string;
  readonly clusterHasNativeSidecars: boolean;
  readonly values?: unknown;
  readonly templates?: unknown;
  readonly mesh?: unknown;
  readonly proxyConfigs?: readonly unknown[];
}

function readCase(file: string): InjectionRequest {
  const [header, pod] = parseAllDocuments(readFileSync(join(TESTDATA, file), 'utf8')).map((document) => document.toJS()) as [Header, Pod];
  const { config, diagnostics } = parseInjectorConfig({
    values: stringify(header.values ?? {}),
    templates: stringify(header.templates ?? {}),
  });
  const { meshConfig } = parseMeshConfig(stringify(header.mesh ?? {}), file);
  if (!config || !meshConfig) throw new Error(`${file}: ${JSON.stringify(diagnostics)}`);
  const proxyConfigs = (header.proxyConfigs ?? []).map((value) => {
    const { resource } = parseResource({ value, file, line: 1, lineOf: () => 1 });
    if (!resource) throw new Error(`${file}: a ProxyConfig is invalid`);
    return resource as Resource<'ProxyConfig'>;
  });
  const { namespace, clusterHasNativeSidecars } = header;
  return { pod, namespace, config, meshConfig, proxyConfigs, clusterHasNativeSidecars };
}

const inputs = readdirSync(TESTDATA).filter((file) => file.endsWith('.in.yaml'));

describe('injection', () => {
  it.each(inputs)('gives what the golden file of %s says', (file) => {
    const injection = injectPod(readCase(file));
    if (injection.outcome !== 'injected') throw new Error(`${file}: ${JSON.stringify(injection)}`);
    const { pod, warnings } = injection;
    const golden = join(TESTDATA, file.replace('.in.yaml', '.out.yaml'));
    const text = stringify({ warnings, pod }, { lineWidth: 0, aliasDuplicateObjects: false });
    if (isUpdate) writeFileSync(golden, text);
    expect(text).toBe(readFileSync(golden, 'utf8'));
  });

  it.each(inputs)('describes %s by a patch that makes the same of the pod', (file) => {
    const request = readCase(file);
    const injection = injectPod(request);
    if (injection.outcome !== 'injected') throw new Error(file);
    expect(applyPatch(request.pod, injection.patch)).toEqual(JSON.parse(JSON.stringify(injection.pod)));
  });

  it.each(inputs)('leaves %s as it is once it is injected', (file) => {
    const request = readCase(file);
    const injection = injectPod(request);
    if (injection.outcome !== 'injected') throw new Error(file);
    expect(injectPod({ ...request, pod: injection.pod })).toMatchObject({ outcome: 'skipped' });
  });

  it('has a golden file for each case and no other', () => {
    const outputs = readdirSync(TESTDATA).filter((file) => file.endsWith('.out.yaml'));
    expect(outputs.map((file) => file.replace('.out.', '.in.'))).toEqual(inputs);
  });
});
