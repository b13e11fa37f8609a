import { openConnections } from './open-connections.ts';
import type { StatHistogram } from './stat-histogram.ts';

/**
 * The proxy's own statistics under Envoy's names. Whoever counts keeps plain numbers in an object and counts in place (`stats.allowed++`);
 * names and labels are built when somebody looks.
 *
 *     export const RBAC_STATS = defineStats({ counters: { allowed: 'allowed', denied: 'denied' } });
 *     const stats = context.stats.counts(RBAC_STATS, { prefix: 'http.ingress.rbac', tags: [['envoy.http_conn_manager_prefix', 'ingress']] });
 *     stats.allowed++;
 *
 * prints `http.ingress.rbac.allowed: 1` and `envoy_http_rbac_allowed{envoy_http_conn_manager_prefix="ingress"} 1`.
 */
export class StatRegistry {
  readonly #known = new Map<string, { readonly scope: WeakScope; readonly names: StatNames }>();
  readonly #sources: (() => Iterable<StatScope>)[] = [];
  readonly #forgotten = new FinalizationRegistry<string>((key) => {
    if (this.#known.get(key)?.scope.values.deref() === undefined) this.#known.delete(key);
  });

  /**
   * The counts of `scope.prefix`: those that are there, or new ones at 0. As Envoy's, they belong to the name: who asks again for it after
   * a change of the configuration goes on counting in the same object. They are gone once nobody holds them.
   */
  counts<N extends StatNames>(names: N, scope: { readonly prefix: string; readonly tags?: readonly StatTag[] }): Counts<N> {
    const key = `${scope.prefix}\n${names.id}`;
    const known = this.#known.get(key)?.scope.values.deref();
    if (known !== undefined) return known as Counts<N>;
    const values = zeroCounts(names);
    this.#known.set(key, { names, scope: { prefix: scope.prefix, tags: scope.tags ?? NO_TAGS, values: new WeakRef(values) } });
    this.#forgotten.register(values, key);
    return values;
  }

  /** For what is enumerated when somebody looks: clusters, listeners. Several scopes of one prefix and name are added up. */
  addSource(source: () => Iterable<StatScope>): void {
    this.#sources.push(source);
  }

  *scopes(): Generator<StatScope> {
    openConnections.countAll();
    for (const { scope, names } of this.#known.values()) {
      const values = scope.values.deref();
      if (values === undefined) continue;
      const codes = (values as CountedCodes).responseCodes;
      yield { prefix: scope.prefix, tags: scope.tags, names, values, ...(codes === undefined ? undefined : codeCounters(codes)) };
    }
    for (const source of this.#sources) yield* source();
  }
}

/** A part of a prefix that is a label: Envoy's name of the tag and the value, as it stands in the prefix. */
export type StatTag = readonly [name: string, value: string];

const NO_TAGS: readonly StatTag[] = [];

interface WeakScope {
  readonly prefix: string;
  readonly tags: readonly StatTag[];
  readonly values: WeakRef<object>;
}

/** One object of counts with what it takes to print them. */
export interface StatScope {
  /** Envoy's dotted prefix, without the dot at the end: `cluster.reviews`. */
  readonly prefix: string;
  readonly tags: readonly StatTag[];
  readonly names: StatNames;
  readonly values: object;
  /** Counters of names that arise as they are counted: `upstream_rq_200`. */
  readonly more?: Iterable<readonly [name: string, value: number]> | undefined;
  /** Sets those to 0. */
  readonly clearMore?: (() => void) | undefined;
}

type Names = Readonly<Record<string, string>>;
type NoNames = Readonly<Record<never, string>>;

/** Envoy's name of each field, by kind: below the scope's prefix, dots as Envoy writes them (`ssl.handshake`). */
export interface StatNames {
  readonly id: number;
  readonly counters: Names;
  readonly gauges: Names;
  readonly histograms: Names;
}

/**
 * An object with a number for each counter and gauge that was named. A histogram is there from its first value on:
 * `record(stats, 'rqTime', ms)` of stat-histogram.ts.
 */
export type Counts<N extends StatNames> = { -readonly [K in keyof N['counters'] | keyof N['gauges']]: number } & {
  -readonly [K in keyof N['histograms']]: StatHistogram | undefined;
};

/** Counts that have beside their names how often each status came: `upstream_rq_200`, from the first answer on. */
export interface CountedCodes {
  responseCodes?: Map<number, number> | undefined;
}

/** What a scope says of them. */
export function codeCounters(codes: Map<number, number>): Pick<StatScope, 'more' | 'clearMore'> {
  return { more: [...codes].map(([status, count]) => [`upstream_rq_${status}`, count] as const), clearMore: () => codes.clear() };
}

let lastId = 0;

/** Names the fields of an object of counts; call it once for each kind of object, at module level. */
export function defineStats<C extends Names = NoNames, G extends Names = NoNames, H extends Names = NoNames>(fields: {
  readonly counters?: C;
  readonly gauges?: G;
  readonly histograms?: H;
}): { readonly id: number; readonly counters: C; readonly gauges: G; readonly histograms: H } {
  const { counters = {} as C, gauges = {} as G, histograms = {} as H } = fields;
  return { id: ++lastId, counters, gauges, histograms };
}

/**
 * All at 0; one shape for all objects of these names. An object that dozens of fields were added to one by one is a hash table to V8, five
 * times as large and slower to count in; a copy of one that was parsed is not.
 */
export function zeroCounts<N extends StatNames>(names: N): Counts<N> {
  let template = templates.get(names.id);
  if (template === undefined) {
    const histograms = Object.keys(names.histograms);
    const fields = [...Object.keys(names.counters), ...Object.keys(names.gauges), ...histograms];
    template = JSON.parse(JSON.stringify(Object.fromEntries(fields.map((field) => [field, 0])))) as Record<string, number | undefined>;
    for (const field of histograms) template[field] = undefined;
    templates.set(names.id, template);
  }
  return { ...template } as Counts<N>;
}

const templates = new Map<number, Record<string, number | undefined>>();
