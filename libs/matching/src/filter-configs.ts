import type { Any } from '@bufbuild/protobuf/wkt';
import { resolveTypedStruct, unpackAny } from '@mizzen/xds-api';
import { FilterConfigSchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { Field } from './field.ts';

/** Compiles what a route says to one kind of HTTP filter; called once, when the route configuration comes. Rejects by `field`. */
export type FilterConfigCompiler = (config: Any, field: Field) => unknown;

/** By the full name of the per-route message (`envoy.extensions.filters.http.cors.v3.CorsPolicy`). Who runs filters gives them. */
export type FilterConfigCompilers = ReadonlyMap<string, FilterConfigCompiler>;

/**
 * What one route (or virtual host, or weighted cluster) and the levels around it say to the HTTP filters; immutable.
 * Source: envoy Router::PerFilterConfigs (1.40).
 */
export class PerFilterConfig {
  readonly #configs: ReadonlyMap<string, readonly unknown[]>;
  /** By name of the filter: whether it is switched off (or on, where its own configuration switches it off). undefined: nothing is said. */
  readonly #switches: ReadonlyMap<string, boolean> | undefined;
  /** Whether any filter is switched off here. */
  readonly disablesAny: boolean;

  constructor(configs: ReadonlyMap<string, readonly unknown[]>, switches: ReadonlyMap<string, boolean> | undefined) {
    this.#configs = configs;
    this.#switches = switches;
    this.disablesAny = switches !== undefined && [...switches.values()].includes(true);
  }

  /** What the most specific level says; `key` is the full name of the message, or {@link filterConfigKey} of filter and message. */
  get(key: string): unknown {
    return this.#configs.get(key)?.at(-1);
  }

  /** What every level says, the least specific one first. */
  all(key: string): readonly unknown[] {
    return this.#configs.get(key) ?? NOTHING;
  }

  /** Whether the filter of that name is off for these requests; undefined: as its own configuration says. */
  isDisabled(filterName: string): boolean | undefined {
    return this.#switches?.get(filterName);
  }

  /** This level's part below an outer level: the outer one's, overridden. */
  extend(configs: Readonly<Record<string, Any>>, compilers: FilterConfigCompilers | undefined, field: Field): PerFilterConfig {
    const entries = Object.entries(configs);
    if (entries.length === 0 || compilers === undefined) return this;
    const extended = new Map(this.#configs);
    const switches = new Map(this.#switches);
    for (const [name, any] of entries) {
      const at = field.child(`typed_per_filter_config["${name}"]`);
      try {
        const { config, isOptional, isDisabled } = unwrap(any);
        switches.set(name, isDisabled);
        if (config === undefined) continue;
        const type = typeNameOf(config);
        const compile = compilers.get(type);
        if (compile === undefined) {
          if (!isOptional) at.reject(`is for a filter that this proxy does not have (${type})`);
          continue;
        }
        const compiled = compile(config, at);
        for (const key of [type, filterConfigKey(name, type)]) extended.set(key, [...(extended.get(key) ?? NOTHING), compiled]);
      } catch (thrown) {
        at.reject(`does not decode: ${String(thrown)}`);
      }
    }
    return new PerFilterConfig(extended, switches);
  }
}

const NOTHING: readonly unknown[] = [];

export const NO_FILTER_CONFIG: PerFilterConfig = new PerFilterConfig(new Map(), undefined);

/** Where two filters of one kind stand in a chain, each is told its own: by its name in the chain, as Envoy does. */
export function filterConfigKey(filterName: string, messageType: string): string {
  return `${filterName}\n${messageType}`;
}

function unwrap(any: Any): { readonly config: Any | undefined; readonly isOptional: boolean; readonly isDisabled: boolean } {
  const wrapper = unpackAny(any, FilterConfigSchema);
  if (wrapper === undefined) return { config: resolveTypedStruct(any), isOptional: false, isDisabled: false };
  const config = wrapper.config === undefined || wrapper.config.typeUrl === '' ? undefined : resolveTypedStruct(wrapper.config);
  return { config, isOptional: wrapper.isOptional, isDisabled: wrapper.disabled };
}

function typeNameOf(any: Any): string {
  return any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1);
}
