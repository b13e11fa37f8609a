import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { compileStringMatcher, durationMs, type Field, type StringPredicate, valueAt } from '@mizzen/matching';
import type { DataSource } from '@mizzen/xds-api/envoy/config/core/v3/base';
import type { JwtProvider } from '@mizzen/xds-api/envoy/extensions/filters/http/jwt_authn/v3/config';
import { readDataSource } from '../../config/values.ts';
import type { CallRuntime } from '../../http/async-client.ts';
import type { HeaderMap } from '../../http/headers.ts';
import { type Jwks, parseJwks, verifySignature } from './jwks.ts';
import { compileRemoteJwks, fixedJwks, type JwksSource, RemoteJwksSource } from './jwks-source.ts';
import { checkTime, type Jwt, parseJwt } from './jwt.ts';
import { compileTokenFinder, type TokenFinder } from './jwt-locations.ts';
import { type JwtFailure, jwtFailureText } from './jwt-status.ts';

export interface JwtStats {
  allowed: number;
  denied: number;
  corsPreflightBypassed: number;
  fetchSuccess: number;
  fetchFailed: number;
  cacheHit: number;
  cacheMiss: number;
}

// Source: envoy jwt_verify kClockSkewInSecond, JwtCache's defaults (1.40).
const DEFAULT_SKEW_SECONDS = 60;
const DEFAULT_CACHED_TOKENS = 100;
const MAX_CACHED_TOKEN_LENGTH = 4096;

/** One issuer of tokens, compiled: what its tokens must say, and its keys. */
export class CompiledProvider {
  readonly message: JwtProvider;
  readonly findTokens: TokenFinder;
  readonly keys: JwksSource;
  readonly #audiences: ReadonlySet<string>;
  readonly #hasSubject: StringPredicate | undefined;
  /** The longest time that a token may still be valid; undefined: any. */
  readonly #maxLifetimeSeconds: number | undefined;
  readonly #stats: JwtStats;
  readonly #cacheSize: number;
  /**
   * Tokens whose signature was found good with `#cachedFor`, the least recently used first. @deviation: also without jwt_cache_config, and
   * forgotten when the keys change, which Envoy's are not.
   */
  readonly #verified = new Map<string, Jwt>();
  #cachedFor: Jwks | undefined;

  constructor(message: JwtProvider, parts: { readonly field: Field; readonly keys: JwksSource; readonly stats: JwtStats }) {
    this.message = message;
    this.keys = parts.keys;
    this.#stats = parts.stats;
    this.findTokens = compileTokenFinder([message]);
    this.#audiences = audienceSet(message.audiences);
    this.#hasSubject = message.subjects && compileStringMatcher(message.subjects, parts.field.child('subjects'));
    this.#maxLifetimeSeconds =
      message.maxLifetime !== undefined ? (durationMs(message.maxLifetime) ?? 0) / 1000 : message.requireExpiration ? Infinity : undefined;
    this.#cacheSize = message.jwtCacheConfig?.jwtCacheSize || DEFAULT_CACHED_TOKENS;
  }

  /** A token of this provider that was verified before with the keys in force, or the token as it is: then `verify` is next. */
  decode(token: string): { readonly jwt: Jwt; readonly isVerified: boolean } | JwtFailure {
    const keys = this.keys.current();
    if (keys !== this.#cachedFor) {
      this.#verified.clear();
      this.#cachedFor = keys;
    }
    const known = this.#verified.get(token);
    if (known !== undefined) {
      this.#stats.cacheHit++;
      this.#verified.delete(token);
      this.#verified.set(token, known);
      return { jwt: known, isVerified: true };
    }
    this.#stats.cacheMiss++;
    const jwt = parseJwt(token);
    return typeof jwt === 'string' ? jwt : { jwt, isVerified: false };
  }

  /** What a token says, without its signature. `audiences` take the place of the provider's own. */
  checkClaims(jwt: Jwt, nowSeconds: number, audiences?: ReadonlySet<string>): 'ok' | JwtFailure {
    if (this.#hasSubject !== undefined && !this.#hasSubject(jwt.subject)) return 'verification-failed';
    if (this.#maxLifetimeSeconds !== undefined && (jwt.expires === undefined || jwt.expires - nowSeconds >= this.#maxLifetimeSeconds))
      return 'verification-failed';
    const time = checkTime(jwt, nowSeconds, this.message.clockSkewSeconds || DEFAULT_SKEW_SECONDS);
    if (time !== 'ok') return time;
    const allowed = audiences ?? this.#audiences;
    if (allowed.size > 0 && !jwt.audiences.some((audience) => allowed.has(sanitizedAudience(audience)))) return 'audience-not-allowed';
    return 'ok';
  }

  verify(token: string, jwt: Jwt, keys: Jwks): 'ok' | JwtFailure {
    if (typeof keys === 'string') return keys;
    const status = verifySignature(jwt, keys);
    if (status === 'ok' && keys === this.#cachedFor && token.length <= MAX_CACHED_TOKEN_LENGTH) {
      if (this.#verified.size >= this.#cacheSize) this.#verified.delete(this.#verified.keys().next().value as string);
      this.#verified.set(token, jwt);
    }
    return status;
  }

  /** Tells the upstream what a good token says. True where a header was made of a claim. */
  forward(jwt: Jwt, headers: HeaderMap): boolean {
    const { forwardPayloadHeader, padForwardPayloadHeader, claimToHeaders } = this.message;
    if (forwardPayloadHeader !== '') {
      const padding = padForwardPayloadHeader ? '='.repeat((4 - (jwt.payloadBase64url.length % 4)) % 4) : '';
      headers.append(forwardPayloadHeader.toLowerCase(), jwt.payloadBase64url + padding);
    }
    let hasAdded = false;
    for (const { headerName, claimName } of claimToHeaders) {
      const text = claimText(valueAt(jwt.payload, claimName.split('.')));
      if (text === '') continue;
      headers.append(headerName.toLowerCase(), text);
      hasAdded = true;
    }
    return hasAdded;
  }

  /** Headers that only this filter may say. */
  get ownHeaders(): readonly string[] {
    const { forwardPayloadHeader, claimToHeaders } = this.message;
    const names = claimToHeaders.map(({ headerName }) => headerName.toLowerCase());
    return forwardPayloadHeader === '' ? names : [...names, forwardPayloadHeader.toLowerCase()];
  }

  /** The claims as other filters read them, with lists where `space_delimited_claims` names texts. */
  payloadForMetadata({ payload }: Jwt): JsonObject {
    const claims = this.message.normalizePayloadInMetadata?.spaceDelimitedClaims ?? [];
    if (claims.length === 0) return payload;
    const normalized: JsonObject = { ...payload };
    for (const claim of claims) {
      const value = Object.hasOwn(payload, claim) ? payload[claim] : undefined;
      if (typeof value === 'string') normalized[claim] = value.split(' ').filter((word) => word !== '');
    }
    return normalized;
  }
}

/** Compiles a provider; its keys are fetched later. */
export function compileProvider(
  message: JwtProvider,
  field: Field,
  parts: { readonly runtime: CallRuntime; readonly stats: JwtStats },
): CompiledProvider {
  const headers = [...message.claimToHeaders.map(({ headerName }) => headerName), ...message.fromHeaders.map(({ name }) => name)];
  if (headers.includes('')) field.reject('names a header without a name');
  return new CompiledProvider(message, { field, keys: compileKeys(message, field, parts), stats: parts.stats });
}

function compileKeys(
  { jwksSourceSpecifier: source }: JwtProvider,
  field: Field,
  { runtime, stats }: { readonly runtime: CallRuntime; readonly stats: JwtStats },
): JwksSource {
  switch (source.case) {
    case 'remoteJwks': {
      const config = compileRemoteJwks(source.value, field.child('remote_jwks'));
      return config === undefined ? fixedJwks('jwks-no-valid-keys') : new RemoteJwksSource(config, runtime, stats);
    }
    case 'localJwks':
      return compileLocalKeys(source.value, field.child('local_jwks'));
    default:
      field.reject('needs remote_jwks or local_jwks');
      return fixedJwks('jwks-no-valid-keys');
  }
}

function compileLocalKeys(source: DataSource, field: Field): JwksSource {
  let text = '';
  try {
    text = readDataSource(source, 'local_jwks')?.toString('utf8') ?? '';
  } catch (thrown) {
    field.reject((thrown as { message: string }).message);
  }
  const keys = parseJwks(text);
  if (typeof keys === 'string') field.reject(`is not a usable JWKS: ${jwtFailureText(keys)}`);
  return fixedJwks(keys);
}

/** Audiences as they are compared: without scheme and trailing slash. Source: envoy JwtVerify::CheckAudience (1.40). */
export function audienceSet(audiences: readonly string[]): ReadonlySet<string> {
  return new Set(audiences.map(sanitizedAudience));
}

function sanitizedAudience(audience: string): string {
  const bare = audience.startsWith('https://') ? audience.slice(8) : audience.startsWith('http://') ? audience.slice(7) : audience;
  return bare.endsWith('/') ? bare.slice(0, -1) : bare;
}

// Lists and objects go as the base64 of their JSON, integers without a fraction. Source: envoy AuthenticatorImpl::addJWTClaimToHeader (1.40).
function claimText(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return value;
    case 'boolean':
      return String(value);
    case 'number':
      return Number.isInteger(value) && value >= 0 && value < 2 ** 64 ? BigInt(value).toString() : value.toFixed(6);
    case 'object':
      return value === null ? '' : Buffer.from(JSON.stringify(value as JsonValue)).toString('base64');
    default:
      return '';
  }
}
