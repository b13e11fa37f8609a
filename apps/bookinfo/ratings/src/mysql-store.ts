import { type Connection, createConnection, type RowDataPacket } from 'mysql2/promise';
import { type RatingsStore, ratingsOfRows, StoreError } from './store.ts';

export interface MysqlStoreOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly connectTimeoutMs: number;
}

/** Ratings in database `test`, table `ratings(ReviewID, Rating)`. Each read makes its own connection, as the original does. */
export function createMysqlStore(options: MysqlStoreOptions): RatingsStore {
  return {
    read: async () => {
      const connection = await openConnection(options);
      try {
        const [rows] = await connection.query<(RowDataPacket & { Rating: number })[]>('SELECT Rating FROM ratings ORDER BY ReviewID');
        return ratingsOfRows(rows);
      } catch (error) {
        throw new StoreError('could not perform select', error);
      } finally {
        connection.destroy();
      }
    },
    close: () => undefined,
  };
}

async function openConnection(options: MysqlStoreOptions): Promise<Connection> {
  const { host, port, user, password, connectTimeoutMs } = options;
  try {
    return await createConnection({ host, port, user, password, database: 'test', connectTimeout: connectTimeoutMs });
  } catch (error) {
    throw new StoreError('could not connect to ratings database', error);
  }
}
