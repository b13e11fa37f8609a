import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import { HealthChecker } from './health-checker.ts';
import { parseReadinessProbe, type ReadinessProbe } from './readiness-probe.ts';
import { runCheck } from './run-check.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const ROUTE = { host: '127.0.0.1', sourceAddress: undefined };
const probeOf = (probe: object): ReadinessProbe => parseReadinessProbe(JSON.stringify(probe)) as ReadinessProbe;

async function program(codes: () => number): Promise<number> {
  const server = createServer((_, response) => response.writeHead(codes()).end('x'.repeat(100_000)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

describe('the health checks of a workload', () => {
  it('report every change, after as many answers in a row as the probe says', async () => {
    // The first 500 counts for nothing: two are needed.
    const script = [200, 500, 200, 500, 500, 500, 200];
    let asked = 0;
    const port = await program(() => script[asked++] ?? 200);
    const reports: [number, string | undefined][] = [];
    const three = new Promise<void>((resolve) => {
      const checker = new HealthChecker({
        probe: { ...probeOf({ httpGet: { port }, failureThreshold: 2, timeoutSeconds: 20 }), periodMs: 1 },
        route: ROUTE,
        onChange(failure) {
          if (reports.push([asked, failure]) === 3) resolve();
        },
        clock: systemClock,
        logger: silentLogger,
      });
      closers.push(() => checker.close());
      checker.start();
    });
    await three;
    expect(reports).toEqual([
      [1, undefined],
      [5, 'the program answers 500'],
      [7, undefined],
    ]);
  });
});

describe('one check', () => {
  it.each([
    [{ exec: { command: ['true'] }, timeoutSeconds: 20 }, undefined],
    [{ exec: { command: ['false'] }, timeoutSeconds: 20 }, 'false failed: Command failed: false'],
    [{ exec: { command: ['sleep', '5'] }, timeoutSeconds: 0.05 }, 'sleep failed: no end after 50 ms'],
    [{ tcpSocket: { port: 1 } }, 'the program does not answer: connect ECONNREFUSED 127.0.0.1:1'],
    [{ httpGet: { port: 1 } }, 'the program does not answer: connect ECONNREFUSED 127.0.0.1:1'],
    [{ grpc: { port: 1 } }, 'the program does not answer: connect ECONNREFUSED 127.0.0.1:1'],
  ])('%j gives %j', async (probe, expected) => {
    expect(await runCheck(probeOf(probe), ROUTE)).toBe(expected);
  });

  it('takes a redirect as an answer', async () => {
    const port = await program(() => 302);
    expect(await runCheck(probeOf({ httpGet: { port, path: 'health' } }), ROUTE)).toBeUndefined();
    expect(await runCheck(probeOf({ tcpSocket: { port } }), ROUTE)).toBeUndefined();
  });
});

describe('parseReadinessProbe', () => {
  it("has Istio's defaults", () => {
    expect(probeOf({ tcpSocket: { port: 5 } })).toEqual({
      initialDelayMs: 0,
      timeoutMs: 1000,
      periodMs: 10_000,
      successThreshold: 1,
      failureThreshold: 3,
      check: { kind: 'tcp', host: undefined, port: 5 },
    });
    expect(parseReadinessProbe('')).toBeUndefined();
  });

  it.each([
    ['{', 'must be JSON'],
    ['[]', 'must be a JSON object'],
    ['{}', 'needs one of httpGet, tcpSocket, exec and grpc'],
    ['{"tcpSocket":{"port":1},"grpc":{"port":1}}', 'needs one of'],
    ['{"tcpSocket":{"port":"http"}}', 'port must be a number'],
    ['{"tcpSocket":{"port":1},"periodSeconds":-1}', 'periodSeconds must be'],
    ['{"exec":{"command":[]}}', 'exec.command must be a list of words'],
    ['{"httpGet":{"port":1,"httpHeaders":[{}]}}', 'each needs a name'],
  ])('refuses %s: %s', (text, reason) => {
    expect(() => parseReadinessProbe(text)).toThrow(reason);
  });
});
