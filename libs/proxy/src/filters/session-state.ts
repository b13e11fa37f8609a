import { Buffer } from 'node:buffer';
import { durationMs, type Field } from '@mizzen/matching';
import { unpackAny } from '@mizzen/xds-api';
import type { TypedExtensionConfig } from '@mizzen/xds-api/envoy/config/core/v3/extension';
import { CookieBasedSessionStateSchema } from '@mizzen/xds-api/envoy/extensions/http/stateful_session/cookie/v3/cookie';
import { HeaderBasedSessionStateSchema } from '@mizzen/xds-api/envoy/extensions/http/stateful_session/header/v3/header';
import type { HeaderMap } from '../http/headers.ts';
import type { HttpStreamInfo } from '../http/stream-info.ts';
import { cookieValue } from './cookies.ts';

/** Where a session is kept: in what way a client is told its endpoint, and tells it again. */
export interface SessionState {
  /** undefined: requests to this path take no part. Else the endpoint that the client was told, '' for none. */
  endpointOf(info: HttpStreamInfo, nowMs: number): string | undefined;
  /** Tells the client the endpoint that it was served by. */
  tell(endpoint: string, headers: HeaderMap, nowMs: number): void;
}

/** undefined where the message is rejected. Source: Envoy, stateful session (1.40). */
export function compileSessionState(message: TypedExtensionConfig, field: Field): SessionState | undefined {
  const any = message.typedConfig;
  const at = field.child('typed_config');
  const cookie = any && unpackAny(any, CookieBasedSessionStateSchema)?.cookie;
  if (cookie !== undefined) {
    if (cookie.name === '') at.child('cookie').child('name').reject('is required');
    return cookieState({ name: cookie.name, path: cookie.path, ttlSeconds: Math.floor((durationMs(cookie.ttl) ?? 0) / 1000) });
  }
  const header = any && unpackAny(any, HeaderBasedSessionStateSchema);
  if (header !== undefined) {
    if (header.name === '') at.child('name').reject('is required');
    return headerState(header.name.toLowerCase());
  }
  field.reject(`"${message.name}" is not a session state that this proxy has; cookie and header are`);
  return undefined;
}

interface SessionCookie {
  readonly name: string;
  /** '' for all. */
  readonly path: string;
  /** 0: as long as the browser runs. */
  readonly ttlSeconds: number;
}

function cookieState({ name, path, ttlSeconds }: SessionCookie): SessionState {
  const attributes = `${ttlSeconds > 0 ? `; Max-Age=${ttlSeconds}` : ''}${path === '' ? '' : `; Path=${path}`}; HttpOnly`;
  return {
    endpointOf(info, nowMs) {
      if (!isBelow(info.path, path)) return undefined;
      return readCookie(cookieValue(info.requestHeader('cookie'), name), nowMs);
    },
    tell(endpoint, headers, nowMs) {
      const value = encodeCookie(endpoint, ttlSeconds === 0 ? 0 : Math.floor(nowMs / 1000) + ttlSeconds);
      headers.append('set-cookie', `${name}="${value}"${attributes}`);
    },
  };
}

/** Source: RFC 6265 §5.1.4. */
function isBelow(requested: string, path: string): boolean {
  if (path === '' || path === '/' || !requested.startsWith(path)) return path === '' || path === '/';
  const next = requested[path.length];
  return path.endsWith('/') || next === undefined || next === '/' || next === '?' || next === '#';
}

function headerState(name: string): SessionState {
  return {
    endpointOf: (info) => Buffer.from(info.requestHeader(name) ?? '', 'base64').toString('latin1'),
    tell: (endpoint, headers) => headers.set(name, Buffer.from(endpoint, 'latin1').toString('base64')),
  };
}

// A cookie's value is base64 of the message envoy.Cookie: the address (field 1), and when it expires in Unix seconds (field 2).
const ADDRESS_TAG = 0x0a;
const EXPIRES_TAG = 0x10;

function encodeCookie(endpoint: string, expires: number): string {
  const address = Buffer.from(endpoint, 'latin1');
  const bytes = [ADDRESS_TAG, ...varint(address.length), ...address];
  if (expires > 0) bytes.push(EXPIRES_TAG, ...varint(expires));
  return Buffer.from(bytes).toString('base64');
}

/** '' where it says no address, or its time is over. An address alone is an older form. */
function readCookie(value: string | undefined, nowMs: number): string {
  if (value === undefined) return '';
  const bytes = Buffer.from(value, 'base64');
  if (bytes[0] !== ADDRESS_TAG) return bytes.toString('latin1');
  const length = readVarint(bytes, 1);
  if (length === undefined || length.next + length.value > bytes.length) return '';
  const address = bytes.toString('latin1', length.next, length.next + length.value);
  const rest = length.next + length.value;
  if (rest === bytes.length) return address;
  const expires = bytes[rest] === EXPIRES_TAG ? readVarint(bytes, rest + 1) : undefined;
  return expires === undefined || expires.value * 1000 <= nowMs ? '' : address;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return [...bytes, rest];
}

function readVarint(bytes: Buffer, from: number): { readonly value: number; readonly next: number } | undefined {
  let value = 0;
  for (let index = from, scale = 1; index < Math.min(bytes.length, from + MAX_VARINT_BYTES); index++, scale *= 0x80) {
    const byte = bytes[index] as number;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return { value, next: index + 1 };
  }
  return undefined;
}

// As many as a number of JavaScript holds without loss.
const MAX_VARINT_BYTES = 7;
