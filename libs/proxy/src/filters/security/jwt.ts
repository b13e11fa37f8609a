import { isUtf8 } from 'node:buffer';
import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type { JwtFailure } from './jwt-status.ts';

/** A token, decoded and not verified. Times are seconds since the epoch. */
export interface Jwt {
  readonly alg: string;
  /** '' where the header names no key. */
  readonly kid: string;
  readonly issuer: string;
  readonly subject: string;
  readonly audiences: readonly string[];
  readonly notBefore: number;
  /** undefined: it never expires. */
  readonly expires: number | undefined;
  readonly header: JsonObject;
  readonly payload: JsonObject;
  /** As it stands in the token. */
  readonly payloadBase64url: string;
  /** What the signature is over. */
  readonly signedText: string;
  readonly signature: Buffer;
}

const ALGORITHMS: ReadonlySet<string> = new Set([
  'ES256',
  'ES384',
  'ES512',
  'HS256',
  'HS384',
  'HS512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'EdDSA',
]);

// As many levels as protobuf's JSON parser takes; deeper claims would overflow the stack of whoever walks them.
const MAX_DEPTH = 100;
const MAX_INTEGER = 2 ** 63;

/** Decodes a token (RFC 7519, RFC 7515). Checks form and types, nothing else. Source: envoy source/common/jwt/jwt.cc (1.40). */
export function parseJwt(text: string): Jwt | JwtFailure {
  const parts = text.split('.');
  if (parts.length !== 3 || parts.includes('')) return 'bad-format';
  const [headerText, payloadText, signatureText] = parts as [string, string, string];
  const headerBytes = decodeBase64url(headerText);
  if (headerBytes === undefined) return 'header-base64';
  const header = parseObject(headerBytes);
  if (header === undefined) return 'header-json';
  if (typeof header['alg'] !== 'string') return 'header-alg';
  if (!ALGORITHMS.has(header['alg'])) return 'alg-unsupported';
  const kid = header['kid'];
  if (kid !== undefined && typeof kid !== 'string') return 'header-kid';
  const payloadBytes = decodeBase64url(payloadText);
  if (payloadBytes === undefined) return 'payload-base64';
  const payload = parseObject(payloadBytes);
  if (payload === undefined) return 'payload-json';
  const failure = checkPayload(payload);
  if (failure !== undefined) return failure;
  const signature = decodeBase64url(signatureText);
  if (signature === undefined) return 'signature-base64';
  return {
    alg: header['alg'],
    kid: kid ?? '',
    issuer: textOr(payload['iss']),
    subject: textOr(payload['sub']),
    audiences: listOf(payload['aud']),
    notBefore: Math.trunc((payload['nbf'] as number | undefined) ?? 0),
    expires: payload['exp'] === undefined ? undefined : Math.trunc(payload['exp'] as number),
    header,
    payload,
    payloadBase64url: payloadText,
    signedText: `${headerText}.${payloadText}`,
    signature,
  };
}

/** Whether the token is valid now, give or take the clock skew. */
export function checkTime(jwt: Jwt, nowSeconds: number, skewSeconds: number): 'ok' | JwtFailure {
  if (nowSeconds + skewSeconds < jwt.notBefore) return 'not-yet-valid';
  if (jwt.expires !== undefined && nowSeconds > jwt.expires + skewSeconds) return 'expired';
  return 'ok';
}

function checkPayload(payload: JsonObject): JwtFailure | undefined {
  if (!isTextOrAbsent(payload['iss'])) return 'payload-iss';
  if (!isTextOrAbsent(payload['sub'])) return 'payload-sub';
  for (const name of ['iat', 'nbf', 'exp'] as const) {
    const value = payload[name];
    if (value === undefined) continue;
    if (typeof value !== 'number') return `payload-${name}`;
    if (value < 0 || value >= MAX_INTEGER) return `payload-${name}-range`;
  }
  if (!isTextOrAbsent(payload['jti'])) return 'payload-jti';
  const audience = payload['aud'];
  if (isTextOrAbsent(audience) || (Array.isArray(audience) && audience.every((each) => typeof each === 'string'))) return undefined;
  return 'payload-aud';
}

function isTextOrAbsent(value: JsonValue | undefined): boolean {
  return value === undefined || typeof value === 'string';
}

function textOr(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : '';
}

function listOf(value: JsonValue | undefined): readonly string[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? (value as string[]) : [value as string];
}

// A text that is written in two ways is one token to us and two to a cache or a log: only the canonical form is taken (RFC 4648 §3.5).
function decodeBase64url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : undefined;
}

function parseObject(bytes: Buffer): JsonObject | undefined {
  if (!isUtf8(bytes)) return undefined;
  const text = bytes.toString('utf8');
  if (isTooDeep(text)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
  } catch {
    return undefined;
  }
}

function isTooDeep(text: string): boolean {
  let depth = 0;
  let isInString = false;
  for (let index = 0; index < text.length; index++) {
    const char = text.charCodeAt(index);
    if (isInString) {
      if (char === 0x5c) index++;
      else if (char === 0x22) isInString = false;
    } else if (char === 0x22) isInString = true;
    else if (char === 0x7b || char === 0x5b) {
      if (++depth > MAX_DEPTH) return true;
    } else if (char === 0x7d || char === 0x5d) depth--;
  }
  return false;
}
