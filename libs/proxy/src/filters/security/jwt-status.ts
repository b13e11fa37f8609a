/**
 * Why a token is not accepted: the name, Envoy's number for it (as `failed_status_in_metadata` tells it) and the body of the answer.
 * Source: envoy source/common/jwt/status.h and status.cc (1.40).
 */
const STATUSES = {
  missing: [1, 'Jwt is missing'],
  'not-yet-valid': [2, 'Jwt not yet valid'],
  expired: [3, 'Jwt is expired'],
  'bad-format': [4, 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections'],
  'header-base64': [5, 'Jwt header is an invalid Base64url encoded'],
  'header-json': [6, 'Jwt header is an invalid JSON'],
  'header-alg': [7, 'Jwt header [alg] field is required and must be a string'],
  'alg-unsupported': [8, 'Jwt header [alg] is not supported'],
  'header-kid': [9, 'Jwt header [kid] field is not a string'],
  'payload-base64': [10, 'Jwt payload is an invalid Base64url encoded'],
  'payload-json': [11, 'Jwt payload is an invalid JSON'],
  'payload-iss': [12, 'Jwt payload [iss] field is not a string'],
  'payload-sub': [13, 'Jwt payload [sub] field is not a string'],
  'payload-iat': [14, 'Jwt payload [iat] field is not an integer'],
  'payload-iat-range': [15, 'Jwt payload [iat] field is not a positive 64 bit integer'],
  'payload-nbf': [16, 'Jwt payload [nbf] field is not an integer'],
  'payload-nbf-range': [17, 'Jwt payload [nbf] field is not a positive 64 bit integer'],
  'payload-exp': [18, 'Jwt payload [exp] field is not an integer'],
  'payload-exp-range': [19, 'Jwt payload [exp] field is not a positive 64 bit integer'],
  'payload-jti': [20, 'Jwt payload [jti] field is not a string'],
  'payload-aud': [21, 'Jwt payload [aud] field is not a string or string list'],
  'signature-base64': [22, 'Jwt signature is an invalid Base64url encoded'],
  'ed25519-length': [23, 'Jwt ED25519 signature is wrong length'],
  'unknown-issuer': [24, 'Jwt issuer is not configured'],
  'audience-not-allowed': [25, 'Audiences in Jwt are not allowed'],
  'verification-failed': [26, 'Jwt verification fails'],
  'jwks-json': [28, 'Jwks is an invalid JSON'],
  'jwks-no-keys': [29, 'Jwks does not have [keys] field'],
  'jwks-bad-keys': [30, '[keys] in Jwks is not an array'],
  'jwks-no-valid-keys': [31, "Jwks doesn't have any valid public key"],
  'jwks-kid-alg-mismatch': [32, "Jwks doesn't have key to match kid or alg from Jwt"],
  'jwks-fetch-failed': [40, 'Jwks remote fetch is failed'],
} as const satisfies Record<string, readonly [code: number, text: string]>;

export type JwtFailure = keyof typeof STATUSES;
export type JwtStatus = 'ok' | JwtFailure;

export function jwtFailureCode(failure: JwtFailure): number {
  return STATUSES[failure][0];
}

export function jwtFailureText(failure: JwtFailure): string {
  return STATUSES[failure][1];
}
