import type { PathMatch } from './path-match.ts';

/** Fewer routes are looked through one after the other as fast. */
const MIN_INDEXED = 8;

interface Indexed {
  readonly path: PathMatch;
}

/**
 * Finds the first route of a list that takes a request, at a cost that does not grow with the number of routes whose path is a plain
 * text: those are looked up by the path, and by the beginnings of the path that are as long as some prefix. The others (regular
 * expressions, paths in any case, CONNECT) are tried one by one.
 */
export class RouteIndex<Route extends Indexed> {
  readonly #routes: readonly Route[];
  /** Positions in the list, ascending. */
  readonly #byPath = new Map<string, number[]>();
  readonly #byPrefix = new Map<string, number[]>();
  readonly #prefixLengths: readonly number[];
  readonly #others: number[] = [];

  constructor(routes: readonly Route[]) {
    this.#routes = routes;
    const isWorthIt = routes.length >= MIN_INDEXED;
    const lengths = new Set<number>();
    routes.forEach(({ path }, position) => {
      const { kind, text, isCaseSensitive } = path;
      if (!isWorthIt || !isCaseSensitive || kind === 'regex' || kind === 'connect') this.#others.push(position);
      else if (kind === 'path') add(this.#byPath, text, position);
      else {
        add(this.#byPrefix, text, position);
        lengths.add(text.length);
      }
    });
    this.#prefixLengths = [...lengths].sort((a, b) => a - b);
  }

  /** `takes` is asked of routes whose path fits, in no certain order, and must not depend on it. */
  find<Request>(path: string, request: Request, takes: (route: Route, request: Request) => boolean): Route | undefined {
    let best = this.#best(this.#others, this.#routes.length, { path, request, takes });
    const exact = this.#byPath.get(path);
    if (exact !== undefined) best = this.#best(exact, best, { path, request, takes });
    for (const length of this.#prefixLengths) {
      if (length > path.length) break;
      const positions = this.#byPrefix.get(path.slice(0, length));
      if (positions !== undefined) best = this.#best(positions, best, { path, request, takes });
    }
    return this.#routes[best];
  }

  /** The first of the positions below `best` whose route takes the request; else `best`. */
  #best<Request>(
    positions: readonly number[],
    best: number,
    asked: { readonly path: string; readonly request: Request; readonly takes: (route: Route, request: Request) => boolean },
  ): number {
    for (const position of positions) {
      if (position >= best) return best;
      const route = this.#routes[position] as Route;
      if ((route.path.kind === 'connect' || route.path.matches(asked.path)) && asked.takes(route, asked.request)) return position;
    }
    return best;
  }
}

function add(map: Map<string, number[]>, text: string, position: number): void {
  const known = map.get(text);
  if (known === undefined) map.set(text, [position]);
  else known.push(position);
}
