import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { leafPaths, unsupportedFields } from './field-paths.ts';
import { isOwnKind, KIND_NAMES, type Kind } from './kinds.ts';
import { parseResource } from './parse-resource.ts';
import { parseYaml } from './yaml.ts';

const expected = readFileSync(new URL('../testdata/field-paths.txt', import.meta.url), 'utf8')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'));

function describeLeaves(kind: Kind): string[] {
  return leafPaths(kind)
    .filter(({ type }) => type !== 'object')
    .map(({ path, type, values }) => {
      const names = type === 'string' && values.length > 0 ? ` ${values.join('|')}` : '';
      return `${kind} ${path.replace(/^spec\./, '')} ${type}${names}`;
    })
    .sort();
}

describe('leafPaths', () => {
  it('knows the 751 fields of Istio', () => {
    expect(expected).toHaveLength(751);
  });

  // The schema of a probe names its schemes, where the list leaves them open.
  const allNames = (line: string): string => line.replace(/^(WorkloadGroup probe\.httpGet\.scheme string).*/, '$1');

  it.each(KIND_NAMES.filter((kind) => !isOwnKind(kind)))('%s has exactly the fields of Istio, with their types and names', (kind) => {
    const wanted = expected.filter((line) => line.startsWith(`${kind} `)).sort();
    const sortNames = (line: string): string => {
      const [name, path, type, values = ''] = line.split(' ');
      return [name, path, type, values.split('|').sort().join('|')].join(' ').trim();
    };
    expect(describeLeaves(kind).map(allNames).map(sortNames).sort()).toEqual(wanted.map(sortNames).sort());
  });

  it('names the three places where anything may stand', () => {
    const opaque = KIND_NAMES.flatMap((kind) =>
      leafPaths(kind)
        .filter(({ type }) => type === 'object')
        .map(({ path }) => `${kind} ${path}`),
    );
    expect(opaque).toEqual([
      'EnvoyFilter spec.configPatches[].patch.value',
      'WasmPlugin spec.pluginConfig',
      'TrafficExtension spec.wasm.pluginConfig',
    ]);
  });

  it('marks what is deprecated', () => {
    const deprecated = leafPaths('VirtualService').filter(({ isDeprecated }) => isDeprecated);
    expect(deprecated.map(({ path }) => path)).toEqual([
      'spec.http[].fault.delay.percent',
      'spec.http[].mirrorPercent',
      'spec.http[].mirror_percent',
      'spec.http[].corsPolicy.allowOrigin[]',
    ]);
  });
});

describe('unsupportedFields', () => {
  const text = [
    'apiVersion: networking.istio.io/v1',
    'kind: VirtualService',
    'metadata: {name: reviews}',
    'spec:',
    '  hosts: [reviews]',
    '  http:',
    '  - corsPolicy:',
    '      allowMethods: [GET]',
    '      allowOrigins: [{exact: a}]',
    '    timeout: 2s',
    '    match:',
    '    - headers:',
    '        end-user: {exact: jason}',
    '        other: {regex: a.*}',
    '    route:',
    '    - destination: {host: reviews, subset: v1}',
  ].join('\n');
  const { resource } = parseResource(parseYaml(text, 'vs.yaml').documents[0]!);

  it('names each part that no supported path reaches at its highest point, with its line', () => {
    const supported = ['spec.hosts', 'spec.http[].match[].headers.<k>.exact', 'spec.http[].route[].destination'];
    const found = unsupportedFields(resource!, supported).map(({ path, position, message }) => [
      path?.join('.'),
      position?.line,
      message.split(' ')[0],
    ]);
    expect(found).toEqual([
      ['spec.http.0.corsPolicy', 7, 'spec.http[].corsPolicy'],
      ['spec.http.0.timeout', 10, 'spec.http[].timeout'],
      ['spec.http.0.match.0.headers.other.regex', 14, 'spec.http[].match[].headers.<k>.regex'],
    ]);
  });

  it('says nothing of a resource whose fields are all supported', () => {
    expect(
      unsupportedFields(
        resource!,
        leafPaths('VirtualService').map(({ path }) => path),
      ),
    ).toEqual([]);
  });
});
