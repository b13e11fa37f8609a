import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import type { StreamInfo } from '@mizzen/telemetry';
import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import type { HTTPAccessLogEntry, TCPAccessLogEntry } from '@mizzen/xds-api/envoy/data/accesslog/v3/accesslog';
import type {
  CommonGrpcAccessLogConfig,
  HttpGrpcAccessLogConfig,
  TcpGrpcAccessLogConfig,
} from '@mizzen/xds-api/envoy/extensions/access_loggers/grpc/v3/als';
import {
  type StreamAccessLogsMessage_IdentifierSchema,
  StreamAccessLogsMessageSchema,
} from '@mizzen/xds-api/envoy/service/accesslog/v3/als';
import { ConfigError, within } from '../config/config-error.ts';
import { durationMs } from '../config/values.ts';
import { callUnary, GRPC_OK } from '../grpc/unary-client.ts';
import type { CallRuntime } from '../http/async-client.ts';
import { type EntryExtras, httpLogEntry, tcpLogEntry } from './access-log-entry.ts';
import { Batch } from './batch.ts';
import { compileCustomTags } from './custom-tags.ts';

const METHOD = '/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs';
const CALL_TIMEOUT_MS = 10_000;
// Source: envoy CommonGrpcAccessLogConfig defaults.
const DEFAULT_FLUSH_MS = 1000;
const DEFAULT_BUFFER_BYTES = 16_384;
const MAX_QUEUED_BYTES = 4 * 1024 * 1024;
// What an entry is without the texts that differ most.
const ENTRY_BYTES = 300;

export interface CollectorContext {
  readonly calls: CallRuntime;
  readonly node: Node | undefined;
}

/** A log that goes to a collector. */
export interface RemoteLog {
  write(info: StreamInfo): void;
  readonly dropped: number;
  close(): Promise<void>;
}

/**
 * The gRPC access log service for requests. Each batch is a stream of its own, so that the collector confirms what it has; entries of a
 * batch that fails are lost and counted, never sent twice. Throws ConfigError.
 */
export function httpGrpcLog(config: HttpGrpcAccessLogConfig, context: CollectorContext): RemoteLog {
  const lower = (names: readonly string[]): readonly string[] => names.map((name) => name.toLowerCase());
  const common = requireCommon(config.commonConfig);
  const extras: EntryExtras = {
    requestHeaders: lower(config.additionalRequestHeadersToLog),
    responseHeaders: lower(config.additionalResponseHeadersToLog),
    responseTrailers: lower(config.additionalResponseTrailersToLog),
    customTags: customTags(common),
    filterStateObjects: common.filterStateObjectsToLog,
  };
  return remoteLog<HTTPAccessLogEntry>(common, context, {
    entry: (info) => httpLogEntry(info, extras),
    entries: (logEntry) => ({ case: 'httpLogs', value: { logEntry: [...logEntry] } }),
  });
}

/** The same for connections. */
export function tcpGrpcLog(config: TcpGrpcAccessLogConfig, context: CollectorContext): RemoteLog {
  const common = requireCommon(config.commonConfig);
  const extras: EntryExtras = {
    requestHeaders: [],
    responseHeaders: [],
    responseTrailers: [],
    customTags: customTags(common),
    filterStateObjects: common.filterStateObjectsToLog,
  };
  return remoteLog<TCPAccessLogEntry>(common, context, {
    entry: (info) => tcpLogEntry(info, extras),
    entries: (logEntry) => ({ case: 'tcpLogs', value: { logEntry: [...logEntry] } }),
  });
}

type LogEntries = NonNullable<MessageInitShape<typeof StreamAccessLogsMessageSchema>['logEntries']>;

function remoteLog<E>(
  common: CommonGrpcAccessLogConfig,
  { calls, node }: CollectorContext,
  make: { readonly entry: (info: StreamInfo) => E; readonly entries: (entries: readonly E[]) => LogEntries },
): RemoteLog {
  const cluster = within('common_config', () => collectorCluster(common.grpcService));
  const identifier: MessageInitShape<typeof StreamAccessLogsMessage_IdentifierSchema> = {
    ...(node === undefined ? {} : { node }),
    logName: common.logName,
  };
  return batchedLog(common, calls, {
    entry: make.entry,
    send: (entries, done) => {
      const message = create(StreamAccessLogsMessageSchema, { identifier, logEntries: make.entries(entries) });
      callUnary(
        calls,
        { cluster, method: METHOD, message: toBinary(StreamAccessLogsMessageSchema, message), timeoutMs: CALL_TIMEOUT_MS },
        ({ status }) => done(status === GRPC_OK ? 0 : entries.length),
      );
    },
  });
}

/** Batches by the limits of `common_config`. */
export function batchedLog<E>(
  common: CommonGrpcAccessLogConfig,
  calls: CallRuntime,
  how: { readonly entry: (info: StreamInfo) => E; readonly send: (entries: readonly E[], done: (lost: number) => void) => void },
): RemoteLog {
  const batch = new Batch<E>({
    clock: calls.context.clock,
    flushMs: durationMs(common.bufferFlushInterval, DEFAULT_FLUSH_MS),
    maxBatchBytes: common.bufferSizeBytes ?? DEFAULT_BUFFER_BYTES,
    maxQueuedBytes: MAX_QUEUED_BYTES,
    send: how.send,
  });
  return {
    write: (info) => batch.add(how.entry(info), ENTRY_BYTES + info.path.length + info.authority.length + info.upstreamCluster.length),
    get dropped() {
      return batch.dropped;
    },
    close: () => batch.close(),
  };
}

function requireCommon(common: CommonGrpcAccessLogConfig | undefined): CommonGrpcAccessLogConfig {
  if (common === undefined) throw new ConfigError('common_config', 'is required');
  if (common.logName === '') throw new ConfigError('common_config.log_name', 'is required');
  if (common.grpcStreamRetryPolicy !== undefined)
    throw new ConfigError('common_config.grpc_stream_retry_policy', 'is not supported by this proxy; remove it');
  return common;
}

function customTags(common: CommonGrpcAccessLogConfig): EntryExtras['customTags'] {
  const tags = within('common_config', () => compileCustomTags(common.customTags));
  return (info) => Object.fromEntries(tags.flatMap(({ tag, value }) => ((text) => (text ? [[tag, text]] : []))(value(info))));
}

/** The cluster of an envoy_grpc service. Throws ConfigError. */
export function collectorCluster(service: CommonGrpcAccessLogConfig['grpcService']): string {
  const target = service?.targetSpecifier;
  if (target?.case !== 'envoyGrpc') throw new ConfigError('grpc_service', 'needs envoy_grpc');
  if (target.value.clusterName === '') throw new ConfigError('grpc_service.envoy_grpc.cluster_name', 'is required');
  return target.value.clusterName;
}
