import type { Clock } from '@mizzen/core';
import {
  AccessLogFormatError,
  type AccessLogFormatter,
  type AccessLogSink,
  AccessLogWriter,
  compileAccessLogFormat,
  ISTIO_TEXT_FORMAT,
  type JsonFormat,
  type StreamInfo,
} from '@mizzen/telemetry';
import { unpackAny } from '@mizzen/xds-api';
import type { AccessLog } from '@mizzen/xds-api/envoy/config/accesslog/v3/accesslog';
import type { SubstitutionFormatString } from '@mizzen/xds-api/envoy/config/core/v3/substitution_format_string';
import { type FileAccessLog, FileAccessLogSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/file/v3/file';
import {
  StderrAccessLogSchema,
  type StdoutAccessLog,
  StdoutAccessLogSchema,
} from '@mizzen/xds-api/envoy/extensions/access_loggers/stream/v3/stream';
import { ConfigError, within } from '../config/config-error.ts';

/** Envoy's own default format; Istio always gives one. Source: envoy docs, "Default format string". */
const ENVOY_TEXT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ' +
  '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n';

export { ISTIO_TEXT_FORMAT };

/** The files that access logs go to, one writer a path. */
export class AccessLogs {
  readonly #clock: Clock;
  readonly #stdout: AccessLogSink | undefined;
  readonly #writers = new Map<string, AccessLogWriter>();

  constructor(options: { readonly clock: Clock; readonly stdout: AccessLogSink | undefined }) {
    this.#clock = options.clock;
    this.#stdout = options.stdout;
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
    return [...this.#writers.values()].reduce((sum, writer) => sum + writer.droppedLines, 0);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#writers.values()].map((writer) => writer.close()));
  }

  #compileOne(log: AccessLog): (info: StreamInfo) => void {
    if (log.filter !== undefined) throw new ConfigError('filter', 'is not supported by this proxy yet; remove it');
    const { path, format } = targetOf(log);
    const sink = path === '/dev/stdout' && this.#stdout !== undefined ? this.#stdout : this.#writer(path);
    return (info) => sink.write(format(info));
  }

  #writer(path: string): AccessLogWriter {
    const known = this.#writers.get(path);
    if (known !== undefined) return known;
    const writer = new AccessLogWriter({ path, clock: this.#clock });
    this.#writers.set(path, writer);
    return writer;
  }
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
  if (format.formatters.some((formatter) => !formatter.name.endsWith('req_without_query')))
    throw new ConfigError(`${path}.formatters`, 'only req_without_query is supported by this proxy');
  if (format.format.case === 'jsonFormat') return compileAt(`${path}.json_format`, format.format.value as JsonFormat);
  if (format.format.case === 'textFormat') return compileAt(`${path}.text_format`, format.format.value);
  const source = format.format.case === 'textFormatSource' ? format.format.value.specifier : undefined;
  if (source?.case === 'inlineString') return compileAt(`${path}.text_format_source.inline_string`, source.value);
  throw new ConfigError(`${path}.text_format_source`, 'needs inline_string');
}

function compileAt(path: string, format: string | JsonFormat): AccessLogFormatter {
  try {
    return compileAccessLogFormat(format);
  } catch (thrown) {
    if ((thrown as { readonly name?: string }).name === AccessLogFormatError.name) throw new ConfigError(path, (thrown as Error).message);
    throw thrown;
  }
}
