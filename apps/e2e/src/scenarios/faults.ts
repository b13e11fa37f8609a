import { expect } from '@jest/globals';
import { fetchText } from '../bookinfo.ts';
import { until } from '../until.ts';
import type { Scenario } from './scenario.ts';

/** Delays and errors that the mesh itself makes. */
export const FAULT_SCENARIOS: readonly Scenario[] = [
  {
    title: 'virtual-service-ratings-test-delay makes only jason wait, until productpage gives reviews up',
    async run(stage) {
      await stage.given('virtual-service-all-v1', 'virtual-service-reviews-test-v2', 'virtual-service-ratings-test-delay');
      const jason = await stage.visitor().login('jason');
      const startMs = performance.now();
      const page = await jason.page();
      const tookMs = performance.now() - startMs;
      // Two tries of three seconds each, both shorter than the seven seconds that ratings takes.
      expect(page.stars).toBe('reviews error');
      expect(tookMs).toBeGreaterThan(5900);
      // Whatever a busy machine adds: less than waiting for ratings twice.
      expect(tookMs).toBeLessThan(13_900);
      const otherStartMs = performance.now();
      expect((await stage.visitor().page()).stars).toBe('none');
      expect(performance.now() - otherStartMs).toBeLessThan(5900);
    },
  },
  {
    title: 'virtual-service-ratings-test-abort shows only jason that ratings are away',
    async run(stage) {
      await stage.given('virtual-service-all-v1', 'virtual-service-reviews-test-v2', 'virtual-service-ratings-test-abort');
      const jason = await stage.visitor().login('jason');
      expect(await jason.page()).toMatchObject({ status: 200, stars: 'ratings error' });
      expect((await stage.visitor().page()).stars).toBe('none');
      await until('the access log names the fault', async () =>
        / 500 FI fault_filter_abort /.test(await stage.home.sidecarLog('reviews-v2')) ? true : undefined,
      );
    },
  },
  {
    title: 'fault-injection-details-v1 answers for details with 555',
    async run(stage) {
      await stage.given('fault-injection-details-v1');
      expect(await stage.visitor().page()).toMatchObject({ status: 200, hasDetailsError: true });
      expect((await fetchText(`${stage.home.gatewayUrl}/api/v1/products/0`)).status).toBe(555);
    },
  },
];
