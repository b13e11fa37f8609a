import * as net from 'node:net';
import { getSystemErrorName } from 'node:util';
import { ConfigError } from '../config/config-error.ts';
import { addressText } from '../config/values.ts';
import type { SocketAddress } from '../contract.ts';

interface ListenHandle {
  close(): void;
}

type CreateServerHandle = (address: string, port: number, addressType: 4 | 6 | -1, fd?: number, flags?: number) => ListenHandle | number;

// Source: libuv, enum uv_tcp_flags.
const UV_TCP_IPV6ONLY = 1;
const UV_TCP_REUSEPORT = 2;

/**
 * Starts listening and knows before it returns whether that worked: a NACK must be given in the same moment in which the configuration
 * arrives. `server.listen` tells one event loop turn later, hence the function that node:cluster uses below it. Throws ConfigError.
 * `inherited` is a socket that listens there already. With `sharesPort` other event loops of the process
 * listen on the same port; the kernel spreads connections over them.
 */
export function listenNow(
  server: net.Server,
  address: SocketAddress,
  options: {
    readonly backlog?: number;
    readonly isDualStack?: boolean;
    readonly sharesPort?: 'first' | 'further' | undefined;
    readonly inherited?: number | undefined;
  } = {},
): void {
  const text = addressText(address);
  const createServerHandle = (net as unknown as { readonly _createServerHandle: CreateServerHandle })._createServerHandle;
  const shared = options.sharesPort === undefined ? 0 : UV_TCP_REUSEPORT;
  // A shared port could be shared with a stranger: nobody may listen there when the first event loop comes.
  if (options.sharesPort === 'first' && options.inherited === undefined && address.kind === 'ip') probe(address, options);
  const handle =
    options.inherited !== undefined
      ? createServerHandle('', 0, -1, options.inherited)
      : address.kind === 'pipe'
        ? createServerHandle(address.path, -1, -1)
        : net.isIPv6(address.host)
          ? createServerHandle(address.host, address.port, 6, -1, (options.isDualStack ? 0 : UV_TCP_IPV6ONLY) | shared)
          : createServerHandle(address.host, address.port, 4, -1, shared);
  if (typeof handle === 'number') throw new ConfigError('address', `cannot bind ${text}: ${describe(getSystemErrorName(handle))}`);
  // Without a listener a late error would end the process; it is told below, in time.
  server.once('error', ignore);
  server.listen(handle, options.backlog);
  if (!server.listening) throw new ConfigError('address', `cannot bind ${text}: ${describe('EADDRINUSE')}`);
  server.removeListener('error', ignore);
}

/** Throws ConfigError where somebody listens there. */
function probe(address: SocketAddress, { isDualStack = false }: { readonly isDualStack?: boolean }): void {
  const server = new net.Server();
  listenNow(server, address, { isDualStack });
  server.close();
}

function ignore(): void {}

function describe(code: string): string {
  if (code === 'EADDRINUSE') return 'address already in use';
  if (code === 'EACCES') return 'permission denied; ports below 1024 need a privilege';
  if (code === 'EADDRNOTAVAIL') return 'no such address on this machine';
  return code;
}
