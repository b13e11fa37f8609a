import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { create, type DescMessage, fromBinary, fromJson, type JsonValue, type MessageShape, toBinary, toJson } from '@bufbuild/protobuf';
import { errorMessage, joinHostPort, listenError } from '@mizzen/core';
import { StatusSchema } from '@mizzen/xds-api/google/rpc/status';
import {
  ExportMetricsServiceRequestSchema,
  ExportMetricsServiceResponseSchema,
} from '@mizzen/xds-api/opentelemetry/proto/collector/metrics/v1/metrics_service';
import {
  ExportTraceServiceRequestSchema,
  ExportTraceServiceResponseSchema,
} from '@mizzen/xds-api/opentelemetry/proto/collector/trace/v1/trace_service';
import { type FastifyInstance, fastify } from 'fastify';
import { boundPort } from './bound-port.ts';
import { MAX_MESSAGE_BYTES, type OtlpServer, type OtlpServerOptions } from './otlp-grpc-server.ts';

const PROTOBUF = 'application/x-protobuf';
const JSON_TYPE = 'application/json';
const GRPC_INVALID_ARGUMENT = 3;
const decompress = promisify(gunzip);

interface Signal<I extends DescMessage, O extends DescMessage> {
  readonly path: string;
  readonly request: I;
  readonly response: O;
  readonly handle: (request: MessageShape<I>) => MessageShape<O>;
}

/** OTLP over HTTP, protobuf and JSON, plain or gzip. Throws like its gRPC sibling. Source: OTLP specification 1.x, OTLP/HTTP. */
export async function startOtlpHttpServer({ ingest, host, port }: OtlpServerOptions): Promise<OtlpServer> {
  const server = fastify({ bodyLimit: MAX_MESSAGE_BYTES });
  server.removeAllContentTypeParsers();
  server.addContentTypeParser([PROTOBUF, JSON_TYPE], { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  addSignal(server, {
    path: '/v1/metrics',
    request: ExportMetricsServiceRequestSchema,
    response: ExportMetricsServiceResponseSchema,
    handle: (request) => ingest.exportMetrics(request),
  });
  addSignal(server, {
    path: '/v1/traces',
    request: ExportTraceServiceRequestSchema,
    response: ExportTraceServiceResponseSchema,
    handle: (request) => ingest.exportTraces(request),
  });
  await server.listen({ host, port }).catch((error: unknown) => {
    throw listenError(error, joinHostPort(host, port), 'OTLP over HTTP');
  });
  return { port: boundPort(server), close: () => server.close() };
}

/** The answer has the type of the question; a message that cannot be read is answered with 400 and a google.rpc.Status. */
function addSignal<I extends DescMessage, O extends DescMessage>(server: FastifyInstance, signal: Signal<I, O>): void {
  server.post<{ Body: Buffer }>(signal.path, async (request, reply) => {
    const isJson = request.headers['content-type']?.startsWith(JSON_TYPE) ?? false;
    reply.type(isJson ? JSON_TYPE : PROTOBUF);
    let message: MessageShape<I>;
    try {
      const bytes = await decode(request.body, request.headers['content-encoding']);
      message = isJson ? parseJson(signal.request, bytes) : fromBinary(signal.request, bytes);
    } catch (thrown) {
      const status = create(StatusSchema, { code: GRPC_INVALID_ARGUMENT, message: `the message cannot be read: ${errorMessage(thrown)}` });
      return reply.code(400).send(isJson ? JSON.stringify(toJson(StatusSchema, status)) : Buffer.from(toBinary(StatusSchema, status)));
    }
    const response = signal.handle(message);
    return reply.send(isJson ? JSON.stringify(toJson(signal.response, response)) : Buffer.from(toBinary(signal.response, response)));
  });
}

async function decode(body: Buffer, encoding: string | undefined): Promise<Uint8Array> {
  if (encoding === undefined || encoding === 'identity') return body;
  if (encoding !== 'gzip') throw new Error(`content-encoding ${encoding} is not supported, use gzip`);
  return decompress(body, { maxOutputLength: MAX_MESSAGE_BYTES });
}

/** OTLP's JSON writes ids in hexadecimal where protobuf's has base64. Source: OTLP specification 1.x, JSON Protobuf encoding. */
function parseJson<Desc extends DescMessage>(schema: Desc, bytes: Uint8Array): MessageShape<Desc> {
  const text = Buffer.from(bytes).toString('utf8');
  const json = JSON.parse(text, (key, value: unknown) =>
    (key === 'traceId' || key === 'spanId' || key === 'parentSpanId') && typeof value === 'string'
      ? Buffer.from(value, 'hex').toString('base64')
      : value,
  ) as JsonValue;
  return fromJson(schema, json, { ignoreUnknownFields: true });
}
