import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { type EchoApp, freePort, startEchoApp } from '@mizzen/testing';
import { answerAsAsked } from './answer-as-asked.ts';
import { comparable, exchange } from './envoy-differential.ts';
import type { DifferentialCase } from './envoy-differential-cases.ts';
import { ROUTING_LOG_MARK, routingBootstrap } from './envoy-differential-routing-bootstrap.ts';
import {
  FOLLOWING_CASES,
  LOCAL_REPLY_CASES,
  MATCHING_CASES,
  RETRY_CASES,
  REWRITING_CASES,
  STYLED_CASES,
  TELLING_CASES,
  TIMEOUT_CASES,
} from './envoy-differential-routing-cases.ts';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';
import { until } from './until.ts';

type Listeners = Record<'inside' | 'styled' | 'telling', number>;

describeWithEnvoy('needs envoy: the routes of our proxy and of Envoy on the same bootstrap', () => {
  let echo: EchoApp;
  let envoy: Envoy;
  let proxy: MeshProxy;
  let envoys: Listeners;
  let ours: Listeners;
  const ourLog: string[] = [];

  beforeAll(async () => {
    echo = await startEchoApp('echo', { handler: answerAsAsked });
    const dead = await freePort();
    const bootstrapAt = (at: Listeners): Record<string, unknown> => routingBootstrap({ ...at, echo: echo.port, dead });
    envoys = { inside: await freePort(), styled: await freePort(), telling: await freePort() };
    ours = { inside: await freePort(), styled: await freePort(), telling: await freePort() };
    envoy = await startEnvoy(bootstrapAt(envoys));
    proxy = await startOurProxy(bootstrapAt(ours), (line) => ourLog.push(line));
  });
  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    await echo?.close();
  });

  async function expectAlike({ bytes }: DifferentialCase, where: keyof Listeners): Promise<void> {
    const [fromEnvoy, fromOurs] = await Promise.all([exchange(envoys[where], bytes), exchange(ours[where], bytes)]);
    expect(comparable(fromOurs)).toEqual(comparable(fromEnvoy));
  }

  describe('match alike:', () => {
    it.each(MATCHING_CASES)('$name', (each) => expectAlike(each, 'inside'));
  });

  describe('rewrite alike:', () => {
    it.each(REWRITING_CASES)('$name', (each) => expectAlike(each, 'inside'));
  });

  describe('limit time alike:', () => {
    it.each(TIMEOUT_CASES)('$name', (each) => expectAlike(each, 'inside'));
  });

  describe('try again alike:', () => {
    it.each(RETRY_CASES)('$name', (each) => expectAlike(each, 'inside'));
  });

  describe('answer alike:', () => {
    it.each(LOCAL_REPLY_CASES)('$name', (each) => expectAlike(each, 'inside'));
  });

  describe('follow redirects alike:', () => {
    it.each(FOLLOWING_CASES)('$name', (each) => expectAlike(each, 'inside'));
  });

  describe('answer in the same other words:', () => {
    it.each(STYLED_CASES)('$name', (each) => expectAlike(each, 'styled'));
  });

  describe('tell what went wrong alike:', () => {
    it.each(TELLING_CASES)('$name', (each) => expectAlike(each, 'telling'));
  });

  // Not of redirects that were followed: Envoy writes the request that they led to in the place of the one that was redirected.
  it('log alike', async () => {
    const mark = (text: string) => ({ bytes: `GET /direct?${text} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n` });
    const cases = [
      mark('the-beginning'),
      ...MATCHING_CASES,
      ...REWRITING_CASES,
      ...TIMEOUT_CASES,
      ...RETRY_CASES,
      ...LOCAL_REPLY_CASES,
      mark('the-end'),
    ];
    const linesOf = async (port: number, read: () => Promise<string>): Promise<string[]> => {
      for (const { bytes } of cases) await exchange(port, bytes);
      const log = await until('the last line of the log', async () => {
        const text = await read();
        return text.includes('/direct?the-end') ? text.slice(text.indexOf('/direct?the-beginning')) : undefined;
      });
      return log.split('\n').filter((line) => line.startsWith(ROUTING_LOG_MARK));
    };
    const fromEnvoy = await linesOf(envoys.inside, () => envoy.output());
    const fromOurs = await linesOf(ours.inside, () => Promise.resolve(ourLog.join('')));
    expect(fromOurs).toEqual(fromEnvoy);
  });
});
