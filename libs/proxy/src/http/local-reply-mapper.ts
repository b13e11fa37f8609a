import { compileHeaderMutations, type Field, type HeaderMutations, inlineBody, refuseFields } from '@mizzen/matching';
import { type AccessLogFormatter, compileAccessLogFormat, type JsonFormat } from '@mizzen/telemetry';
import type { SubstitutionFormatString } from '@mizzen/xds-api/envoy/config/core/v3/substitution_format_string';
import type {
  LocalReplyConfig,
  ResponseMapper,
} from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { isConfigError } from '../config/config-error.ts';
import { compileAccessLogFilter, type FilterContext, type StreamPredicate } from '../observe/access-log-filter.ts';
import { HeaderMap } from './headers.ts';
import type { LocalReply } from './local-reply.ts';
import type { HttpStreamInfo } from './stream-info.ts';

/** Changes what the proxy answers itself into what the operator wants clients to see. */
export type LocalReplyMapper = (reply: LocalReply, info: HttpStreamInfo) => LocalReply;

interface Mapping {
  readonly holds: StreamPredicate;
  readonly status: number | undefined;
  readonly body: string | Buffer | undefined;
  readonly format: BodyFormat | undefined;
  readonly headers: HeaderMutations | undefined;
}

interface BodyFormat {
  readonly contentType: string;
  text(body: string, info: HttpStreamInfo): string;
}

/** undefined where nothing is configured. Source: envoy LocalReply::LocalReplyImpl (1.40). */
export function compileLocalReplyConfig(
  message: LocalReplyConfig | undefined,
  context: FilterContext,
  field: Field,
): LocalReplyMapper | undefined {
  if (message === undefined) return undefined;
  const mappings = message.mappers.map((mapper, index) => compileMapping(mapper, context, field.child('mappers', index)));
  const commonFormat = compileBodyFormat(message.bodyFormat, field.child('body_format'));
  return (reply, info) => {
    // Filters and formats read the status from there.
    info.responseCode = reply.status;
    const mapping = mappings.find(({ holds }) => holds(info));
    const status = mapping?.status ?? reply.status;
    info.responseCode = status;
    const headers = mapping?.headers === undefined ? reply.headers : mutated(reply.headers, mapping.headers, info);
    const body = mapping?.body ?? reply.body;
    const format = mapping?.format ?? commonFormat;
    if (format === undefined) return { ...reply, status, body, ...(headers !== undefined && { headers }) };
    const contentType = ['content-type', format.contentType] as const;
    return {
      ...reply,
      status,
      body: format.text(body.toString(), info),
      headers: [...(headers ?? []).filter(([name]) => name !== 'content-type'), contentType],
    };
  };
}

function compileMapping(mapper: ResponseMapper, context: FilterContext, field: Field): Mapping {
  const { statusCode } = mapper;
  if (statusCode !== undefined && (statusCode < 200 || statusCode > 599)) field.child('status_code').reject('must be between 200 and 599');
  return {
    holds: compileFilter(mapper.filter, context, field.child('filter')),
    status: statusCode,
    body: mapper.body === undefined ? undefined : inlineBody(mapper.body, field.child('body')),
    format: compileBodyFormat(mapper.bodyFormatOverride, field.child('body_format_override')),
    headers: compileHeaderMutations(mapper.headersToAdd, [], { add: field.child('headers_to_add'), remove: field }),
  };
}

/** The filters of access logs, asked before the answer is sent: of a duration they know nothing. */
function compileFilter(filter: ResponseMapper['filter'], context: FilterContext, field: Field): StreamPredicate {
  if (filter === undefined) {
    field.reject('is required');
    return () => false;
  }
  if (filter.filterSpecifier.case === 'durationFilter') field.child('duration_filter').reject('says nothing of a local reply');
  try {
    return compileAccessLogFilter(filter, context);
  } catch (thrown) {
    if (!isConfigError(thrown)) throw thrown;
    field.reject(thrown.message);
    return () => false;
  }
}

function mutated(headers: LocalReply['headers'], mutations: HeaderMutations, info: HttpStreamInfo): LocalReply['headers'] {
  const map = new HeaderMap();
  for (const [name, value] of headers ?? []) map.append(name, value);
  mutations.apply(map, info);
  return map.names.map((name, index) => [name, map.values[index] as string] as const);
}

/** Stands for the body while the rest is formatted: no header and no configuration holds a letter of the private use area. */
const BODY = '\ue000local-reply-body\ue000';

function compileBodyFormat(message: SubstitutionFormatString | undefined, field: Field): BodyFormat | undefined {
  if (message === undefined) return undefined;
  refuseFields(field, message, ['formatters']);
  const { format } = message;
  if (format.case === 'jsonFormat') {
    const formatted = compiled(withPlaceholder(format.value) as JsonFormat, message, field.child('json_format'));
    return {
      contentType: message.contentType === '' ? 'application/json' : message.contentType,
      text: (body, info) => formatted(info).replaceAll(BODY, () => JSON.stringify(body).slice(1, -1)),
    };
  }
  const template =
    format.case === 'textFormat' ? format.value : format.case === 'textFormatSource' ? inlineBody(format.value, field).toString() : '';
  if (format.case === undefined) field.reject('needs one of text_format_source, json_format');
  const formatted = compiled(withPlaceholder(template) as string, message, field);
  return {
    contentType: message.contentType === '' ? 'text/plain' : message.contentType,
    text: (body, info) => formatted(info).replaceAll(BODY, () => body),
  };
}

function withPlaceholder(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll('%LOCAL_REPLY_BODY%', BODY);
  if (Array.isArray(value)) return value.map(withPlaceholder);
  if (typeof value !== 'object' || value === null) return value;
  // In the order of their names, as Envoy prints them.
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, withPlaceholder(item)]));
}

function compiled(format: string | JsonFormat, { omitEmptyValues }: SubstitutionFormatString, field: Field): AccessLogFormatter {
  try {
    return compileAccessLogFormat(format, { omitsEmptyValues: omitEmptyValues });
  } catch (thrown) {
    field.reject((thrown as { message: string }).message);
    return () => '';
  }
}
