import { createServer, type IncomingMessage, type Server } from 'node:http';
import { createServer as createHttp2Server, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { create, fromBinary, type MessageInitShape, toBinary, toJsonString } from '@bufbuild/protobuf';
import {
  HeaderValueOption_HeaderAppendAction as Action,
  HeaderValueOptionSchema,
  HeaderValueSchema,
  QueryParameterSchema,
} from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  CheckRequestSchema,
  type CheckResponse,
  CheckResponseSchema,
  DeniedHttpResponseSchema,
  OkHttpResponseSchema,
} from '@mizzen/xds-api/envoy/service/auth/v3/external_auth';
import { HttpStatusSchema } from '@mizzen/xds-api/envoy/type/v3/http_status';
import { StatusSchema } from '@mizzen/xds-api/google/rpc/status';

/** Decides by the last part of the path; `x-asked` of its answers says what it was asked. */
export function startHttpAuthorization(): Promise<Server> {
  const server = createServer((request, response) => {
    const body: Buffer[] = [];
    request.on('data', (chunk: Buffer) => body.push(chunk));
    request.on('end', () => {
      const asked = askedOf(request, Buffer.concat(body).toString('latin1'));
      const headers = { 'x-asked': asked, 'x-set': 'theirs', 'x-append': 'theirs', 'x-client': 'told', 'x-reason': 'because' };
      switch (decisionIn(request.url ?? '')) {
        case 'allow':
          response.writeHead(200, { ...headers, 'x-envoy-auth-headers-to-remove': 'x-gone, x-nothing' }).end('unread');
          return;
        case 'deny':
          response.writeHead(403, { ...headers, 'content-type': 'text/x-no', 'www-authenticate': 'Basic' }).end('no');
          return;
        case 'redirect':
          response.writeHead(302, { ...headers, location: 'http://login.example/' }).end();
          return;
        case 'hang':
          return;
        case 'bare':
          response.writeHead(200).end();
          return;
        default:
          response.writeHead(500, headers).end('broken');
      }
    });
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

function decisionIn(path: string): string {
  return /\/([a-z]+)(?:\?|$)/.exec(path)?.[1] ?? '';
}

function askedOf(request: IncomingMessage, body: string): string {
  const { 'x-request-id': _id, connection: _connection, ...headers } = request.headers;
  return JSON.stringify([request.method, request.url, body, Object.entries(headers).sort()]);
}

/** The same by gRPC (HTTP/2 without TLS). */
export function startGrpcAuthorization(): Promise<Http2Server> {
  const server = createHttp2Server();
  server.on('stream', (stream: ServerHttp2Stream, _headers: IncomingHttpHeaders) => {
    const chunks: Buffer[] = [];
    stream.on('error', () => undefined);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      const message = fromBinary(CheckRequestSchema, Buffer.concat(chunks).subarray(5));
      // A connection has no path.
      const answer = answerTo(decisionIn(message.attributes?.request?.http?.path ?? '/allow'), maskedQuestion(message));
      if (answer === undefined) return;
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': answer === 'fail' ? '2' : '0' }));
      stream.end(answer === 'fail' ? undefined : framed(toBinary(CheckResponseSchema, answer)));
    });
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

function framed(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

// Ids, times and ports are different each time.
function maskedQuestion(message: ReturnType<typeof fromBinary<typeof CheckRequestSchema>>): string {
  return toJsonString(CheckRequestSchema, message)
    .replace(/"time":"[^"]*"/, '"time":"…"')
    .replace(/"id":"[^"]*"/, '"id":"…"')
    .replace(/"x-request-id":"[^"]*"/, '"x-request-id":"…"')
    .replace(/"key":"x-request-id","rawValue":"[^"]*"/, '"key":"x-request-id"')
    .replaceAll(/"portValue":\d+/g, '"portValue":0');
}

function option(key: string, value: string, more: MessageInitShape<typeof HeaderValueOptionSchema> = {}): ReturnType<typeof makeOption> {
  return makeOption(key, value, more);
}

function makeOption(key: string, value: string, more: MessageInitShape<typeof HeaderValueOptionSchema>) {
  return create(HeaderValueOptionSchema, { ...more, header: create(HeaderValueSchema, { key, value }) });
}

function answerTo(decision: string, asked: string): CheckResponse | 'fail' | undefined {
  const sortedAsked = JSON.stringify(sorted(JSON.parse(asked)));
  switch (decision) {
    case 'allow':
      return create(CheckResponseSchema, {
        status: create(StatusSchema, { code: 0 }),
        dynamicMetadata: { by: 'the server' },
        httpResponse: {
          case: 'okResponse',
          value: create(OkHttpResponseSchema, {
            headers: [
              option('x-asked', sortedAsked, { append: false }),
              option('x-default', 'theirs'),
              option('x-set', 'theirs', { append: false }),
              option('x-append', 'theirs', { append: true }),
              option('x-append-new', 'theirs', { append: true }),
              option('x-shown', 'theirs', { appendAction: Action.APPEND_IF_EXISTS_OR_ADD }),
              option('x-hidden', 'theirs', { appendAction: Action.ADD_IF_ABSENT }),
              option('x-absent', 'theirs', { appendAction: Action.ADD_IF_ABSENT }),
              option('cookie', 'theirs=1', { appendAction: Action.OVERWRITE_IF_EXISTS }),
              option('x-absent-too', 'theirs', { appendAction: Action.OVERWRITE_IF_EXISTS }),
              option('authorization', 'theirs', { appendAction: Action.OVERWRITE_IF_EXISTS_OR_ADD }),
            ],
            headersToRemove: ['x-gone', 'host', ':path'],
            responseHeadersToAdd: [option('x-client', 'told'), option('x-client', 'twice'), option('server', 'theirs', { append: false })],
            queryParametersToSet: [
              create(QueryParameterSchema, { key: 'q', value: 'new' }),
              create(QueryParameterSchema, { key: 'z', value: '9' }),
            ],
            queryParametersToRemove: ['a'],
          }),
        },
      });
    case 'deny':
      return denied(403, 'no', [
        option('x-reason', 'because'),
        option('x-asked', sortedAsked),
        option('content-type', 'text/x-no', { append: false }),
      ]);
    case 'invalid':
      return denied(403, 'no', [option('x bad', 'name')]);
    case 'redirect':
      return denied(302, '', [option('location', 'http://login.example/')]);
    case 'bare':
      return create(CheckResponseSchema, { status: create(StatusSchema, { code: 7 }) });
    case 'hang':
      return undefined;
    default:
      return 'fail';
  }
}

function denied(code: number, body: string, headers: ReturnType<typeof makeOption>[]): CheckResponse {
  return create(CheckResponseSchema, {
    status: create(StatusSchema, { code: 7 }),
    httpResponse: {
      case: 'deniedResponse',
      value: create(DeniedHttpResponseSchema, { status: create(HttpStatusSchema, { code: code as never }), body, headers }),
    },
  });
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted).sort((one, other) => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([key, each]) => [key, sorted(each)]),
  );
}
