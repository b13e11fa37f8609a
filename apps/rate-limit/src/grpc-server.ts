import { type handleUnaryCall, logVerbosity, Server, ServerCredentials, setLogVerbosity } from '@grpc/grpc-js';
import { type Clock, errorMessage, joinHostPort, listenError, type Running } from '@mizzen/core';
import { grpcServiceDefinition } from '@mizzen/xds-api';
import { type RateLimitRequest, type RateLimitResponse, RateLimitService } from '@mizzen/xds-api/envoy/service/ratelimit/v3/rls';

/** A question carries at most a few headers of one request, and proxies bound those. */
const MAX_MESSAGE_BYTES = 1024 * 1024;
const CLOSE_GRACE_MS = 2000;

export interface RateLimitServerOptions {
  readonly host: string;
  /** 0 means any free port. */
  readonly port: number;
  readonly clock: Clock;
  readonly answer: (request: RateLimitRequest) => RateLimitResponse;
}

/**
 * `envoy.service.ratelimit.v3.RateLimitService` in plain text: who may ask is the mesh's to say, by the sidecar in front.
 * Throws MIZZEN_PORT_IN_USE or MIZZEN_ADDRESS when it cannot listen.
 */
export async function serveRateLimits(options: RateLimitServerOptions): Promise<Running & { readonly port: number }> {
  // What goes wrong comes back as an error and is said once, by us.
  setLogVerbosity(logVerbosity.NONE);
  const { host, clock, answer } = options;
  const server = new Server({ 'grpc.max_receive_message_length': MAX_MESSAGE_BYTES });
  const shouldRateLimit: handleUnaryCall<RateLimitRequest, RateLimitResponse> = (call, callback) => callback(null, answer(call.request));
  server.addService(grpcServiceDefinition(RateLimitService), { shouldRateLimit });
  const address = joinHostPort(host, options.port);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(listenErrorOf(error, address)) : resolve(bound),
    );
  });
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        const deadline = clock.after(CLOSE_GRACE_MS, () => server.forceShutdown());
        server.tryShutdown(() => {
          deadline.cancel();
          resolve();
        });
      }),
  };
}

// grpc-js hands on the text of the system error but not its code.
function listenErrorOf(thrown: unknown, address: string): Error {
  const code = /\b(EADDRINUSE|EACCES|EADDRNOTAVAIL)\b/.exec(errorMessage(thrown))?.[1];
  return listenError(code === undefined ? thrown : { code }, address, 'the rate limit service');
}
