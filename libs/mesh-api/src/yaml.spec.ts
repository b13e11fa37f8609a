import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { parseMeshConfig } from './parse-mesh-config.ts';
import { parseResource } from './parse-resource.ts';
import { parseYaml } from './yaml.ts';

describe('parseYaml', () => {
  it('gives every document with its line, and leaves out empty ones', () => {
    const { documents, diagnostics } = parseYaml('# only a comment\n---\na: 1\n---\n---\nb:\n  - c: 2\n', 'x.yaml');
    expect(diagnostics).toEqual([]);
    expect(documents.map(({ value, line }) => [value, line])).toEqual([
      [{ a: 1 }, 3],
      [{ b: [{ c: 2 }] }, 6],
    ]);
    expect(documents[1]?.lineOf(['b', 0, 'c'])).toBe(7);
    expect(documents[1]?.lineOf(['b', 0, 'c', 'deeper'])).toBe(7);
    expect(documents[1]?.lineOf(['missing'])).toBe(6);
  });

  it('reads JSON, indented by tabs too', () => {
    const { documents } = parseYaml('{\n\t"a": [1,\n\t2]\n}', 'x.json');
    expect(documents[0]?.value).toEqual({ a: [1, 2] });
  });

  it('takes lists apart and keeps the lines of their items', () => {
    const { documents } = parseYaml('kind: List\napiVersion: v1\nitems:\n- kind: A\n- kind: B\n  x: 1\n', 'x.yaml');
    expect(documents.map(({ value, line }) => [value, line])).toEqual([
      [{ kind: 'A' }, 4],
      [{ kind: 'B', x: 1 }, 5],
    ]);
    expect(documents[1]?.lineOf(['x'])).toBe(6);
  });

  it('reads merge keys and anchors', () => {
    const { documents } = parseYaml('a: &x {b: 1}\nc: {<<: *x, d: 2}\n', 'x.yaml');
    expect(documents[0]?.value).toEqual({ a: { b: 1 }, c: { b: 1, d: 2 } });
  });

  it.each([
    { name: 'a bracket that is never closed', text: 'a: [1, 2\n', line: 2 },
    { name: 'a key that is given twice', text: 'a: 1\nb: 2\na: 3\n', line: 3 },
    { name: 'a tab as indentation', text: 'a:\n\tb: 1\n', line: 2 },
    { name: 'a quote that is never closed', text: 'x: 1\na: "b\n', line: 3 },
    { name: 'an alias of nothing', text: 'a: *nothing\n', line: 1 },
    { name: 'bad indentation', text: 'a:\n  b: 1\n c: 2\n', line: 3 },
    {
      name: 'a bomb of aliases',
      text: `a: &a [${'x,'.repeat(9)}x]\n${'bcdefgh'.replace(/./g, (letter, index: number) => `${letter}: &${letter} [${`*${'abcdefgh'[index]},`.repeat(9)}1]\n`)}`,
      line: 1,
    },
  ])('reports $name with its line', ({ text, line }) => {
    const { documents, diagnostics } = parseYaml(text, 'bad.yaml');
    expect(documents).toEqual([]);
    expect(diagnostics).toMatchObject([{ code: 'yaml-syntax', severity: 'error', position: { file: 'bad.yaml', line } }]);
  });

  it('refuses what would keep the parser busy for long, at once', () => {
    const before = process.cpuUsage();
    const of = (text: string) => parseYaml(text, 'big.yaml').diagnostics.map(({ message, position }) => [message, position?.line]);
    expect(of('a: [\n'.repeat(1_000_000))).toEqual([['the file is larger than 4 MiB; split it', 1]]);
    expect(of(`a: 1\n---\nb: 2\n---\n${'- ['.repeat(400_000)}`)).toEqual([
      ['the document that begins here is larger than 1 MiB; split it', 4],
    ]);
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(1000);
  });

  it('reads a large file of many documents', () => {
    const text = `a: ${'x'.repeat(60_000)}\n---\n`.repeat(40);
    expect(parseYaml(text, 'many.yaml')).toMatchObject({ documents: { length: 40 }, diagnostics: [] });
  });

  it('still gives the documents around one that is broken', () => {
    const { documents, diagnostics } = parseYaml('a: 1\n---\nb: [\n---\nc: 3\n', 'x.yaml');
    expect(documents.map(({ value }) => value)).toEqual([{ a: 1 }, { c: 3 }]);
    expect(diagnostics).toHaveLength(1);
  });

  it('survives nesting deeper than the stack', () => {
    expect(() => parseYaml('['.repeat(100_000), 'x.yaml')).not.toThrow();
    expect(() => parseYaml(`${'{a: '.repeat(20_000)}1${'}'.repeat(20_000)}`, 'x.yaml')).not.toThrow();
  });

  const fragment = fc.constantFrom(
    'apiVersion: networking.istio.io/v1\n',
    'kind: VirtualService\n',
    'metadata:\n',
    '  name: a\n',
    'spec:\n',
    '  hosts:\n',
    '  - a\n',
    '---\n',
    '{',
    '}',
    '[',
    ']',
    '&a ',
    '*a',
    '- ',
    ': ',
    '\t',
    '!!js ',
    '"',
    "'",
    '|\n',
    '? ',
    '<<: ',
    '\u0000',
    'items: ',
    'kind: List\n',
    '~',
    '__proto__: ',
    'defaultConfig: ',
  );
  it('never throws, whatever the text', () => {
    const anything = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(fragment, { maxLength: 30 }).map((parts) => parts.join('')),
      fc.json(),
    );
    fc.assert(
      fc.property(anything, (text) => {
        const { documents, diagnostics } = parseYaml(text, 'x.yaml');
        for (const document of documents) parseResource(document);
        for (const { position } of diagnostics) expect(position?.line).toBeGreaterThan(0);
        parseMeshConfig(text, 'mesh.yaml');
      }),
      { numRuns: 1500 },
    );
  });

  it('never throws on a resource whose spec is anything', () => {
    const kinds = fc.constantFrom(
      'VirtualService',
      'DestinationRule',
      'Gateway',
      'ServiceEntry',
      'Sidecar',
      'PeerAuthentication',
      'AuthorizationPolicy',
    );
    fc.assert(
      fc.property(kinds, fc.object({ maxDepth: 4 }), (kind, spec) => {
        const value = {
          apiVersion: kind.endsWith('n') || kind === 'AuthorizationPolicy' ? 'security.istio.io/v1' : 'networking.istio.io/v1',
          kind,
          metadata: { name: 'a' },
          spec,
        };
        parseResource({ value, file: 'x.yaml', line: 1, lineOf: () => 1 });
      }),
      { numRuns: 500 },
    );
  });
});
