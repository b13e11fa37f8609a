import type { Clock } from '@mizzen/core';
import {
  type AccessLogFormatOptions,
  type AccessLogFormatter,
  type AccessLogSink,
  AccessLogWriter,
  compileAccessLogFormat,
  ISTIO_TEXT_FORMAT,
  type JsonFormat,
  type StreamInfo,
} from '@mizzen/telemetry';
import { unpackAny } from '@mizzen/xds-api';
import { CommandOperatorError } from '@mizzen/xds-api/command-operators';
import type { AccessLog } from '@mizzen/xds-api/envoy/config/accesslog/v3/accesslog';
import type { SubstitutionFormatString } from '@mizzen/xds-api/envoy/config/core/v3/substitution_format_string';
import { type FileAccessLog, FileAccessLogSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/file/v3/file';
import { HttpGrpcAccessLogConfigSchema, TcpGrpcAccessLogConfigSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/grpc/v3/als';
import { OpenTelemetryAccessLogConfigSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/open_telemetry/v3/logs_service';
import {
  StderrAccessLogSchema,
  type StdoutAccessLog,
  StdoutAccessLogSchema,
} from '@mizzen/xds-api/envoy/extensions/access_loggers/stream/v3/stream';
import { ConfigError, within } from '../config/config-error.ts';
import { readDataSource } from '../config/values.ts';
import { compileAccessLogFilter, type FilterContext } from './access-log-filter.ts';
import { type CollectorContext, httpGrpcLog, type RemoteLog, tcpGrpcLog } from './grpc-access-log.ts';
import { openTelemetryLog } from './open-telemetry-log.ts';

/** Envoy's own default format; Istio always gives one. Source: envoy docs, "Default format string". */
const ENVOY_TEXT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ' +
  '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n';

export { ISTIO_TEXT_FORMAT };

export interface AccessLogsOptions extends FilterContext {
  readonly clock: Clock;
  readonly stdout: AccessLogSink | undefined;
  /** For logs that go to a collector. */
  readonly collectors: CollectorContext;
}

/** Where access logs go: one writer a file, one sender a collector's configuration. */
export class AccessLogs {
  readonly #options: AccessLogsOptions;
  readonly #writers = new Map<string, AccessLogWriter>();
  readonly #remotes = new Map<string, RemoteLog>();

  constructor(options: AccessLogsOptions) {
    this.#options = options;
  }

  /** One function for all logs of a filter; undefined without any. Throws ConfigError. */
  compile(logs: readonly AccessLog[]): ((info: StreamInfo) => void) | undefined {
    const compiled = logs.map((log, index) => within(`access_log[${index}]`, () => this.#compileOne(log)));
    if (compiled.length === 0) return undefined;
    if (compiled.length === 1) return compiled[0];
    return (info) => {
      for (const log of compiled) log(info);
    };
  }

  /** For log rotation. */
  reopen(): void {
    for (const writer of this.#writers.values()) writer.reopen();
  }

  droppedLines(): number {
    let dropped = 0;
    for (const writer of this.#writers.values()) dropped += writer.droppedLines;
    for (const remote of this.#remotes.values()) dropped += remote.dropped;
    return dropped;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#remotes.values(), ...this.#writers.values()].map((log) => log.close()));
  }

  #compileOne(log: AccessLog): (info: StreamInfo) => void {
    const write = this.#compileTarget(log);
    const { filter } = log;
    if (filter === undefined) return write;
    const matches = within('filter', () => compileAccessLogFilter(filter, this.#options));
    return (info) => {
      if (matches(info)) write(info);
    };
  }

  #compileTarget(log: AccessLog): (info: StreamInfo) => void {
    const remote = within('typed_config', () => this.#remote(log));
    if (remote !== undefined) return (info) => remote.write(info);
    const { path, format } = targetOf(log);
    const { stdout } = this.#options;
    const sink = path === '/dev/stdout' && stdout !== undefined ? stdout : this.#writer(path);
    return (info) => sink.write(format(info));
  }

  /** Equal configurations share a sender, and so its batches. */
  #remote(log: AccessLog): RemoteLog | undefined {
    const any = log.configType.value;
    if (any === undefined || !REMOTE_TYPES.some((type) => any.typeUrl.endsWith(type))) return undefined;
    const key = `${any.typeUrl}\n${Buffer.from(any.value).toString('base64')}`;
    const known = this.#remotes.get(key);
    if (known !== undefined) return known;
    const made = compileRemote(log, this.#options.collectors);
    this.#remotes.set(key, made);
    return made;
  }

  #writer(path: string): AccessLogWriter {
    const known = this.#writers.get(path);
    if (known !== undefined) return known;
    const writer = new AccessLogWriter({ path, clock: this.#options.clock });
    this.#writers.set(path, writer);
    return writer;
  }
}

const REMOTE_TYPES = [
  HttpGrpcAccessLogConfigSchema.typeName,
  TcpGrpcAccessLogConfigSchema.typeName,
  OpenTelemetryAccessLogConfigSchema.typeName,
];

function compileRemote(log: AccessLog, context: CollectorContext): RemoteLog {
  const any = log.configType.value;
  const http = unpackAny(any, HttpGrpcAccessLogConfigSchema);
  if (http !== undefined) return httpGrpcLog(http, context);
  const tcp = unpackAny(any, TcpGrpcAccessLogConfigSchema);
  if (tcp !== undefined) return tcpGrpcLog(tcp, context);
  const otel = unpackAny(any, OpenTelemetryAccessLogConfigSchema);
  if (otel !== undefined) return openTelemetryLog(otel, context);
  throw new ConfigError('', `${any?.typeUrl ?? log.name} is not an access log that this proxy has`);
}

function targetOf(log: AccessLog): { path: string; format: AccessLogFormatter } {
  const any = log.configType.value;
  return within('typed_config', () => {
    const file = unpackAny(any, FileAccessLogSchema);
    if (file !== undefined) return { path: file.path, format: fileFormat(file) };
    const stdout = unpackAny(any, StdoutAccessLogSchema);
    if (stdout !== undefined) return { path: '/dev/stdout', format: streamFormat(stdout) };
    const stderr = unpackAny(any, StderrAccessLogSchema);
    if (stderr !== undefined) return { path: '/dev/stderr', format: streamFormat(stderr) };
    throw new ConfigError('', `${any?.typeUrl ?? log.name} is not an access log that this proxy has`);
  });
}

function fileFormat(file: FileAccessLog): AccessLogFormatter {
  const { accessLogFormat } = file;
  if (file.path === '') throw new ConfigError('path', 'is required');
  if (accessLogFormat.case === 'format') return compileAt('format', accessLogFormat.value || ENVOY_TEXT_FORMAT);
  if (accessLogFormat.case === 'jsonFormat') return compileAt('json_format', accessLogFormat.value as JsonFormat);
  if (accessLogFormat.case === 'typedJsonFormat') return compileAt('typed_json_format', accessLogFormat.value as JsonFormat);
  return substitution(accessLogFormat.value, 'log_format');
}

function streamFormat(log: Pick<StdoutAccessLog, 'accessLogFormat'>): AccessLogFormatter {
  return substitution(log.accessLogFormat.value, 'log_format');
}

function substitution(format: SubstitutionFormatString | undefined, path: string): AccessLogFormatter {
  if (format === undefined) return compileAt('', ENVOY_TEXT_FORMAT);
  format.formatters.forEach((formatter, index) => {
    if (FORMATTERS.some((type) => formatter.typedConfig?.typeUrl.endsWith(`/${type}`) ?? formatter.name.endsWith(type))) return;
    throw new ConfigError(
      `${path}.formatters[${index}]`,
      `${formatter.name} is not supported by this proxy; it has ${FORMATTERS.join(', ')}`,
    );
  });
  const options = { omitsEmptyValues: format.omitEmptyValues, sortsKeys: format.jsonFormatOptions?.sortProperties ?? false };
  const { format: text } = format;
  if (text.case === 'jsonFormat') return compileAt(`${path}.json_format`, text.value as JsonFormat, options);
  if (text.case === 'textFormat') return compileAt(`${path}.text_format`, text.value, options);
  if (text.case !== 'textFormatSource') throw new ConfigError(path, 'needs text_format, text_format_source or json_format');
  const source = within(path, () => readDataSource(text.value, 'text_format_source'));
  if (source === undefined) throw new ConfigError(`${path}.text_format_source`, 'is empty');
  return compileAt(`${path}.text_format_source`, source.toString('utf8'), options);
}

// What these add is built in. Source: envoy extensions/formatter (1.40).
const FORMATTERS = ['envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery', 'envoy.extensions.formatter.metadata.v3.Metadata'];

function compileAt(path: string, format: string | JsonFormat, options?: AccessLogFormatOptions): AccessLogFormatter {
  try {
    return compileAccessLogFormat(format, options);
  } catch (thrown) {
    if ((thrown as { readonly name?: string }).name === CommandOperatorError.name) throw new ConfigError(path, (thrown as Error).message);
    throw thrown;
  }
}
