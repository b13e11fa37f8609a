import { type HeaderValueOption, HeaderValueOption_HeaderAppendAction } from '@mizzen/xds-api/envoy/config/core/v3/base';
import type { Field } from './field.ts';
import { compileFormat, type FormatSource, type ValueFormat } from './format.ts';

/** Headers as mutations see them; names are lower-cased. */
export interface MutableHeaders {
  get(name: string): string | undefined;
  /** Replaces all values. */
  set(name: string, value: string): void;
  append(name: string, value: string): void;
  remove(name: string): void;
}

/** Removals, then additions, of one level (route configuration, virtual host, route or weighted cluster). */
export interface HeaderMutations {
  apply(headers: MutableHeaders, source: FormatSource): void;
}

interface Addition {
  readonly name: string;
  readonly value: ValueFormat;
  readonly action: HeaderValueOption_HeaderAppendAction;
  readonly keepEmpty: boolean;
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
// What decides where a message ends or goes is the codec's business, not a route's.
const FRAMING = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'upgrade',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
]);

/** undefined where there is nothing to do. */
export function compileHeaderMutations(
  toAdd: readonly HeaderValueOption[],
  toRemove: readonly string[],
  fields: { add: Field; remove: Field },
): HeaderMutations | undefined {
  if (toAdd.length === 0 && toRemove.length === 0) return undefined;
  const removals = toRemove.map((name) => checkedName(name, fields.remove));
  const additions = toAdd.map((option, index) => compileAddition(option, fields.add.at(index)));
  return {
    apply(headers, source) {
      for (const name of removals) headers.remove(name);
      // All values first: none of them sees what another of the same level sets. Source: envoy HeaderParser::evaluateHeaders (1.40).
      const texts = additions.map(({ value }) => value(source));
      for (const [index, addition] of additions.entries()) add(headers, addition, texts[index] as string);
    },
  };
}

function add(headers: MutableHeaders, { name, action, keepEmpty }: Addition, text: string): void {
  if (text === '' && !keepEmpty) return;
  switch (action) {
    case HeaderValueOption_HeaderAppendAction.APPEND_IF_EXISTS_OR_ADD:
      headers.append(name, text);
      break;
    case HeaderValueOption_HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD:
      headers.set(name, text);
      break;
    case HeaderValueOption_HeaderAppendAction.ADD_IF_ABSENT:
      if (headers.get(name) === undefined) headers.append(name, text);
      break;
    case HeaderValueOption_HeaderAppendAction.OVERWRITE_IF_EXISTS:
      if (headers.get(name) !== undefined) headers.set(name, text);
      break;
  }
}

function compileAddition(option: HeaderValueOption, field: Field): Addition {
  const header = option.header;
  const name = checkedName(header?.key ?? '', field.child('header').child('key'));
  const text = header === undefined ? '' : header.value !== '' ? header.value : Buffer.from(header.rawValue).toString('latin1');
  if (/[\0\r\n]/.test(text)) field.child('header').child('value').reject('has a line break or a zero byte in it');
  // `append` is the older way to say it; true is also what the newer one defaults to.
  const action = option.append === false ? HeaderValueOption_HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD : option.appendAction;
  return { name, value: compileFormat(text, field.child('header').child('value')), action, keepEmpty: option.keepEmptyValue };
}

function checkedName(name: string, field: Field): string {
  const lower = name.toLowerCase();
  if (!TOKEN.test(lower)) field.reject(`"${name}" is not a header name that can be changed here`);
  else if (FRAMING.has(lower)) field.reject(`"${name}" is set by the proxy itself and cannot be changed`);
  return lower;
}
