import { describe, expect, it } from '@jest/globals';
import { parseProxySettings } from './parse-proxy-settings.ts';

describe('the proxy settings of an annotation', () => {
  it('are read as they are written, with nothing defaulted', () => {
    expect(parseProxySettings('concurrency: 2\nholdApplicationUntilProxyStarts: null\n', 'annotation')).toEqual({
      settings: { concurrency: 2 },
      diagnostics: [],
    });
    expect(parseProxySettings('', 'annotation')).toEqual({ settings: {}, diagnostics: [] });
  });

  it('keep what is right where a field is unknown, and warn', () => {
    const { settings, diagnostics } = parseProxySettings('concurency: 2\nstatusPort: 15000\n', 'annotation');
    expect(settings).toBeDefined();
    expect(diagnostics).toMatchObject([{ code: 'unknown-field', severity: 'warning', position: { file: 'annotation', line: 1 } }]);
  });

  it.each([
    ['concurrency: many', 'IST0106'],
    ['[1]', 'IST0106'],
    ['a: 1\n---\nb: 2', 'IST0106'],
    ['a: [', 'yaml-syntax'],
  ])('are refused: %j', (text, code) => {
    const { settings, diagnostics } = parseProxySettings(text, 'annotation');
    expect({ settings, codes: diagnostics.filter(({ severity }) => severity === 'error').map((diagnostic) => diagnostic.code) }).toEqual({
      settings: undefined,
      codes: [code],
    });
  });
});
