import type { IncomingMessage } from 'node:http';

// What the proxy dials from when it hands a connection on: whoever caused that need not be of this pod.
const PROXY_SOURCE = '127.0.0.6';

/** Whether the request comes from this machine, or this pod. */
export function isFromLoopback(request: IncomingMessage): boolean {
  const address = (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '');
  return address === '::1' || (address.startsWith('127.') && address !== PROXY_SOURCE);
}
