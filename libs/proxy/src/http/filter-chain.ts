import type { PerFilterConfig } from '@mizzen/matching';
import type { HttpFilter } from './http-filter.ts';

export interface ChainedFilter {
  /** In the configuration; routes switch it by this name. */
  readonly name: string;
  readonly filter: HttpFilter;
  /** Off unless a route switches it on. */
  readonly isDisabled: boolean;
}

/** The filters of a connection manager in order, without those that the configuration or a route switches off. */
export class HttpFilterChain {
  /** For requests whose route says nothing else. */
  readonly enabled: readonly HttpFilter[];
  readonly #filters: readonly ChainedFilter[];
  readonly #byRoute = new WeakMap<PerFilterConfig, readonly HttpFilter[]>();

  constructor(filters: readonly ChainedFilter[]) {
    this.#filters = filters;
    this.enabled = filters.filter(({ isDisabled }) => !isDisabled).map(({ filter }) => filter);
  }

  /** Those that run for a route. Source: envoy FilterChainUtility, Router::Route::filterDisabled (1.40). */
  for(config: PerFilterConfig | undefined): readonly HttpFilter[] {
    if (config === undefined || (!config.disablesAny && this.enabled.length === this.#filters.length)) return this.enabled;
    let filters = this.#byRoute.get(config);
    if (filters === undefined) {
      filters = this.#filters.filter(({ name, isDisabled }) => !(config.isDisabled(name) ?? isDisabled)).map(({ filter }) => filter);
      this.#byRoute.set(config, filters);
    }
    return filters;
  }
}
