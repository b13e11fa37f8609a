import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type { LayeredRuntime } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { ConfigError } from './config-error.ts';

interface Layer {
  readonly name: string;
  readonly isAdmin: boolean;
  readonly values: Map<string, string>;
}

/** Runtime values in layers; the last layer that has a key decides. Source: envoy docs, "Runtime configuration" (1.40). */
export class RuntimeValues {
  readonly #layers: readonly Layer[];

  /** Throws ConfigError for a layer that this proxy does not have. */
  constructor(message: LayeredRuntime | undefined) {
    this.#layers = (message?.layers ?? []).map(({ name, layerSpecifier }, index) => {
      const values = new Map<string, string>();
      if (layerSpecifier.case === 'staticLayer') flatten(layerSpecifier.value, '', values);
      else if (layerSpecifier.case !== 'adminLayer')
        throw new ConfigError(`layers[${index}]`, 'only static_layer and admin_layer are supported by this proxy');
      return { name, isAdmin: layerSpecifier.case === 'adminLayer', values };
    });
  }

  /** undefined where no layer has the key. */
  get(key: string): string | undefined {
    for (let index = this.#layers.length - 1; index >= 0; index--) {
      const value = this.#layers[index]?.values.get(key);
      if (value !== undefined && value !== '') return value;
    }
    return undefined;
  }

  /** A number, or `fallback` where there is none. */
  number(key: string, fallback: number): number {
    const value = Number(this.get(key) ?? Number.NaN);
    return Number.isFinite(value) ? value : fallback;
  }

  get hasAdminLayer(): boolean {
    return this.#layers.some((layer) => layer.isAdmin);
  }

  /** Overrides a value; an empty one takes the override away. False without an admin layer. */
  modify(changes: Iterable<readonly [key: string, value: string]>): boolean {
    const admin = this.#layers.findLast((layer) => layer.isAdmin);
    if (admin === undefined) return false;
    for (const [key, value] of changes) {
      if (value === '') admin.values.delete(key);
      else admin.values.set(key, value);
    }
    return true;
  }

  /** As `/runtime` prints them. */
  describe(): JsonObject {
    const keys = [...new Set(this.#layers.flatMap((layer) => [...layer.values.keys()]))].sort();
    const entries = keys.map((key): [string, JsonValue] => [
      key,
      { layer_values: this.#layers.map((layer) => layer.values.get(key) ?? ''), final_value: this.get(key) ?? '' },
    ]);
    return { layers: this.#layers.map((layer) => layer.name), entries: Object.fromEntries(entries) };
  }
}

// A fraction ({numerator, denominator}) is one value in Envoy too; it is kept as a number of percent.
function flatten(object: JsonObject, prefix: string, into: Map<string, string>): void {
  for (const [key, value] of Object.entries(object)) {
    const path = prefix === '' ? key : `${prefix}.${key}`;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) into.set(path, String(value));
    else if ('numerator' in value) into.set(path, String(percentOf(value)));
    else flatten(value, path, into);
  }
}

function percentOf(fraction: JsonObject): number {
  const denominators: Readonly<Record<string, number>> = { TEN_THOUSAND: 10_000, MILLION: 1_000_000 };
  return (Number(fraction['numerator']) / (denominators[String(fraction['denominator'])] ?? 100)) * 100;
}
