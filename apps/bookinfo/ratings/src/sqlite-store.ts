import { DatabaseSync } from 'node:sqlite';
import { type Ratings, type RatingsStore, ratingsOfRows, StoreError } from './store.ts';

export interface SqliteStoreOptions {
  /** Path of the database file, or `:memory:`. It is made, with the two ratings of the sample, where it does not exist. */
  readonly file: string;
  /** Whether clients may post ratings. */
  readonly isWritable: boolean;
}

const BUSY_TIMEOUT_MS = 1_000;

/** The same table as on MySQL, and beside it what clients have posted for a product. */
const TABLES = `
  CREATE TABLE IF NOT EXISTS posted_ratings (ProductID INTEGER PRIMARY KEY, Ratings TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS ratings (ReviewID INTEGER PRIMARY KEY, Rating INTEGER NOT NULL);
`;
const SAMPLE = 'INSERT OR IGNORE INTO ratings (ReviewID, Rating) VALUES (1, 5), (2, 4)';

/** Ratings in an embedded database. The file is opened with the first request, and again after a failure. */
export function createSqliteStore(options: SqliteStoreOptions): RatingsStore {
  let database: DatabaseSync | undefined;
  const opened = (): DatabaseSync => {
    database ??= openDatabase(options.file);
    return database;
  };
  const store: RatingsStore = {
    read: async (productId) => (options.isWritable ? readPosted(opened(), productId) : undefined) ?? readTable(opened()),
    close: () => database?.close(),
  };
  if (!options.isWritable) return store;
  return {
    ...store,
    write: async (productId, ratings) => {
      opened().prepare('INSERT OR REPLACE INTO posted_ratings (ProductID, Ratings) VALUES (?, ?)').run(productId, JSON.stringify(ratings));
    },
  };
}

function openDatabase(file: string): DatabaseSync {
  try {
    const database = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
    const isNew = database.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'ratings'").get() === undefined;
    database.exec(TABLES);
    if (isNew) database.exec(SAMPLE);
    return database;
  } catch (error) {
    throw new StoreError('could not connect to ratings database', error);
  }
}

function readPosted(database: DatabaseSync, productId: number): Ratings | undefined {
  const row = database.prepare('SELECT Ratings FROM posted_ratings WHERE ProductID = ?').get(productId);
  return row === undefined ? undefined : (JSON.parse(String(row['Ratings'])) as Ratings);
}

function readTable(database: DatabaseSync): Ratings {
  try {
    const rows = database.prepare('SELECT Rating FROM ratings ORDER BY ReviewID').all();
    return ratingsOfRows(rows as unknown as { Rating: number }[]);
  } catch (error) {
    throw new StoreError('could not perform select', error);
  }
}
