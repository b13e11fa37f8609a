import { readFileSync } from 'node:fs';
import { expect } from '@jest/globals';
import { Visitor } from '../bookinfo.ts';
import type { Home } from '../homes/home.ts';
import { networkingFile } from '../workspace.ts';

/** One thing that a person does with Bookinfo, and what has to be seen then. */
export interface Scenario {
  readonly title: string;
  readonly run: (stage: Stage) => Promise<void>;
  /** Default 60000. Unit: ms. */
  readonly timeoutMs?: number;
}

/** What the mesh has from the start in every home: the gateway, and every subset. */
export const BASE_FILES: readonly string[] = ['bookinfo-gateway', 'destination-rule-all'];

/** One home while one scenario runs: what the scenario applied is taken back at its end. */
export class Stage {
  readonly home: Home;
  /** Names of the networking files that a scenario has used. */
  readonly covered: Set<string>;
  readonly #undo: (() => Promise<void>)[] = [];

  constructor(home: Home, covered: Set<string>) {
    this.home = home;
    this.covered = covered;
  }

  /** Applies files of deploy/samples/bookinfo/networking. */
  async given(...names: readonly string[]): Promise<void> {
    for (const name of names) {
      this.covered.add(name);
      const yaml = readFileSync(networkingFile(name), 'utf8');
      this.#undo.push(() => this.home.delete(yaml));
      await this.home.apply(yaml);
    }
  }

  /** Applies a file in place of destination-rule-all, whose resources have the same names. */
  async givenInsteadOfAllRules(name: string): Promise<void> {
    this.covered.add(name);
    this.#undo.push(() => this.home.apply(readFileSync(networkingFile('destination-rule-all'), 'utf8')));
    await this.home.apply(readFileSync(networkingFile(name), 'utf8'));
  }

  visitor(): Visitor {
    return new Visitor(this.home.gatewayUrl);
  }

  /** Share of the pages that show what `isIt` says. */
  async share(count: number, isIt: (stars: string) => boolean): Promise<number> {
    const pages = await this.visitor().pages(count);
    expect(pages.filter((page) => page.status !== 200)).toEqual([]);
    return pages.filter((page) => isIt(page.stars)).length / count;
  }

  /** Takes back what was applied, the last first. */
  async strike(): Promise<void> {
    for (const undo of this.#undo.splice(0).reverse()) await undo();
  }
}
