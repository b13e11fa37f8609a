import { HeaderMap } from '../http/headers.ts';
import type { RequestHead, ResponseHead } from '../http/stream.ts';
import type { ReceivedBlock } from './header-assembler.ts';
import { FIELD_KIND, type HeaderField } from './header-field.ts';
import { ENTRY_OVERHEAD_BYTES } from './static-table.ts';

const NO_HEADERS = new HeaderMap();

export interface HeaderLimits {
  readonly maxHeaderBytes: number;
  readonly maxHeaders: number;
}

const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const SCHEME = /^[A-Za-z][A-Za-z0-9+\-.]*$/;
// No user information: as nghttp2 has it.
const AUTHORITY = /^[A-Za-z0-9\-._~%!$&'()*+,;=:[\]]+$/;
const CONTENT_LENGTH = /^\d{1,15}$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
const PATH = /^\/[^\x00-\x20\x7f]*$/;

/**
 * The fields of one header block as they are decoded, and the message that they make. One per connection, used again for every block.
 * What RFC 9113 §8 calls malformed is `isMalformed`; what is more than we take, `isTooLarge`.
 */
export class HeaderBlock {
  readonly #limits: HeaderLimits;
  headers = NO_HEADERS;
  isMalformed = false;
  isTooLarge = false;
  /** Which of the limits was exceeded. */
  isListTooLong = false;
  method = '';
  scheme = '';
  path = '';
  authority = '';
  status = '';
  protocol = '';
  contentLength = -1;
  #seen = 0;
  #host: string | undefined;
  #cookie = '';
  #expectsContinue = false;
  #isBehindPseudo = false;
  #bytes = 0;
  #count = 0;

  constructor(limits: HeaderLimits) {
    this.#limits = limits;
  }

  begin(): void {
    this.headers = new HeaderMap();
    this.isMalformed = false;
    this.isTooLarge = false;
    this.isListTooLong = false;
    this.method = '';
    this.scheme = '';
    this.path = '';
    this.authority = '';
    this.status = '';
    this.protocol = '';
    this.contentLength = -1;
    this.#seen = 0;
    this.#host = undefined;
    this.#cookie = '';
    this.#expectsContinue = false;
    this.#isBehindPseudo = false;
    this.#bytes = 0;
    this.#count = 0;
  }

  /** The message was taken: an idle connection does not keep it. */
  release(): void {
    this.headers = NO_HEADERS;
  }

  onField(field: HeaderField): void {
    this.#count++;
    this.#bytes += field.tableBytes - ENTRY_OVERHEAD_BYTES;
    if (this.#bytes > this.#limits.maxHeaderBytes || this.#count > this.#limits.maxHeaders) {
      // What else comes is decoded for the table's sake, and not kept.
      this.isListTooLong = this.#bytes > this.#limits.maxHeaderBytes;
      this.isTooLarge = true;
      return;
    }
    if (!field.isValid) {
      this.isMalformed = true;
      return;
    }
    const { kind, name } = field.name;
    if (kind === FIELD_KIND.regular) {
      this.#isBehindPseudo = true;
      this.headers.seen |= name.seen;
      this.headers.push(name.text, trimmed(field.value));
    } else if (kind <= FIELD_KIND.unknownPseudo) this.#onPseudo(kind, field.value);
    else this.#onSpecial(field, kind);
  }

  #onPseudo(kind: number, value: string): void {
    const bit = 1 << kind;
    if (this.#isBehindPseudo || (this.#seen & bit) !== 0 || kind === FIELD_KIND.unknownPseudo) this.isMalformed = true;
    this.#seen |= bit;
    if (kind === FIELD_KIND.method) this.method = value;
    else if (kind === FIELD_KIND.path) this.path = value;
    else if (kind === FIELD_KIND.scheme) this.scheme = value;
    else if (kind === FIELD_KIND.authority) this.authority = value;
    else if (kind === FIELD_KIND.status) this.status = value;
    else this.protocol = value;
  }

  #onSpecial(field: HeaderField, kind: number): void {
    const { name } = field.name;
    const value = trimmed(field.value);
    this.#isBehindPseudo = true;
    this.headers.seen |= name.seen;
    switch (kind) {
      case FIELD_KIND.cookie:
        this.#cookie = this.#cookie === '' ? value : `${this.#cookie}; ${value}`;
        break;
      case FIELD_KIND.contentLength:
        if (this.contentLength >= 0 || !CONTENT_LENGTH.test(value)) this.isMalformed = true;
        this.contentLength = Number(value);
        break;
      case FIELD_KIND.te:
        if (value.toLowerCase() !== 'trailers') this.isMalformed = true;
        this.headers.push('te', 'trailers');
        break;
      case FIELD_KIND.expect:
        this.#expectsContinue = value.toLowerCase() === '100-continue';
        break;
      case FIELD_KIND.host:
        if (this.#host !== undefined) this.isMalformed = true;
        this.#host = value;
        break;
      default:
        this.isMalformed = true;
    }
  }

  /** The request that the block begins, or undefined where it is malformed. */
  toRequest(received: Pick<ReceivedBlock, 'isEnd' | 'wireBytes'>, allowsConnect: boolean): RequestHead | undefined {
    this.#finish();
    if (this.isMalformed || !this.#isRequest(allowsConnect) || (received.isEnd && this.contentLength > 0)) return undefined;
    const isUpgrade = this.protocol !== '';
    // A websocket over extended CONNECT is inside the proxy what it is in HTTP/1, as in Envoy.
    const method = isUpgrade ? 'GET' : this.method;
    return {
      protocol: 'HTTP/2',
      method,
      path: this.path,
      authority: this.authority,
      scheme: httpScheme(this.scheme),
      headers: this.headers,
      hasBody: !received.isEnd,
      contentLength: isUpgrade ? -1 : this.contentLength,
      upgrade: isUpgrade ? this.protocol.toLowerCase() : '',
      expectsContinue: this.#expectsContinue,
      wireBytes: received.wireBytes,
    };
  }

  #isRequest(allowsConnect: boolean): boolean {
    const unwanted = (1 << FIELD_KIND.status) | (allowsConnect ? 0 : 1 << FIELD_KIND.protocol);
    if ((this.#seen & unwanted) !== 0 || !isMethod(this.method)) return false;
    if (this.#host !== undefined && (this.#seen & (1 << FIELD_KIND.authority)) === 0) this.authority = this.#host;
    if (!isAuthority(this.authority)) return false;
    if (this.method === 'CONNECT' && this.protocol === '')
      return (this.#seen & ((1 << FIELD_KIND.path) | (1 << FIELD_KIND.scheme) | (1 << FIELD_KIND.protocol))) === 0;
    if ((this.#seen & (1 << FIELD_KIND.protocol)) !== 0 && (this.method !== 'CONNECT' || !METHOD.test(this.protocol))) return false;
    return isScheme(this.scheme) && (isPath(this.path) || (this.path === '*' && this.method === 'OPTIONS'));
  }

  /** The response that the block begins, interim ones included; undefined where it is malformed. `hasBody` is as the frames say. */
  toResponse(received: Pick<ReceivedBlock, 'isEnd' | 'wireBytes'>): ResponseHead | undefined {
    this.#finish();
    if (this.isMalformed || this.#seen !== 1 << FIELD_KIND.status) return undefined;
    const status = statusOf(this.status);
    if (status === 0) return undefined;
    if (this.#host !== undefined) this.headers.push('host', this.#host);
    return {
      status,
      headers: this.headers,
      hasBody: !received.isEnd,
      contentLength: this.contentLength,
      upgrade: '',
      wireBytes: received.wireBytes,
    };
  }

  /** The trailers that the block is, or undefined where it is malformed. */
  toTrailers(): HeaderMap | undefined {
    this.#finish();
    // A length behind the body could only be taken for one by whoever comes next; nghttp2 holds it against the body.
    if (this.isMalformed || this.#seen !== 0 || this.contentLength >= 0) return undefined;
    return this.headers;
  }

  #finish(): void {
    // Cookie crumbs are one header (RFC 9113 §8.2.3).
    if (this.#cookie !== '') this.headers.push('cookie', this.#cookie);
  }
}

function trimmed(value: string): string {
  const first = value.charCodeAt(0);
  const last = value.charCodeAt(value.length - 1);
  return first === 0x20 || first === 0x09 || last === 0x20 || last === 0x09 ? value.trim() : value;
}

let lastAuthority = '';
let lastPath = '';

// Most messages need no regular expression.
function isMethod(method: string): boolean {
  return method === 'GET' || method === 'POST' || METHOD.test(method);
}

function isScheme(scheme: string): boolean {
  return scheme === 'http' || scheme === 'https' || SCHEME.test(scheme);
}

/** Lower-cased; '' for what is not HTTP's. */
function httpScheme(scheme: string): 'http' | 'https' | '' {
  if (scheme === 'http' || scheme === 'https') return scheme;
  const lower = scheme.toLowerCase();
  return lower === 'http' || lower === 'https' ? lower : '';
}

/** 0: it is none. */
function statusOf(text: string): number {
  if (text === '200') return 200;
  return /^[1-9]\d\d$/.test(text) ? Number(text) : 0;
}

// Nearly every request has the authority, and many the path, of one before.
function isAuthority(authority: string): boolean {
  if (authority === lastAuthority && authority !== '') return true;
  if (!AUTHORITY.test(authority)) return false;
  lastAuthority = authority;
  return true;
}

function isPath(path: string): boolean {
  if (path === lastPath && path !== '') return true;
  if (!PATH.test(path)) return false;
  lastPath = path;
  return true;
}
