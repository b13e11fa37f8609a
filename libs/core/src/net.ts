import { errorCode, MizzenError } from './errors.ts';

/** Splits `host:port`, `[::1]:port`; returns undefined where there is no valid port. */
export function splitHostPort(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(text);
  if (!match) return undefined;
  const port = Number(match[3]);
  return port > 65_535 ? undefined : { host: match[1] ?? match[2] ?? '', port };
}

export function joinHostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Turns what `listen` failed with into a sentence that says what to do. */
export function listenError(thrown: unknown, address: string, what: string): MizzenError {
  const code = errorCode(thrown);
  if (code === 'EADDRINUSE')
    return new MizzenError('MIZZEN_PORT_IN_USE', `${what} cannot listen on ${address}: the port is in use; free it or choose another`, {
      cause: thrown,
    });
  if (code === 'EACCES')
    return new MizzenError('MIZZEN_ADDRESS', `${what} may not listen on ${address}: ports below 1024 need a privilege; choose another`, {
      cause: thrown,
    });
  return new MizzenError('MIZZEN_ADDRESS', `${what} cannot listen on ${address}: ${code || String(thrown)}`, { cause: thrown });
}
