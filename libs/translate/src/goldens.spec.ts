import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { parseYaml } from '@mizzen/mesh-api';
import { stringify } from 'yaml';
import { renderView, selectOutput } from './testing/render.ts';
import { OUTPUT_TYPES, type OutputType, readCase, type TranslationCase, viewOf } from './testing/translation-case.ts';

const TESTDATA = fileURLToPath(new URL('../testdata/', import.meta.url));
const SAMPLES_OUT = join(TESTDATA, 'samples');
const SAMPLES = fileURLToPath(new URL('../../../deploy/samples/bookinfo/', import.meta.url));
const isUpdate = process.env['UPDATE_GOLDENS'] === '1';

/** Golden files that some case accounts for; whatever else lies in the folder is an orphan. */
const accounted = new Set<string>();

function yamlFiles(folder: string): string[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.yaml'))
    .sort();
}

function compare(translationCase: TranslationCase, prefix: string): void {
  const { header } = translationCase;
  for (const node of Object.keys(header.nodes)) {
    const rendered = renderView(viewOf(translationCase, node));
    for (const type of header.outputs ?? OUTPUT_TYPES) {
      const output = selectOutput(type, rendered, header.only);
      const file = `${prefix}.${node}.${type}.yaml`;
      accounted.add(file);
      const text = stringify(output, { lineWidth: 0, aliasDuplicateObjects: false });
      if (isUpdate) writeFileSync(file, text);
      expect({ file: basename(file), exists: existsSync(file) }).toEqual({ file: basename(file), exists: true });
      expect(text).toBe(readFileSync(file, 'utf8'));
    }
  }
}

describe('translation', () => {
  const cases = yamlFiles(TESTDATA).filter((file) => file.endsWith('.in.yaml'));

  it.each(cases)('gives what the golden files of %s say', (file) => {
    const path = join(TESTDATA, file);
    compare(readCase(readFileSync(path, 'utf8'), file), path.slice(0, -'.in.yaml'.length));
  });
});

describe('the Bookinfo networking samples', () => {
  const networking = join(SAMPLES, 'networking');
  const services = yamlFiles(join(SAMPLES, 'services')).map((file) => ({
    file,
    text: readFileSync(join(SAMPLES, 'services', file), 'utf8'),
  }));
  const base = readFileSync(join(SAMPLES_OUT, 'base.in.yaml'), 'utf8');
  accounted.add(join(SAMPLES_OUT, 'base.in.yaml'));

  it.each(yamlFiles(networking))('gives what the golden files of %s say', (file) => {
    mkdirSync(SAMPLES_OUT, { recursive: true });
    const sample = { file, text: readFileSync(join(networking, file), 'utf8') };
    const needed = neededBy(file).map((name) => ({ file: name, text: readFileSync(join(networking, name), 'utf8') }));
    const withSamples = readCase(base, 'base.in.yaml', [...services, ...needed, sample]);
    compare({ ...withSamples, header: { ...withSamples.header, ...aboutOf(sample) } }, join(SAMPLES_OUT, file.slice(0, -'.yaml'.length)));
  });
});

/** Subsets are in files of their own. */
function neededBy(file: string): string[] {
  return file.startsWith('virtual-service-') || file.startsWith('fault-') ? ['destination-rule-all.yaml'] : [];
}

/** Only what the sample itself is about, seen from where it shows: gateways from the gateway, everything else from productpage. */
function aboutOf(sample: { file: string; text: string }): {
  nodes: TranslationCase['header']['nodes'];
  outputs: readonly OutputType[];
  only?: string;
} {
  const specs = parseYaml(sample.text, sample.file).documents.map(
    ({ value }) => value as { kind: string; spec: { hosts?: string[]; host?: string } },
  );
  const nodes = {
    productpage: { metadata: { HTTP_PROXY_PORT: '34567' } },
    gateway: { type: 'router', namespace: 'istio-system', labels: { istio: 'ingressgateway' }, metadata: { PORT_MAP: { '80': 8080 } } },
  } as const;
  if (specs.some(({ kind }) => kind === 'Gateway')) return { nodes: { gateway: nodes.gateway }, outputs: ['listeners', 'routes'] };
  const names = specs.flatMap(({ spec }) => [...(spec.hosts ?? []), ...(spec.host ? [spec.host] : [])]);
  const isRule = specs.every(({ kind }) => kind === 'DestinationRule');
  const outputs = isRule
    ? (['clusters'] as const)
    : specs.some(({ kind }) => kind === 'DestinationRule')
      ? (['routes', 'clusters'] as const)
      : (['routes'] as const);
  if (isRule) return { nodes: { productpage: nodes.productpage }, outputs, only: '\\|v2\\|' };
  return {
    nodes: { productpage: nodes.productpage },
    outputs,
    only: `(^|\\|)(${[...new Set(names)].map((name) => name.replaceAll('.', '\\.')).join('|')})[.:]|(${names.join('|')})$`,
  };
}

describe('the folder of golden files', () => {
  it('has no file that belongs to no case', () => {
    const inputs = new Set(yamlFiles(TESTDATA).filter((file) => file.endsWith('.in.yaml')));
    const lying = [
      ...yamlFiles(TESTDATA)
        .filter((file) => !inputs.has(file))
        .map((file) => join(TESTDATA, file)),
      ...yamlFiles(SAMPLES_OUT).map((file) => join(SAMPLES_OUT, file)),
    ];
    const orphans = lying.filter((file) => !accounted.has(file));
    if (isUpdate) for (const orphan of orphans) rmSync(orphan);
    expect(isUpdate ? [] : orphans.map((file) => basename(file))).toEqual([]);
  });
});
