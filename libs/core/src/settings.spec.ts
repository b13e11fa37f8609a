import { describe, expect, it } from '@jest/globals';
import { describeSettings, formatDurationMs, parseDurationMs, readSettings, settings } from './settings.ts';

const schema = {
  port: settings.port('port', { help: 'where to listen', fallback: 8080 }),
  config: settings.string('config', { help: 'configuration directory' }),
  token: settings.string<string | undefined>('token', { help: 'join token', fallback: undefined }),
  grace: settings.durationMs('grace', { help: 'how long to wait', fallback: 1000 }),
  verbose: settings.flag('verbose', { help: 'say more' }),
  label: settings.list('label', { help: 'a label' }),
  mode: settings.oneOf('mode', ['strict', 'permissive'], { help: 'mTLS mode', fallback: 'strict' }),
};

function read(argv: readonly string[], env: Record<string, string> = {}): Record<string, unknown> {
  return readSettings(schema, { argv, env }).values;
}

describe('readSettings', () => {
  it('takes a flag before the environment and the environment before the default', () => {
    expect(read(['--config', 'a', '--port', '1'], { MIZZEN_PORT: '2' })).toMatchObject({ config: 'a', port: 1 });
    expect(read(['--config=a'], { MIZZEN_PORT: '2' })).toMatchObject({ port: 2 });
    expect(read(['--config=a'])).toMatchObject({ port: 8080, token: undefined, grace: 1000, verbose: false, label: [], mode: 'strict' });
  });

  it('collects a repeated list flag and splits the environment at commas', () => {
    expect(read(['--config=a', '--label', 'x=1', '--label', 'y=2'])).toMatchObject({ label: ['x=1', 'y=2'] });
    expect(read(['--config=a'], { MIZZEN_LABEL: 'x=1,y=2' })).toMatchObject({ label: ['x=1', 'y=2'] });
  });

  it('leaves alone what follows --', () => {
    expect(readSettings(schema, { argv: ['--config=a', '--', 'node', '--port', '1'], env: {} }).rest).toEqual(['node', '--port', '1']);
  });

  it('reports every mistake at once', () => {
    const mistakes = (): unknown => read(['--port', 'ten', '--mode', 'odd', '--nonsense'], { MIZZEN_GRACE: 'soon' });
    expect(mistakes).toThrow(/--port must be a whole number, not "ten"/);
    expect(mistakes).toThrow(/--mode must be one of strict, permissive, not "odd"/);
    expect(mistakes).toThrow(/unknown argument --nonsense/);
    expect(mistakes).toThrow(/MIZZEN_GRACE must be a duration/);
    expect(mistakes).toThrow(/--config \(or MIZZEN_CONFIG\) is required/);
  });

  it('refuses a port out of range and a flag without its value', () => {
    expect(() => read(['--config=a', '--port', '70000'])).toThrow(/between 0 and 65535/);
    expect(() => read(['--config'])).toThrow(/--config needs a value/);
  });
});

describe('parseDurationMs', () => {
  it.each([
    ['500ms', 500],
    ['30s', 30_000],
    ['1h30m', 5_400_000],
    ['1.5s', 1500],
  ])('reads %s', (text, expected) => expect(parseDurationMs(text)).toBe(expected));

  it.each(['', '5', 's', '-1s', '1d', '1s 2m'])('refuses %j', (text) => expect(() => parseDurationMs(text)).toThrow(/duration/));
});

describe('formatDurationMs', () => {
  it.each([0, 250, 1500, 30_000, 5_400_000, 86_400_000])('writes %d so that it reads as the same', (durationMs) => {
    expect(parseDurationMs(formatDurationMs(durationMs))).toBe(durationMs);
  });
});

describe('describeSettings', () => {
  it('names every flag with its default and its variable', () => {
    const text = describeSettings(schema, { usage: 'mizzen x [flags]', summary: 'does x' });
    expect(text).toContain('--port PORT');
    expect(text).toContain('(default 8080; MIZZEN_PORT)');
    expect(text).toContain('(required; MIZZEN_CONFIG)');
    expect(text).toContain('(default 1s; MIZZEN_GRACE)');
    expect(text).toContain('--mode strict|permissive');
  });
});
