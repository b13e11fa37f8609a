import { logVerbosity, Server, setLogVerbosity } from '@grpc/grpc-js';
import { errorMessage, joinHostPort, listenError, type Running, type Watchable } from '@mizzen/core';
import { createServerCredentials, type TlsIdentity } from '@mizzen/identity';
import { grpcServiceDefinition } from '@mizzen/xds-api';
import { IstioCertificateService } from '@mizzen/xds-api/istio/v1/auth/ca';
import { createSigningService, type SigningOptions } from './signing-service.ts';

// A request is a CSR of at most 16 kB and little else.
const MAX_MESSAGE_BYTES = 64 * 1024;
const CLOSE_GRACE_MS = 2000;

/** The signing service on TLS. A client certificate is asked for but not demanded: a newcomer has a join token instead. */
export async function serveSigning(
  options: SigningOptions & { host: string; port: number; identity: Watchable<TlsIdentity | undefined> },
): Promise<Running & { port: number }> {
  // What goes wrong comes back as an error and is said once, by us.
  setLogVerbosity(logVerbosity.NONE);
  const server = new Server({ 'grpc.max_receive_message_length': MAX_MESSAGE_BYTES, 'grpc.max_concurrent_streams': 100 });
  server.addService(grpcServiceDefinition(IstioCertificateService), createSigningService(options));
  const credentials = createServerCredentials(options.identity, { clientCertificate: 'optional' });
  const address = joinHostPort(options.host, options.port);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(address, credentials, (error, bound) => (error ? reject(listenErrorOf(error, address)) : resolve(bound)));
  });
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        credentials.stop();
        const timer = options.clock.after(CLOSE_GRACE_MS, () => server.forceShutdown());
        server.tryShutdown(() => {
          timer.cancel();
          resolve();
        });
      }),
  };
}

// grpc-js hands on the text of the system error but not its code.
function listenErrorOf(thrown: unknown, address: string): Error {
  const code = /\b(EADDRINUSE|EACCES|EADDRNOTAVAIL)\b/.exec(errorMessage(thrown))?.[1];
  return listenError(code === undefined ? thrown : { code }, address, 'the CA');
}
