import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Answer, type EchoHandler, type Mesh, startMesh } from './index.ts';

/**
 * Answers as the query says, one step for each attempt: `/x?steps=503,503,echo`. `hang` never answers, `reset` breaks the connection,
 * `slow` answers after 150 ms.
 */
function scripted(): EchoHandler {
  const attempts = new Map<string, number>();
  return ({ request, response, echo }) => {
    const url = request.url ?? '';
    const attempt = attempts.get(url) ?? 0;
    attempts.set(url, attempt + 1);
    const steps = (new URL(url, 'http://x').searchParams.get('steps') ?? 'echo').split(',');
    const step = steps[Math.min(attempt, steps.length - 1)];
    if (step === 'echo') return echo();
    request.resume();
    if (step === 'reset') return void request.socket.destroy();
    if (step === 'hang') return;
    if (step === 'slow') return void setTimeout(echo, 150);
    response.writeHead(Number(step), { 'x-step': String(attempt) });
    response.end(`step ${attempt}`);
  };
}

const virtualService = (fields: string): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: flaky}
spec: {hosts: [flaky], http: [{route: [{destination: {host: flaky}}], ${fields}}]}
`;

const destinationRule = (policy: string): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: flaky}
spec: {host: flaky, trafficPolicy: {${policy}}}
`;

describe('timeouts, retries and load balancing through two sidecars', () => {
  let mesh: Mesh;
  beforeAll(async () => {
    mesh = await startMesh({
      meshConfig: 'accessLogFile: /dev/stdout',
      services: { client: {}, flaky: { handler: scripted() }, pool: { versions: ['a', 'b', 'c'] } },
    });
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  const callFlaky = (path: string, headers: Record<string, string> = {}): Promise<Answer> =>
    mesh.call({ from: 'client', host: 'flaky', path, headers });
  const attemptsAt = (path: string): number => mesh.workload('flaky').requests.all.filter((request) => request.path === path).length;

  it('gives up after the timeout with 504', async () => {
    await mesh.with(virtualService('timeout: 1s'), async () => {
      const startedAt = performance.now();
      const answer = await callFlaky('/timeout?steps=hang');
      expect([answer.status, answer.body]).toEqual([504, 'upstream request timeout']);
      expect(performance.now() - startedAt).toBeGreaterThanOrEqual(990);
      expect(attemptsAt('/timeout?steps=hang')).toBe(1);
    });
    const line = await mesh.workload('client').accessLog.first((text) => text.includes('/timeout'));
    expect(line).toContain('504 UT response_timeout');
  });

  it('waits as long as it takes without a timeout', async () => {
    await mesh.with(virtualService('retries: {attempts: 0}'), async () => {
      expect((await callFlaky('/slow?steps=slow')).status).toBe(200);
    });
  });

  it('retries until an attempt succeeds', async () => {
    await mesh.with(virtualService('retries: {attempts: 3, retryOn: 5xx}'), async () => {
      const answer = await callFlaky('/retry?steps=503,502,echo');
      expect(answer.status).toBe(200);
      expect(attemptsAt('/retry?steps=503,502,echo')).toBe(3);
    });
  });

  it('gives the last answer once the attempts are used up', async () => {
    await mesh.with(virtualService('retries: {attempts: 2, retryOn: 5xx}'), async () => {
      const answer = await callFlaky('/used-up?steps=503,502,500,echo');
      expect([answer.status, answer.body]).toEqual([500, 'step 2']);
      expect(attemptsAt('/used-up?steps=503,502,500,echo')).toBe(3);
    });
    const line = await mesh.workload('client').accessLog.first((text) => text.includes('/used-up'));
    expect(line).toContain('500 URX');
  });

  it('does not retry what the policy does not name', async () => {
    await mesh.with(virtualService('retries: {attempts: 3, retryOn: connect-failure}'), async () => {
      expect((await callFlaky('/other?steps=503,echo')).status).toBe(503);
      expect(attemptsAt('/other?steps=503,echo')).toBe(1);
    });
  });

  it('retries a status that is named', async () => {
    await mesh.with(virtualService('retries: {attempts: 1, retryOn: "409"}'), async () => {
      expect((await callFlaky('/named?steps=409,echo')).status).toBe(200);
    });
  });

  it('tries again after the per-try timeout', async () => {
    await mesh.with(virtualService('timeout: 10s, retries: {attempts: 2, perTryTimeout: 1s, retryOn: 5xx}'), async () => {
      expect((await callFlaky('/per-try?steps=hang,echo')).status).toBe(200);
      expect(attemptsAt('/per-try?steps=hang,echo')).toBe(2);
    });
  });

  it('does not repeat a 503 of the program when no policy is given: it may have had an effect', async () => {
    expect((await callFlaky('/default?steps=503,echo')).status).toBe(503);
    expect(attemptsAt('/default?steps=503,echo')).toBe(1);
  });

  it('repeats the body of a retried request', async () => {
    await mesh.with(virtualService('retries: {attempts: 2, retryOn: 5xx}'), async () => {
      const path = '/body?steps=503,echo';
      const answer = await mesh.call({ from: 'client', host: 'flaky', path, method: 'POST', body: 'x'.repeat(20_000) });
      expect(answer.echo.body).toHaveLength(20_000);
    });
  });

  it('answers 503 when the program breaks the connection', async () => {
    await mesh.with(virtualService('retries: {attempts: 0}'), async () => {
      const answer = await callFlaky('/reset?steps=reset');
      expect(answer.status).toBe(503);
      expect(answer.body).toContain('upstream connect error or disconnect/reset before headers');
    });
  });

  const poolRule = (loadBalancer: string): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pool}
spec: {host: pool, trafficPolicy: {loadBalancer: ${loadBalancer}}}
`;
  const callPool = async (calls: number, headers: Record<string, string> = {}): Promise<string[]> => {
    const served: string[] = [];
    for (let call = 0; call < calls; call++) served.push((await mesh.call({ from: 'client', host: 'pool', headers })).servedBy ?? '');
    return served;
  };

  it('gives everybody a turn with ROUND_ROBIN', async () => {
    await mesh.with(poolRule('{simple: ROUND_ROBIN}'), async () => {
      const served = await callPool(9);
      expect(new Set(served.slice(0, 3)).size).toBe(3);
      expect(served.slice(3)).toEqual([...served.slice(0, 3), ...served.slice(0, 3)]);
    });
  });

  it.each(['RANDOM', 'LEAST_REQUEST', 'UNSPECIFIED'])('reaches everybody with %s', async (simple) => {
    await mesh.with(poolRule(`{simple: ${simple}}`), async () => {
      // One of three is missed by 60 random choices about once in ten thousand million runs.
      expect(new Set(await callPool(60)).size).toBe(3);
    });
  });

  it('keeps a caller with one endpoint by the hash of a header', async () => {
    await mesh.with(poolRule('{consistentHash: {httpHeaderName: x-user}}'), async () => {
      const users = Array.from({ length: 12 }, (_, user) => `user-${user}`);
      const homes = await Promise.all(users.map(async (user) => new Set(await callPool(4, { 'x-user': user }))));
      expect(homes.map(({ size }) => size)).toEqual(users.map(() => 1));
      expect(new Set(homes.flatMap((home) => [...home])).size).toBeGreaterThan(1);
    });
  });

  it('sends an endpoint that fails no requests once it is ejected', async () => {
    const policy = destinationRule(
      'outlierDetection: {consecutive5xxErrors: 2, interval: 100ms, baseEjectionTime: 60s, maxEjectionPercent: 100}',
    );
    await mesh.with(`${policy}---${virtualService('retries: {attempts: 0}')}`, async () => {
      for (let call = 0; call < 2; call++) expect((await callFlaky(`/eject-${call}?steps=500`)).status).toBe(500);
      const answer = await callFlaky('/after?steps=echo');
      expect([answer.status, answer.body]).toEqual([503, 'no healthy upstream']);
    });
  });

  it('takes an endpoint out when its agent goes, and back, without touching listeners', async () => {
    const listenersSentAt = (): unknown =>
      mesh.controlPlane.server
        .status()
        .find(({ node }) => node.id.includes('~client-v1.'))
        ?.types.get('type.googleapis.com/envoy.config.listener.v3.Listener')?.sentAt;
    const before = listenersSentAt();
    const tunnel = await mesh.workload('client').tunnel('pool:9080');
    await mesh.stop('pool-b');
    const served = await mesh.with(poolRule('{simple: ROUND_ROBIN}'), () => callPool(6));
    expect(new Set(served)).toEqual(new Set(['pool-a', 'pool-c']));
    await mesh.start('pool-b');
    expect(new Set(await mesh.with(poolRule('{simple: ROUND_ROBIN}'), () => callPool(6))).size).toBe(3);
    expect(before).toEqual(expect.any(Number));
    expect(listenersSentAt()).toBe(before);
    expect(tunnel.destroyed).toBe(false);
    tunnel.destroy();
  });
});
