import { describe, expect, it } from '@jest/globals';
import { readSettings, silentLogger, systemClock } from '@mizzen/core';
import { agentOptionsOf, agentSettings, parseInbound, parseLabels, parsePortMap } from './agent-settings.ts';

describe('agent settings', () => {
  it('reads inbound ports over sockets and addresses', () => {
    expect(parseInbound(['9080=unix:/run/app.sock', '9081=unix:///run/b.sock', '80=127.0.0.1:5000', '81=[::1]:5001'])).toEqual([
      { port: 9080, endpoint: 'unix:///run/app.sock' },
      { port: 9081, endpoint: 'unix:///run/b.sock' },
      { port: 80, endpoint: '127.0.0.1:5000' },
      { port: 81, endpoint: '[::1]:5001' },
    ]);
  });

  it.each([
    ['9080'],
    ['x=127.0.0.1:1'],
    ['0=127.0.0.1:1'],
    ['70000=127.0.0.1:1'],
    ['80=unix:relative'],
    ['80=127.0.0.1'],
    ['80=:5000'],
    ['80=127.0.0.1:0'],
  ])('refuses the inbound port %s', (item) => {
    expect(() => parseInbound([item])).toThrow(`--inbound must be PORT=unix:/PATH or PORT=127.0.0.1:PORT, not "${item}"`);
  });

  it('refuses a port that is given twice', () => {
    expect(() => parseInbound(['80=127.0.0.1:1', '80=127.0.0.1:2'])).toThrow(/names a port twice, not "80"/);
  });

  it('reads labels and port maps, and refuses what is none', () => {
    expect(parseLabels(['app=reviews', 'service.istio.io/canonical-name=reviews', 'empty='])).toEqual({
      app: 'reviews',
      'service.istio.io/canonical-name': 'reviews',
      empty: '',
    });
    expect(() => parseLabels(['app'])).toThrow('--labels must be KEY=VALUE, not "app"');
    expect(parsePortMap(['80=8080', '443=8443'])).toEqual(
      new Map([
        [80, 8080],
        [443, 8443],
      ]),
    );
    expect(() => parsePortMap(['80'])).toThrow('--map-port must be PORT=PORT, not "80"');
    expect(() => parsePortMap(['80=0'])).toThrow(/--map-port/);
  });

  const optionsOf = (argv: string[]): ReturnType<typeof agentOptionsOf> =>
    agentOptionsOf(readSettings(agentSettings, { argv, env: {} }).values, {
      clock: systemClock,
      random: Math.random,
      logger: silentLogger,
    });

  it('has an identity only where there is a CA', () => {
    expect(optionsOf([]).identity).toBeUndefined();
    expect(optionsOf(['--ca-address', 'localhost:15013', '--svid-ttl', '4s']).identity).toMatchObject({
      caAddress: 'localhost:15013',
      ttlMs: 4000,
    });
  });

  it('refuses an address without a port', () => {
    expect(() => optionsOf(['--xds-address', 'localhost'])).toThrow('--xds-address must be HOST:PORT, not "localhost"');
  });
});
