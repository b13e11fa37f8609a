/** Stars by reviewer; what a client has posted is kept and given back as it came. */
export type Ratings = Readonly<Record<string, unknown>>;

/** Where ratings are kept. */
export interface RatingsStore {
  /** Throws a `StoreError`. */
  read(productId: number): Promise<Ratings>;
  /** Absent where clients may not write. */
  readonly write?: (productId: number, ratings: unknown) => Promise<void>;
  close(): void;
}

/** What a client is told of a database that failed; the reason goes to the log as `cause`. */
export class StoreError extends Error {
  constructor(message: 'could not connect to ratings database' | 'could not perform select', cause: unknown) {
    super(message, { cause });
    this.name = 'StoreError';
  }
}

/** The first row belongs to Reviewer1, the second to Reviewer2; a missing row counts as no star. */
export function ratingsOfRows(rows: readonly { readonly Rating: number }[]): Ratings {
  return { Reviewer1: rows[0]?.Rating ?? 0, Reviewer2: rows[1]?.Rating ?? 0 };
}
