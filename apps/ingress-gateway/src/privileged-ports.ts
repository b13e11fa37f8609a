import { createServer } from 'node:net';
import { errorCode } from '@mizzen/core';

// tcpmux: nobody has used it for decades, so that what is learnt is about the privilege and not about the port.
const PROBE_PORT = 1;

/** Whether this process may bind ports below 1024. Tried rather than looked up: capabilities, sysctls and macOS all have a say in it. */
export function mayBindPrivilegedPorts(): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error) => resolve(errorCode(error) !== 'EACCES' && errorCode(error) !== 'EPERM'));
    server.listen(PROBE_PORT, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
