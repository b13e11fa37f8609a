import { describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import { createProxy, loadBootstrap } from '@mizzen/proxy';
import { httpBootstrap, loadHost, tcpBootstrap } from './bootstrap.ts';
import { summarizeProfile } from './cpu-profile.ts';
import { parseH2loadOutput, parseHandshakes, parseWrkOutput } from './loads.ts';
import { cpuTime, parseProcessStat, parseResidentBytes, residentBytes } from './process-figures.ts';
import { SCENARIOS, type ScenarioName } from './scenarios.ts';
import { median, rounded } from './statistics.ts';
import { proxyTable } from './tables.ts';

describe('process figures', () => {
  it('reads group and CPU behind a command with spaces and parentheses', () => {
    const line = '4242 (a) proxy (b)) S 1 4200 4200 0 -1 4194560 5000 0 2 0 731 269 3 4 20 0 11 0 9999 1234567890 45678';
    expect(parseProcessStat(line)).toEqual({ processGroup: 4200, userTicks: 731, kernelTicks: 269 });
  });

  it('refuses what is no stat line', () => {
    expect(() => parseProcessStat('4242 (proxy) S 1')).toThrow('not a line of /proc/PID/stat');
  });

  it('reads the resident size, which a process that ends has not', () => {
    expect(parseResidentBytes('Name:\tnode\nVmHWM:\t  90000 kB\nVmRSS:\t   71680 kB\nThreads:\t7\n')).toBe(70 * 1024 * 1024);
    expect(parseResidentBytes('Name:\tnode\nState:\tZ (zombie)\n')).toBe(0);
  });

  (process.platform === 'linux' ? it : it.skip)('finds nothing of a group that does not exist', () => {
    const noGroup = 2 ** 30;
    expect([cpuTime(noGroup), residentBytes(noGroup)]).toEqual([{ user: 0, kernel: 0 }, 0]);
  });
});

describe('wrk', () => {
  const SUMMARY = `Running 6s test @ http://127.0.0.1:1/productpage
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.75ms  428.91us  19.52ms   95.21%
    Req/Sec    36.75k     1.18k   38.11k    86.67%
  219449 requests in 6.00s, 246.32MB read
Requests/sec:  36573.49
Transfer/sec:     41.05MB
`;

  it('reads requests', () => {
    expect(parseWrkOutput(SUMMARY)).toEqual({ requests: 219_449, errors: 0 });
  });

  it('counts answers of the wrong status and socket errors', () => {
    const errors = '  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 7\n';
    expect(parseWrkOutput(SUMMARY.replace('Requests/sec', `${errors}Requests/sec`)).errors).toBe(17);
  });

  it('says what wrk said instead', () => {
    expect(() => parseWrkOutput('unable to connect to 127.0.0.1:1 Connection refused')).toThrow('Connection refused');
  });
});

describe('statistics', () => {
  it.each([
    [[3, 1, 2], 2],
    [[4, 1, 3, 2], 2.5],
    [[10, 9, 100], 10],
  ])('median of %j is %d', (values, expected) => {
    expect(median(values)).toBe(expected);
  });

  it('has no median of nothing', () => expect(() => median([])).toThrow());

  it('rounds to what is committed', () => expect([rounded(0.6249, 2), rounded(23.06, 1), rounded(148.5, 0)]).toEqual([0.62, 23.1, 149]));
});

describe('the other load generators', () => {
  const H2LOAD = `finished in 2.00s, 35000.00 req/s, 4.00MB/s
requests: 70005 total, 70256 started, 70005 done, 70003 succeeded, 2 failed, 2 errored, 0 timeout
status codes: 70003 2xx, 0 3xx, 1 4xx, 1 5xx
`;

  it('h2load: reads successes, and what was none', () => {
    expect(parseH2loadOutput(H2LOAD)).toEqual({ requests: 70_003, errors: 2 });
    expect(() => parseH2loadOutput('Could not connect to host')).toThrow('Could not connect');
  });

  it('openssl s_time: reads connections', () => {
    expect(
      parseHandshakes('\n2811 connections in 0.57s; 4931.58 connections/user sec, bytes read 0\n2811 connections in 6 real seconds'),
    ).toBe(2811);
    expect(() => parseHandshakes('connect: Connection refused')).toThrow('Connection refused');
  });
});

describe('bootstrap', () => {
  const tls = { certificateFile: '/certificate.pem', keyFile: '/key.pem', rootFile: '/root.pem' };
  const ports = { port: 0, adminPort: 0, backendPort: 9 };
  const shape = { virtualHosts: 20, routesPerHost: 5, idleClusters: 30, endpointsPerCluster: 2 };

  it.each([
    ['plain', shape],
    ['TLS', { ...shape, downstreamTls: { ...tls, isMutual: false } }],
    ['mTLS and a policy', { ...shape, downstreamTls: { ...tls, isMutual: true }, upstreamTls: tls, hasRbac: true }],
    ['HTTP/2', { ...shape, isUpstreamHttp2: true }],
  ])('is one that our proxy can read: %s', async (_, given) => {
    const bootstrap = await loadBootstrap(JSON.stringify(httpBootstrap(given, ports)), 'json');
    expect(bootstrap.staticResources?.clusters).toHaveLength(31);
    expect(bootstrap.staticResources?.listeners[0]?.filterChains[0]?.transportSocket !== undefined).toBe('downstreamTls' in given);
  });

  it.each([
    ['HTTP', httpBootstrap(shape, ports), loadHost(20)],
    ['HTTP/2', httpBootstrap({ ...shape, isUpstreamHttp2: true, hasRbac: true }, ports), loadHost(20)],
    ['TCP', tcpBootstrap(ports), 'tcp_proxy'],
  ])('is served: %s', async (_, given, mark) => {
    const bootstrap = await loadBootstrap(JSON.stringify(given), 'json');
    const proxy = createProxy({ bootstrap, clock: systemClock, random: Math.random, logger: silentLogger });
    await proxy.start();
    const admin = proxy.adminAddress();
    const dump = await fetch(`http://127.0.0.1:${admin?.kind === 'ip' ? admin.port : 0}/config_dump`);
    await proxy.close();
    expect(await dump.text()).toContain(mark);
  });
});

describe('CPU profiles', () => {
  it('are summarised by own time, without idle time', () => {
    const frame = (functionName: string, url = '') => ({ functionName, url });
    const summary = summarizeProfile({
      nodes: [
        { id: 1, callFrame: frame('(idle)') },
        { id: 2, callFrame: frame('writeLatin1String') },
        { id: 3, callFrame: frame('onHead', 'file:///proxy.mjs') },
        { id: 4, callFrame: frame('onHead', 'file:///proxy.mjs') },
        { id: 5, callFrame: frame('onStreamRead', 'node:internal/stream_base_commons') },
      ],
      samples: [1, 2, 3, 4, 5],
      timeDeltas: [1000, 500, 200, 100, 200],
    });
    expect(summary.areas).toEqual([
      { name: 'write, kernel included', percent: 50 },
      { name: "the proxy's JavaScript", percent: 30 },
      { name: "Node's JavaScript", percent: 20 },
    ]);
    expect(summary.functions[1]).toEqual({ name: 'onHead', area: "the proxy's JavaScript", percent: 30 });
  });
});

describe('tables', () => {
  it('print the figures as they are', () => {
    const cost = (cpuPerUnit: number, residentMiBAfterLoad: number) => ({
      cpuPerUnit,
      kernelPerUnit: 12,
      rounds: [cpuPerUnit],
      residentMiBAfterLoad,
    });
    const result = (title: string) => ({
      title,
      unit: 'request' as const,
      goal: 0.65,
      mizzen: cost(20.5, 110),
      envoy: cost(31, 75),
      ratio: 0.66,
    });
    const names = Object.keys(SCENARIOS) as ScenarioName[];
    const text = proxyTable({
      envoyVersion: '1.40.0',
      secondsPerRound: 1,
      scenarios: Object.fromEntries(names.map((name) => [name, result(name)])) as Record<ScenarioName, ReturnType<typeof result>>,
      knowsLargeMesh: { mizzenMiB: 148, envoyMiB: 178, ratio: 0.83 },
      routes: { tenth: 20, thousandth: 21, ratio: 1.05 },
    });
    expect(text).toContain('| http1 | 20.5 (12) | 31 (12) | µs of CPU per request | **0.66** | 0.65 | 110 / 75 MiB |');
    expect(text).toContain('| 148 MiB | 178 MiB | **0.83** |');
  });
});
