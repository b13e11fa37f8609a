import { connect as connectHttp2, constants } from 'node:http2';
import { connect } from 'node:net';
import { errorMessage, joinHostPort } from '@mizzen/core';

export interface GrpcHealthCheck {
  readonly host: string;
  readonly port: number;
  /** Address that the connection comes from. grpc-js cannot choose it, which is why this speaks HTTP/2 itself. */
  readonly localAddress: string | undefined;
  /** '' asks for the server as a whole. */
  readonly service: string;
  readonly timeoutMs: number;
  readonly userAgent: string | undefined;
}

const STATUS = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;
export type GrpcHealthStatus = (typeof STATUS)[number];

const SERVICE_FIELD = 0x0a;
const STATUS_FIELD = 0x08;
const HEADER_BYTES = 5;

/** grpc.health.v1.Health/Check in plaintext. Rejects where the server does not answer in time, or not with a status. */
export function checkGrpcHealth(check: GrpcHealthCheck): Promise<GrpcHealthStatus> {
  const { host, port, localAddress, timeoutMs, userAgent = 'kube-probe' } = check;
  const authority = joinHostPort(host, port);
  return new Promise((resolve, reject) => {
    const session = connectHttp2(`http://${authority}`, {
      createConnection: () => connect({ host, port, ...(localAddress !== undefined && { localAddress }) }),
    });
    const end = (settle: () => void): void => {
      signal.removeEventListener('abort', timedOut);
      session.destroy();
      settle();
    };
    const fail = (reason: string): void => end(() => reject(new Error(reason)));
    const signal = AbortSignal.timeout(timeoutMs);
    const timedOut = (): void => fail(`no answer after ${timeoutMs} ms`);
    signal.addEventListener('abort', timedOut);
    session.once('error', (error) => fail(error.message));
    const stream = session.request({
      ':method': 'POST',
      ':path': '/grpc.health.v1.Health/Check',
      'content-type': 'application/grpc',
      te: 'trailers',
      'user-agent': userAgent,
    });
    const chunks: Buffer[] = [];
    let grpcStatus: string | undefined;
    let grpcMessage = '';
    const readStatus = (headers: Readonly<Record<string, unknown>>): void => {
      if (headers['grpc-status'] !== undefined) grpcStatus = String(headers['grpc-status']);
      if (headers['grpc-message'] !== undefined) grpcMessage = String(headers['grpc-message']);
    };
    stream.on('response', readStatus);
    stream.on('trailers', readStatus);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    // Of a connection that failed the stream knows only that it was cancelled; its cause says why.
    stream.once('error', (error) => fail(errorMessage(error.cause ?? error)));
    stream.once('end', () => {
      if (grpcStatus === '0') end(() => resolve(decodeStatus(Buffer.concat(chunks))));
      else fail(grpcStatus === undefined ? 'the answer is not gRPC' : `gRPC status ${grpcStatus} ${grpcMessage}`.trim());
    });
    stream.end(encodeRequest(check.service));
    stream.once('close', () => {
      if (stream.rstCode !== constants.NGHTTP2_NO_ERROR) fail('the stream was reset');
    });
  });
}

function encodeRequest(service: string): Buffer {
  const name = Buffer.from(service, 'utf8');
  if (name.length > 127) throw new Error('the name of the gRPC service is too long');
  const message = name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.of(SERVICE_FIELD, name.length), name]);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(message.length, 1);
  return Buffer.concat([header, message]);
}

// An empty message is the default: UNKNOWN.
function decodeStatus(answer: Buffer): GrpcHealthStatus {
  const message = answer.subarray(HEADER_BYTES);
  return (message[0] === STATUS_FIELD ? STATUS[message[1] ?? 0] : STATUS[0]) ?? STATUS[0];
}
