import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { type EchoApp, freePort, startEchoApp } from '@mizzen/testing';
import { comparable, exchange, maskLogLine } from './envoy-differential.ts';
import { differentialBootstrap, LOG_MARK } from './envoy-differential-bootstrap.ts';
import {
  type DifferentialCase,
  FILTER_CASES,
  FORWARDING_CASES,
  NORMALIZING_CASES,
  REFUSAL_CASES,
  ROUTING_CASES,
  STRICTER_CASES,
} from './envoy-differential-cases.ts';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';
import { until } from './until.ts';

type Listeners = Record<'inside' | 'edge' | 'normalizing', number>;

async function chooseListeners(): Promise<Listeners> {
  return { inside: await freePort(), edge: await freePort(), normalizing: await freePort() };
}

describeWithEnvoy('needs envoy: our proxy and Envoy on the same bootstrap', () => {
  let apps: EchoApp[];
  let envoy: Envoy;
  let proxy: MeshProxy;
  let envoys: Listeners;
  const ourLog: string[] = [];
  let ours: Listeners;

  beforeAll(async () => {
    apps = [await startEchoApp('first', {}), await startEchoApp('second', {})];
    const [first, second] = apps.map(({ port }) => port) as [number, number];
    envoys = await chooseListeners();
    ours = await chooseListeners();
    const dead = await freePort();
    const bootstrapAt = (at: Listeners): Record<string, unknown> => differentialBootstrap({ ...at, first, second, dead });
    envoy = await startEnvoy(bootstrapAt(envoys));
    proxy = await startOurProxy(bootstrapAt(ours), (line) => ourLog.push(line));
  });
  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    await Promise.all(apps.map((app) => app.close()));
  });

  async function expectAlike({ bytes }: DifferentialCase, where: keyof Listeners): Promise<void> {
    const [fromEnvoy, fromOurs] = await Promise.all([exchange(envoys[where], bytes), exchange(ours[where], bytes)]);
    expect(comparable(fromOurs)).toEqual(comparable(fromEnvoy));
  }

  describe('route alike:', () => {
    it.each(ROUTING_CASES)('$name', (each) => expectAlike(each, 'inside'));

    it('splits by weight', async () => {
      const bytes = 'GET /weighted HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n';
      for (const port of [envoys.inside, ours.inside]) {
        const answers = await Promise.all(Array.from({ length: 200 }, () => exchange(port, bytes)));
        const second = answers.map((answer) => comparable(answer).body as { workload: string; headers: Record<string, string> });
        const count = second.filter(({ workload }) => workload === 'second').length;
        // 140 expected, standard deviation 6.5: outside of six of them about twice in a thousand million runs.
        expect(Math.abs(count - 140)).toBeLessThan(39);
        for (const { workload, headers } of second) expect(headers['x-weighted']).toBe(workload === 'second' ? 'yes' : undefined);
      }
    });
  });

  describe('forward alike:', () => {
    it.each(FORWARDING_CASES)('inside of the mesh: $name', (each) => expectAlike(each, 'inside'));
    it.each(FORWARDING_CASES)('at its edge: $name', (each) => expectAlike(each, 'edge'));
  });

  describe('filter alike:', () => {
    it.each(FILTER_CASES)('$name', (each) => expectAlike(each, 'inside'));
  });

  describe('put in order alike:', () => {
    it.each(NORMALIZING_CASES)('$name', (each) => expectAlike(each, 'normalizing'));
  });

  describe('refuse alike:', () => {
    it.each(REFUSAL_CASES)('$name', (each) => expectAlike(each, 'inside'));
  });

  it('log alike', async () => {
    const mark = (text: string) => ({ bytes: `GET /direct?${text} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n` });
    const cases = [mark('the-beginning'), ...ROUTING_CASES, ...FILTER_CASES, ...REFUSAL_CASES, mark('the-end')];
    const linesOf = async (port: number, read: () => Promise<string>): Promise<string[]> => {
      for (const { bytes } of cases) await exchange(port, bytes);
      const log = await until('the last line of the log', async () => {
        const text = await read();
        return text.includes('/direct?the-end') ? text.slice(text.indexOf('/direct?the-beginning')) : undefined;
      });
      return log
        .split('\n')
        .filter((line) => line.startsWith(LOG_MARK))
        .map(maskLogLine);
    };
    const fromEnvoy = await linesOf(envoys.inside, () => envoy.output());
    const fromOurs = await linesOf(ours.inside, () => Promise.resolve(ourLog.join('')));
    expect(fromOurs).toEqual(fromEnvoy);
  });

  describe('ours is stricter:', () => {
    it.each(STRICTER_CASES)('$name', async ({ bytes, envoyAnswers }) => {
      expect(comparable(await exchange(envoys.inside, bytes)).status).toBe(`HTTP/1.1 ${envoyAnswers}`);
      expect(comparable(await exchange(ours.inside, bytes)).status).toBe('HTTP/1.1 400');
    });
  });
});
