export type Path = readonly (string | number)[];

/** Where the checks of a specification put what they find. Paths start below `spec`. */
export interface SpecReport {
  /** Namespace of the resource. */
  readonly namespace: string;
  readonly error: (path: Path, message: string) => void;
  readonly warn: (path: Path, message: string) => void;
}

/** The names of the fields that are set. */
export function given<T extends object>(value: T, names: readonly (keyof T & string)[]): readonly string[] {
  return names.filter((name) => value[name] !== undefined);
}

/** Reports fields of a group of which at most one may be set. */
export function atMostOne<T extends object>(
  value: T | undefined,
  names: readonly (keyof T & string)[],
  at: { path: Path; report: SpecReport },
): void {
  if (!value) return;
  const set = given(value, names);
  if (set.length > 1) at.report.error([...at.path, set[1] as string], `${set.join(' and ')} exclude each other; give one of them`);
}
