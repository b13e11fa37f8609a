import { once } from 'node:events';
import type { AddressInfo, Server } from 'node:net';
import mysql from 'mysql2';

/** What of mysql2's untyped server side a test uses. */
export interface MysqlPeerConnection {
  sequenceId: number;
  serverHandshake(options: object): void;
  on(event: 'query', listener: (sql: string) => void): void;
  on(event: 'error', listener: () => void): void;
  writeTextResult(rows: readonly object[], columns: readonly object[]): void;
  writeError(error: { code: number; message: string }): void;
}

export interface MysqlPeer extends AsyncDisposable {
  readonly port: number;
  readonly logins: readonly Record<string, unknown>[];
  readonly queries: readonly string[];
}

export const RATING_COLUMN = {
  catalog: 'def',
  schema: 'test',
  table: 'ratings',
  orgTable: 'ratings',
  name: 'Rating',
  orgName: 'Rating',
  characterSet: 33,
  columnLength: 11,
  columnType: 3,
  flags: 0,
  decimals: 0,
};

/** A server that speaks MySQL's protocol over a real socket, for machines without MariaDB: mysql2's own server side. Port 0 is any free one. */
export async function startMysqlPeer(
  onQuery: (connection: MysqlPeerConnection, sql: string) => void,
  { port = 0 }: { readonly port?: number } = {},
): Promise<MysqlPeer> {
  const logins: Record<string, unknown>[] = [];
  const queries: string[] = [];
  const server = (mysql as unknown as { createServer(): Server & { _server: Server } }).createServer();
  server.on('connection', (socket: unknown) => {
    const connection = socket as MysqlPeerConnection;
    connection.on('error', () => undefined);
    connection.serverHandshake({
      protocolVersion: 10,
      serverVersion: '8.0.0-peer',
      connectionId: 1,
      statusFlags: 2,
      characterSet: 33,
      capabilityFlags: 0xff_ff_ff,
      authCallback: (login: Record<string, unknown>, done: (error: null) => void) => {
        logins.push(login);
        done(null);
        // Every command counts its packets anew; mysql2's server side forgets that after the login.
        connection.sequenceId = 0;
      },
    });
    connection.on('query', (sql) => {
      queries.push(sql);
      onQuery(connection, sql);
    });
  });
  server.listen(port);
  await once(server._server, 'listening');
  return {
    port: (server._server.address() as AddressInfo).port,
    logins,
    queries,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server._server.close(() => resolve())),
  };
}
