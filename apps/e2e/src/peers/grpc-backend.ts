import { createServer, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  RateLimitRequestSchema,
  type RateLimitResponse,
  RateLimitResponse_Code,
  RateLimitResponse_RateLimit_Unit,
  RateLimitResponseSchema,
} from '@mizzen/xds-api/envoy/service/ratelimit/v3/rls';

export interface GrpcBackend {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * A gRPC server over HTTP/2 without TLS. `/echo.Echo/Say` sends each message back, `/echo.Echo/Fail` answers NOT_FOUND without a body; it
 * is a rate limit service too, whose answer depends on the values of the descriptors: `limited`, `error`, or anything.
 */
export async function startGrpcBackend(): Promise<GrpcBackend> {
  const sessions = new Set<ServerHttp2Session>();
  const server = createServer();
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
  });
  server.on('stream', (stream, headers) => {
    const chunks: Buffer[] = [];
    stream.on('error', () => undefined);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      // Who called may have given up.
      if (!stream.destroyed) answer(stream, headers, Buffer.concat(chunks));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      for (const session of sessions) session.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

function answer(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, body: Buffer): void {
  switch (headers[':path']) {
    case '/echo.Echo/Say':
      reply(stream, body, { 'grpc-status': '0', 'grpc-message': 'fine', 'x-accepts': String(headers['grpc-accept-encoding']) });
      return;
    case '/echo.Echo/Fail':
      stream.respond(
        { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '5', 'grpc-message': 'nothing' },
        { endStream: true },
      );
      return;
    case '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit': {
      const decision = decide(body.subarray(5));
      if (decision === undefined)
        stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '13' }, { endStream: true });
      else reply(stream, framed(toBinary(RateLimitResponseSchema, decision)), { 'grpc-status': '0' });
      return;
    }
    default:
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '12' }, { endStream: true });
  }
}

function reply(stream: ServerHttp2Stream, body: Buffer, trailers: Readonly<Record<string, string>>): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  stream.end(body);
}

/** One message with its length before it. */
export function framed(message: Uint8Array): Buffer {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(message.length, 1);
  return Buffer.concat([header, message]);
}

function decide(message: Buffer): RateLimitResponse | undefined {
  const request = fromBinary(RateLimitRequestSchema, message);
  const entries = request.descriptors.flatMap(({ entries: of }) => of.map(({ key, value }) => `${key}=${value}`));
  if (entries.some((entry) => entry.endsWith('=error'))) return undefined;
  const isLimited = entries.some((entry) => entry.endsWith('=limited'));
  const code = isLimited ? RateLimitResponse_Code.OVER_LIMIT : RateLimitResponse_Code.OK;
  const { MINUTE, HOUR } = RateLimitResponse_RateLimit_Unit;
  return create(RateLimitResponseSchema, {
    overallCode: code,
    statuses: [
      { code, currentLimit: { name: 'first', requestsPerUnit: 10, unit: MINUTE }, limitRemaining: 7, durationUntilReset: { seconds: 42n } },
      {
        code,
        currentLimit: { requestsPerUnit: 100, unit: HOUR },
        limitRemaining: isLimited ? 0 : 50,
        durationUntilReset: { seconds: 4200n },
      },
    ],
    responseHeadersToAdd: [{ key: 'x-asked', value: [request.domain, ...entries].join(' ') }],
    requestHeadersToAdd: [{ key: 'x-counted', value: 'yes' }],
    rawBody: isLimited ? Buffer.from('slow down') : Buffer.alloc(0),
  });
}
