import { type handleUnaryCall, Server, ServerCredentials } from '@grpc/grpc-js';
import { joinHostPort, listenError, type Running } from '@mizzen/core';
import { grpcServiceDefinition } from '@mizzen/xds-api';
import {
  type ExportMetricsServiceRequest,
  type ExportMetricsServiceResponse,
  MetricsService,
} from '@mizzen/xds-api/opentelemetry/proto/collector/metrics/v1/metrics_service';
import {
  type ExportTraceServiceRequest,
  type ExportTraceServiceResponse,
  TraceService,
} from '@mizzen/xds-api/opentelemetry/proto/collector/trace/v1/trace_service';
import type { Ingest } from './ingest.ts';

export interface OtlpServerOptions {
  readonly ingest: Ingest;
  readonly host: string;
  /** 0 means any free port. */
  readonly port: number;
}

export interface OtlpServer extends Running {
  readonly port: number;
}

export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const CLOSE_DEADLINE_MS = 2_000;

/** OTLP over gRPC. Throws MIZZEN_PORT_IN_USE or MIZZEN_ADDRESS when it cannot listen. Source: OTLP specification 1.x, OTLP/gRPC. */
export async function startOtlpGrpcServer({ ingest, host, port }: OtlpServerOptions): Promise<OtlpServer> {
  const server = new Server({ 'grpc.max_receive_message_length': MAX_MESSAGE_BYTES });
  const exportMetrics: handleUnaryCall<ExportMetricsServiceRequest, ExportMetricsServiceResponse> = (call, callback) =>
    callback(null, ingest.exportMetrics(call.request));
  const exportTraces: handleUnaryCall<ExportTraceServiceRequest, ExportTraceServiceResponse> = (call, callback) =>
    callback(null, ingest.exportTraces(call.request));
  server.addService(grpcServiceDefinition(MetricsService), { export: exportMetrics });
  server.addService(grpcServiceDefinition(TraceService), { export: exportTraces });
  const boundPort = await bind(server, joinHostPort(host, port));
  return { port: boundPort, close: () => shutDown(server) };
}

function bind(server: Server, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
      if (!error) return resolve(port);
      // grpc-js gives the reason only in its text.
      const code = /EADDRINUSE|EACCES|EADDRNOTAVAIL/.exec(error.message)?.[0];
      server.forceShutdown();
      reject(listenError(Object.assign(error, { code }), address, 'OTLP over gRPC'));
    });
  });
}

/** Graceful at first; a proxy that keeps a call open is cut off after the deadline. */
function shutDown(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const deadline = setTimeout(() => {
      server.forceShutdown();
      resolve();
    }, CLOSE_DEADLINE_MS);
    server.tryShutdown(() => {
      clearTimeout(deadline);
      resolve();
    });
  });
}
