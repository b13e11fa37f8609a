import { expect } from '@jest/globals';
import { fetchText } from '../bookinfo.ts';
import type { Scenario } from './scenario.ts';

const PRODUCTPAGE_PATHS: readonly (readonly [path: string, text: string])[] = [
  ['/api/v1/products', '[{"id":0'],
  ['/api/v1/products/0', 'William Shakespeare'],
  ['/api/v1/products/0/reviews', 'Reviewer1'],
  ['/api/v1/products/0/ratings', '"Reviewer2":4'],
];

/** bookinfo-gateway and destination-rules. */
export const ENTRY_SCENARIOS: readonly Scenario[] = [
  {
    title: 'shows no stars, black stars and red stars within ten reloads',
    async run(stage) {
      const pages = await stage.visitor().pages(10);
      expect(new Set(pages.map((page) => page.stars))).toEqual(new Set(['none', 'black', 'red']));
      expect(new Set(pages.map((page) => page.servedBy.split('-').slice(0, 2).join('-')))).toEqual(
        new Set(['reviews-v1', 'reviews-v2', 'reviews-v3']),
      );
    },
  },
  ...PRODUCTPAGE_PATHS.map(
    ([path, text]): Scenario => ({
      title: `routes ${path} to productpage`,
      async run({ home }) {
        expect(await fetchText(home.gatewayUrl + path)).toMatchObject({ status: 200, body: expect.stringContaining(text) });
      },
    }),
  ),
  {
    title: 'routes /static/ to productpage',
    async run({ home }) {
      // productpage's own 404 and not the gateway's, which has no body
      expect((await fetchText(`${home.gatewayUrl}/static/`)).body).not.toBe('');
    },
  },
  {
    title: 'answers 404 by itself for a path that no route has',
    async run({ home }) {
      expect(await fetchText(`${home.gatewayUrl}/nothing/here`)).toMatchObject({ status: 404, body: '' });
    },
  },
  {
    title: 'logs a visitor in and out',
    async run(stage) {
      const jason = await stage.visitor().login('jason');
      expect((await jason.page()).body).toContain('jason');
      expect((await fetchText(`${stage.home.gatewayUrl}/logout`)).status).toBe(302);
    },
  },
  {
    title: 'destination-rule-all-mtls keeps every hop on Istio mTLS',
    async run(stage) {
      await stage.givenInsteadOfAllRules('destination-rule-all-mtls');
      const pages = await stage.visitor().pages(6);
      expect(pages.filter((page) => page.status !== 200 || page.hasDetailsError || page.servedBy === '')).toEqual([]);
    },
  },
  {
    title: 'destination-rule-reviews balances at random over all versions',
    async run(stage) {
      await stage.givenInsteadOfAllRules('destination-rule-reviews');
      expect(await stage.home.proxyConfig('clusters', 'productpage-v1')).toContain('RANDOM');
      const pages = await stage.visitor().pages(40);
      expect(new Set(pages.map((page) => page.stars))).toEqual(new Set(['none', 'black', 'red']));
    },
  },
];
