import type { JsonObject } from '@bufbuild/protobuf';
import { HeaderValueOption_HeaderAppendAction as AppendAction, type HeaderValueOption } from '@mizzen/xds-api/envoy/config/core/v3/base';
import type { HeaderMap } from '../../http/headers.ts';
import type { HttpStreamInfo } from '../../http/stream-info.ts';

/** One change of a header that an authorization server asks for. */
export interface HeaderChange {
  readonly name: string;
  readonly value: string;
  /** `join`: into the value that is there, if there is one. */
  readonly action: 'add' | 'join' | 'add-if-absent' | 'set' | 'set-if-present';
}

/** What an authorization server decided of a request. */
export type AuthzDecision =
  | {
      readonly kind: 'ok';
      readonly requestHeaders: readonly HeaderChange[];
      readonly headersToRemove: readonly string[];
      readonly responseHeaders: readonly HeaderChange[];
      readonly queryToSet: readonly (readonly [name: string, value: string])[];
      readonly queryToRemove: readonly string[];
      readonly metadata: JsonObject | undefined;
    }
  | {
      readonly kind: 'denied';
      readonly status: number;
      readonly body: string | Buffer;
      readonly headers: readonly HeaderChange[];
      readonly metadata: JsonObject | undefined;
    }
  | { readonly kind: 'error' };

const ACTIONS: Readonly<Record<number, HeaderChange['action']>> = {
  [AppendAction.APPEND_IF_EXISTS_OR_ADD]: 'add',
  [AppendAction.ADD_IF_ABSENT]: 'add-if-absent',
  [AppendAction.OVERWRITE_IF_EXISTS_OR_ADD]: 'set',
  [AppendAction.OVERWRITE_IF_EXISTS]: 'set-if-present',
};

/**
 * What to do with a header of a response. `append`, which is older than the actions, says set or add.
 * An action that is not known comes back as undefined.
 */
export function responseChange(option: HeaderValueOption): HeaderChange | undefined {
  const { append, appendAction } = option;
  const action = append === undefined ? ACTIONS[appendAction] : append ? 'add' : 'set';
  return action && { ...headerOf(option), action };
}

/**
 * What to do with a header of the request or of a refusal: set, or with `append` join to what is there. The actions do not count here, as
 * Envoy 1.40 shows on the same bootstrap; what an authorization server says in one way must not do another thing behind us.
 */
export function plainChange(option: HeaderValueOption, append: HeaderChange['action']): HeaderChange {
  return { ...headerOf(option), action: option.append ? append : 'set' };
}

function headerOf({ header }: HeaderValueOption): { name: string; value: string } {
  const raw = header?.rawValue ?? new Uint8Array();
  const value = Buffer.from(raw.length > 0 ? raw : (header?.value ?? '')).toString('latin1');
  return { name: (header?.key ?? '').toLowerCase(), value };
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const BAD_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

/** Whether a change may be made: names are tokens, values have no control characters (RFC 9110 §5). */
export function isValidChange({ name, value }: HeaderChange): boolean {
  return (TOKEN.test(name) || /^:(?:path|authority|method|scheme)$/.test(name)) && !BAD_VALUE.test(value);
}

// What frames a message is no business of an authorization server.
const NOT_TO_TOUCH: ReadonlySet<string> = new Set([
  'content-length',
  'transfer-encoding',
  'connection',
  'upgrade',
  'keep-alive',
  'te',
  'trailer',
]);

/** Makes changes to headers; those that cannot be made are left out. @deviation: without validate_mutations Envoy passes on even bad names. */
export function applyChanges(changes: readonly HeaderChange[], headers: HeaderMap): void {
  for (const change of changes) {
    const { name, value, action } = change;
    if (!isValidChange(change) || name.startsWith(':') || NOT_TO_TOUCH.has(name)) continue;
    const present = headers.has(name);
    if (action === 'add' || (action === 'add-if-absent' && !present)) headers.append(name, value);
    else if (action === 'join' && present) headers.set(name, `${headers.get(name) ?? ''},${value}`);
    else if (action === 'set' || (action === 'set-if-present' && present)) headers.set(name, value);
  }
}

/** Changes the head of a request: pseudo headers by `set` as well. True where anything was asked for. */
export function applyToRequest(decision: Extract<AuthzDecision, { kind: 'ok' }>, info: HttpStreamInfo): boolean {
  const { requestHeaders, headersToRemove, queryToSet, queryToRemove } = decision;
  const { head } = info;
  applyChanges(requestHeaders, head.headers);
  for (const change of requestHeaders) if (isValidChange(change)) setPseudoHeader(info, change);
  for (const name of headersToRemove.map((each) => each.toLowerCase()))
    if (!name.startsWith(':') && name !== 'host' && !NOT_TO_TOUCH.has(name)) head.headers.remove(name);
  if (queryToSet.length + queryToRemove.length > 0) setPath(info, changeQuery(info.path, queryToSet, queryToRemove));
  return requestHeaders.length + headersToRemove.length + queryToSet.length + queryToRemove.length > 0;
}

function setPseudoHeader(info: HttpStreamInfo, { name, value }: HeaderChange): void {
  switch (name) {
    case ':path':
      setPath(info, value);
      return;
    case ':method':
      info.method = value;
      info.head.method = value;
      return;
    case ':authority':
    case 'host':
      info.authority = value;
      info.head.authority = value;
      info.head.headers.remove('host');
  }
}

function setPath(info: HttpStreamInfo, path: string): void {
  info.path = path;
  info.head.path = path;
}

// Sorted by name, as Envoy writes them. Source: envoy Http::Utility::QueryParamsMulti (1.40).
function changeQuery(path: string, set: readonly (readonly [string, string])[], remove: readonly string[]): string {
  const start = path.indexOf('?');
  const values = new Map<string, string[]>();
  for (const pair of start < 0 ? [] : path.slice(start + 1).split('&')) {
    const equals = pair.indexOf('=');
    const name = equals < 0 ? pair : pair.slice(0, equals);
    values.set(name, [...(values.get(name) ?? []), equals < 0 ? '' : pair.slice(equals + 1)]);
  }
  for (const [name, value] of set) values.set(name, [value]);
  for (const name of remove) values.delete(name);
  const pairs = [...values]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .flatMap(([name, list]) => list.map((value) => `${name}=${value}`));
  const bare = start < 0 ? path : path.slice(0, start);
  return pairs.length === 0 ? bare : `${bare}?${pairs.join('&')}`;
}
