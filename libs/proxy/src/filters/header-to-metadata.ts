import { fromBinary, type JsonValue, toJson } from '@bufbuild/protobuf';
import { ValueSchema } from '@bufbuild/protobuf/wkt';
import { compileSubstitution, type Field } from '@mizzen/matching';
import {
  type Config,
  type Config_KeyValuePair,
  type Config_Rule,
  Config_ValueEncode,
  Config_ValueType,
  ConfigSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/http/header_to_metadata/v3/header_to_metadata';
import type { HeaderMap } from '../http/headers.ts';
import { defineHttpFilter, type FilterDecision, type HttpFilter, type HttpFilterKind } from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import type { ResponseHead } from '../http/stream.ts';
import { cookieValue } from './cookies.ts';

const DEFAULT_NAMESPACE = 'envoy.filters.http.header_to_metadata';
/** Longer ones are left alone. Source: envoy header_to_metadata MAX_HEADER_VALUE_LEN (1.40). */
const MAX_VALUE_LENGTH = 8 * 1024;

interface Entry {
  readonly namespace: string;
  readonly key: string;
  /** The metadata for a header's value; undefined where it makes none. */
  read(headerValue: string): JsonValue | undefined;
}

interface Rule {
  /** The value of its header or cookie. */
  read(lookup: (name: string) => string | undefined): string | undefined;
  readonly onPresent: Entry | undefined;
  readonly onMissing: Entry | undefined;
  /** '' where the header stays. */
  readonly removed: string;
}

interface Rules {
  readonly request: readonly Rule[];
  readonly response: readonly Rule[];
}

export const headerToMetadataFilter: HttpFilterKind = defineHttpFilter({
  schema: ConfigSchema,
  create: (message, field, environment) => new HeaderToMetadataFilter(compileRules(message, field), environment.routeKey(ConfigSchema)),
  perRoute: { schema: ConfigSchema, compile: compileRules },
});

function compileRules(message: Config, field: Field): Rules {
  return {
    request: message.requestRules.map((rule, index) => compileRule(rule, field.child('request_rules', index))),
    response: message.responseRules.map((rule, index) => compileRule(rule, field.child('response_rules', index))),
  };
}

function compileRule(rule: Config_Rule, field: Field): Rule {
  const { header, cookie } = rule;
  if ((header === '') === (cookie === '')) field.reject('needs one of header, cookie');
  if (rule.onHeaderPresent === undefined && rule.onHeaderMissing === undefined)
    field.reject('needs at least one of on_header_present, on_header_missing');
  if (cookie !== '' && rule.remove) field.child('remove').reject('is not for cookies');
  if (rule.onHeaderMissing?.value === '') field.child('on_header_missing').child('value').reject('is required');
  const name = header.toLowerCase();
  return {
    read: cookie === '' ? (lookup) => lookup(name) : (lookup) => cookieValue(lookup('cookie'), cookie),
    onPresent: rule.onHeaderPresent && compileEntry(rule.onHeaderPresent, field.child('on_header_present')),
    onMissing: rule.onHeaderMissing && compileEntry(rule.onHeaderMissing, field.child('on_header_missing')),
    removed: rule.remove ? name : '',
  };
}

function compileEntry(pair: Config_KeyValuePair, field: Field): Entry {
  if (pair.key === '') field.child('key').reject('is required');
  const rewrite =
    pair.regexValueRewrite === undefined ? undefined : compileSubstitution(pair.regexValueRewrite, field.child('regex_value_rewrite'));
  if (rewrite !== undefined && pair.value !== '') field.child('value').reject('cannot stand beside regex_value_rewrite');
  const isBase64 = pair.encode === Config_ValueEncode.BASE64;
  return {
    namespace: pair.metadataNamespace === '' ? DEFAULT_NAMESPACE : pair.metadataNamespace,
    key: pair.key,
    read(headerValue) {
      const text = pair.value !== '' ? pair.value : rewrite === undefined ? headerValue : rewrite(headerValue);
      if (text === '' || text.length > MAX_VALUE_LENGTH) return undefined;
      const bytes = isBase64 ? decodeBase64(text) : Buffer.from(text, 'latin1');
      return bytes && metadataValue(bytes, pair.type);
    },
  };
}

/** undefined for what is not base64; Envoy takes no other alphabet and no missing padding. */
function decodeBase64(text: string): Buffer | undefined {
  return /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text) ? Buffer.from(text, 'base64') : undefined;
}

function metadataValue(bytes: Buffer, type: number): JsonValue | undefined {
  if (type === Config_ValueType.NUMBER) {
    const text = bytes.toString().trim();
    const number = Number(text);
    return text === '' || !Number.isFinite(number) ? undefined : number;
  }
  if (type !== Config_ValueType.PROTOBUF_VALUE) return bytes.toString();
  try {
    return toJson(ValueSchema, fromBinary(ValueSchema, bytes));
  } catch {
    return undefined;
  }
}

/** Puts headers into dynamic metadata, where other filters and access logs find them. Source: Envoy, Header-To-Metadata filter (1.40). */
class HeaderToMetadataFilter implements HttpFilter {
  readonly #rules: Rules;
  readonly #key: string;

  constructor(rules: Rules, key: string) {
    this.#rules = rules;
    this.#key = key;
  }

  onRequest(stream: HttpStream): FilterDecision {
    const { request } = stream.filterConfig<Rules>(this.#key) ?? this.#rules;
    const { info } = stream;
    if (request.length > 0) apply(request, { stream, headers: info.head.headers, lookup: (name) => info.requestHeader(name) });
    return 'continue';
  }

  onResponse(stream: HttpStream, head: ResponseHead): void {
    const { response } = stream.filterConfig<Rules>(this.#key) ?? this.#rules;
    if (response.length > 0) apply(response, { stream, headers: head.headers, lookup: (name) => stream.info.responseHeader(name) });
  }
}

function apply(
  rules: readonly Rule[],
  message: { readonly stream: HttpStream; readonly headers: HeaderMap; readonly lookup: (name: string) => string | undefined },
): void {
  for (const rule of rules) {
    const value = rule.read(message.lookup);
    const entry = value === undefined ? rule.onMissing : rule.onPresent;
    const found = entry?.read(value ?? '');
    if (entry !== undefined && found !== undefined) message.stream.info.setDynamicMetadata(entry.namespace, { [entry.key]: found });
    if (value !== undefined && rule.removed !== '') message.headers.remove(rule.removed);
  }
}
