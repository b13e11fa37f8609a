import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { compileAccessLogFormat, type StreamInfo } from '@mizzen/telemetry';
import type { OpenTelemetryAccessLogConfig } from '@mizzen/xds-api/envoy/extensions/access_loggers/open_telemetry/v3/logs_service';
import { ExportLogsServiceRequestSchema } from '@mizzen/xds-api/opentelemetry/proto/collector/logs/v1/logs_service';
import type { AnyValue, AnyValueSchema, KeyValue, KeyValueSchema } from '@mizzen/xds-api/opentelemetry/proto/common/v1/common';
import type { LogRecordSchema } from '@mizzen/xds-api/opentelemetry/proto/logs/v1/logs';
import { ConfigError, within } from '../config/config-error.ts';
import { callUnary, GRPC_OK } from '../grpc/unary-client.ts';
import { batchedLog, type CollectorContext, collectorCluster, type RemoteLog } from './grpc-access-log.ts';

const METHOD = '/opentelemetry.proto.collector.logs.v1.LogsService/Export';
const CALL_TIMEOUT_MS = 10_000;

type Value = MessageInitShape<typeof AnyValueSchema>;
type ValueBuilder = (info: StreamInfo) => Value;

/** Access logs as OTLP log records. Throws ConfigError. Source: envoy docs, "OpenTelemetry access logger" (1.40). */
export function openTelemetryLog(config: OpenTelemetryAccessLogConfig, context: CollectorContext): RemoteLog {
  const common = config.commonConfig;
  if (common === undefined) throw new ConfigError('common_config', 'is required');
  const cluster = within('common_config', () => collectorCluster(common.grpcService));
  const body = config.body === undefined ? undefined : within('body', () => compileValue(config.body as AnyValue));
  const attributes = within('attributes', () => compilePairs(config.attributes?.values ?? []));
  const resource = { attributes: resourceAttributes(config, context, common.logName) };
  return batchedLog<MessageInitShape<typeof LogRecordSchema>>(common, context.calls, {
    entry: (info) => ({
      timeUnixNano: BigInt(Math.round(info.startTimeMs * 1000)) * 1000n,
      ...(body === undefined ? {} : { body: body(info) }),
      attributes: attributes(info),
      ...(info.traceId === '' ? {} : { traceId: Buffer.from(info.traceId, 'hex') }),
    }),
    send: (logRecords, done) => {
      const message = create(ExportLogsServiceRequestSchema, {
        resourceLogs: [{ resource, scopeLogs: [{ logRecords: [...logRecords] }] }],
      });
      callUnary(
        context.calls,
        { cluster, method: METHOD, message: toBinary(ExportLogsServiceRequestSchema, message), timeoutMs: CALL_TIMEOUT_MS },
        ({ status }) => done(status === GRPC_OK ? 0 : logRecords.length),
      );
    },
  });
}

function resourceAttributes(
  config: OpenTelemetryAccessLogConfig,
  { node }: CollectorContext,
  logName: string,
): MessageInitShape<typeof KeyValueSchema>[] {
  const text = (key: string, value: string) => ({ key, value: { value: { case: 'stringValue' as const, value } } });
  const builtIn = config.disableBuiltinLabels
    ? []
    : [
        text('log_name', logName),
        text('zone_name', node?.locality?.zone ?? ''),
        text('cluster_name', node?.cluster ?? ''),
        text('node_name', node?.id ?? ''),
      ];
  return [...builtIn, ...(config.resourceAttributes?.values ?? [])];
}

function compilePairs(pairs: readonly KeyValue[]): (info: StreamInfo) => MessageInitShape<typeof KeyValueSchema>[] {
  const compiled = pairs.map(({ key, value }) => ({ key, value: within(`["${key}"]`, () => compileValue(value)) }));
  return (info) => compiled.map(({ key, value }) => ({ key, value: value(info) }));
}

/** Strings are formats, at any depth. */
function compileValue(value: AnyValue | undefined): ValueBuilder {
  const specifier = value?.value;
  switch (specifier?.case) {
    case 'stringValue': {
      const format = compileText(specifier.value);
      return (info) => ({ value: { case: 'stringValue', value: format(info) } });
    }
    case 'kvlistValue': {
      const pairs = compilePairs(specifier.value.values);
      return (info) => ({ value: { case: 'kvlistValue', value: { values: pairs(info) } } });
    }
    case 'arrayValue': {
      const items = specifier.value.values.map((item) => compileValue(item));
      return (info) => ({ value: { case: 'arrayValue', value: { values: items.map((item) => item(info)) } } });
    }
    default:
      throw new ConfigError('', 'needs string_value, kvlist_value or array_value');
  }
}

function compileText(format: string): (info: StreamInfo) => string {
  try {
    return compileAccessLogFormat(format);
  } catch (thrown) {
    throw new ConfigError('string_value', (thrown as Error).message);
  }
}
