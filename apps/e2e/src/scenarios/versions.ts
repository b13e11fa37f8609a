import { expect } from '@jest/globals';
import type { Scenario } from './scenario.ts';

interface Split {
  readonly file: string;
  readonly stars: string;
  readonly ratio: number;
  readonly otherwise: string;
}

const SPLITS: readonly Split[] = [
  { file: 'virtual-service-reviews-50-v3', stars: 'red', ratio: 0.5, otherwise: 'none' },
  { file: 'virtual-service-reviews-80-20', stars: 'black', ratio: 0.2, otherwise: 'none' },
  { file: 'virtual-service-reviews-90-10', stars: 'black', ratio: 0.1, otherwise: 'none' },
  { file: 'virtual-service-reviews-v2-v3', stars: 'red', ratio: 0.5, otherwise: 'black' },
];

/** Who is shown which version of reviews. */
export const VERSION_SCENARIOS: readonly Scenario[] = [
  {
    title: 'virtual-service-all-v1 shows no stars',
    async run(stage) {
      await stage.given('virtual-service-all-v1');
      expect(await stage.share(10, (stars) => stars === 'none')).toBe(1);
    },
  },
  {
    title: 'virtual-service-reviews-test-v2 shows jason black stars and everybody else none',
    async run(stage) {
      await stage.given('virtual-service-all-v1', 'virtual-service-reviews-test-v2');
      const jason = await stage.visitor().login('jason');
      expect((await jason.pages(5)).map((page) => page.stars)).toEqual(Array(5).fill('black'));
      expect(await stage.share(5, (stars) => stars === 'none')).toBe(1);
    },
  },
  {
    title: 'virtual-service-reviews-jason-v2-v3 shows jason black stars and everybody else red ones',
    async run(stage) {
      await stage.given('virtual-service-reviews-jason-v2-v3');
      const jason = await stage.visitor().login('jason');
      expect((await jason.pages(5)).map((page) => page.stars)).toEqual(Array(5).fill('black'));
      expect(await stage.share(5, (stars) => stars === 'red')).toBe(1);
    },
  },
  {
    title: 'virtual-service-reviews-v3 shows red stars only',
    async run(stage) {
      await stage.given('virtual-service-reviews-v3');
      expect(await stage.share(10, (stars) => stars === 'red')).toBe(1);
    },
  },
  ...SPLITS.map(splitScenario),
];

const PAGES = 200;

function splitScenario({ file, stars, ratio, otherwise }: Split): Scenario {
  return {
    title: `${file} shows ${stars} stars at a share of ${ratio}, else ${otherwise}`,
    timeoutMs: 90_000,
    async run(stage) {
      await stage.given(file);
      const pages = await stage.visitor().pages(PAGES);
      const [least, most] = bounds(ratio, PAGES);
      const actual = pages.filter((page) => page.stars === stars).length / PAGES;
      expect(actual).toBeGreaterThanOrEqual(least);
      expect(actual).toBeLessThanOrEqual(most);
      expect(pages.filter((page) => page.stars !== stars && page.stars !== otherwise)).toEqual([]);
    },
  };
}

/** Five standard deviations of a share around `p` over `count` draws: a right implementation fails about once in a million runs. */
function bounds(p: number, count: number): readonly [number, number] {
  const spread = 5 * Math.sqrt((p * (1 - p)) / count);
  return [Math.max(p - spread, 1 / count), p + spread];
}
