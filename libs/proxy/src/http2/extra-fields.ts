import { HeaderMap } from '../http/headers.ts';

const NONE = new HeaderMap();
let lastText = '';
let lastFields = NONE;

/** Headers that are given as HTTP/1 has them, `name: value` in lines. Nearly always the same ones as before. */
export function extraFields(text: string): HeaderMap {
  if (text === lastText) return lastFields;
  const fields = new HeaderMap();
  for (const line of text.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.push(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  lastText = text;
  lastFields = fields;
  return fields;
}
