import { createHmac, type KeyObject, sign } from 'node:crypto';
import type { DifferentialCase } from './envoy-differential-cases.ts';
import { MESH_PRINCIPALS, RBAC_RULES, URI_TEMPLATES } from './envoy-differential-security-bootstrap.ts';

function request(line: string, ...headers: readonly string[]): string {
  return `${[`${line} HTTP/1.1`, 'host: a.example', 'connection: close', ...headers].join('\r\n')}\r\n\r\n`;
}

const ROLES: Readonly<Record<string, readonly string[]>> = {
  'no role': [],
  admin: ['x-role: admin'],
  user: ['x-role: user'],
  'user, then admin': ['x-role: user', 'x-role: admin'],
  'user and admin in one': ['x-role: user,admin'],
  'letters that are no UTF-8': ['x-role: ad\xff'],
  'letters outside of ASCII': [`x-role: ${Buffer.from('größe').toString('latin1')}`],
  numbers: ['x-role: 3', 'x-role: 9'],
  'another header': ['x-two: 2'],
  'admin and another header': ['x-role: admin', 'x-two: 2'],
  'a forwarded address': ['x-forwarded-for: 10.1.2.3'],
};

const TEMPLATE_PATHS = [
  'a/b',
  'a',
  '',
  'a/',
  'a/b/',
  'a/x/b',
  'a/x/y/b',
  'a/x/a/c',
  'x/a=b/b',
  'a/file.txt',
  'a/fileXtxt',
  'a*/b',
  'a;v=1/b',
  '%61/b?q',
  'a/ä/b',
];

export const RBAC_CASES: readonly DifferentialCase[] = [
  ...Object.keys(URI_TEMPLATES).flatMap((rule) =>
    TEMPLATE_PATHS.map((path) => ({ name: `${rule}: ${path}`, bytes: request(`GET /${rule}/${Buffer.from(path).toString('latin1')}`) })),
  ),
  ...Object.keys(RBAC_RULES).flatMap((rule) =>
    Object.entries(ROLES).map(([role, headers]) => ({ name: `${rule}: ${role}`, bytes: request(`GET /${rule}/in?q=/out`, ...headers) })),
  ),
  ...['deny-all', 'nothing-denied', 'off', 'shadow', 'anything'].map((path) => ({ name: path, bytes: request(`GET /${path}`) })),
  { name: 'gRPC', bytes: request('POST /deny-all', 'content-type: application/grpc', 'content-length: 0') },
  { name: 'a method that is not allowed', bytes: request('PUT /allow-method/in', 'content-length: 0') },
];

export interface SigningKeys {
  readonly rsa: KeyObject;
  readonly ec: KeyObject;
  readonly ed: KeyObject;
  /** In no JWKS. */
  readonly stranger: KeyObject;
}

type Claims = Record<string, unknown>;

const HOUR = 3600;

function encode(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
}

function token(header: Claims, claims: Claims | string, signature: (text: string) => Buffer): string {
  const text = `${encode(header)}.${encode(claims)}`;
  return `${text}.${signature(text).toString('base64url')}`;
}

/** Cases of both filters as a mesh has them. */
export function meshCases({ rsa }: SigningKeys, nowSeconds: number): DifferentialCase[] {
  const good: Claims = { iss: 'issuer', sub: 'user-1', exp: nowSeconds + HOUR };
  const tokens: Record<string, Claims> = {
    'a plain token': good,
    'a token of another subject': { ...good, sub: 'admin' },
    'a token of the other issuer': { ...good, iss: 'other' },
    'a token with groups': { ...good, groups: ['users', 'admins'] },
    'a token with one group': { ...good, groups: 'admins' },
    'a token with scopes': { ...good, scope: 'read write' },
    'a token with claims of all kinds': { ...good, nested: { deep: 'd' }, flag: true, number: 7, nothing: null },
    'an expired token': { ...good, exp: 1 },
  };
  const sign256 = (text: string): Buffer => sign('sha256', Buffer.from(text), rsa);
  return Object.keys(MESH_PRINCIPALS).flatMap((path) => [
    { name: `${path}: no token`, bytes: request(`GET ${path}x`) },
    ...Object.entries(tokens).map(([name, claims]) => ({
      name: `${path}: ${name}`,
      bytes: request(`GET ${path}x`, `authorization: Bearer ${token({ alg: 'RS256', kid: 'rsa' }, claims, sign256)}`),
    })),
  ]);
}

/** Cases of the JWT filter, with tokens that are valid at `nowSeconds`. */
export function jwtCases(keys: SigningKeys, nowSeconds: number): DifferentialCase[] {
  const good: Claims = { iss: 'issuer', aud: 'us', sub: 'user-1', iat: nowSeconds, exp: nowSeconds + HOUR };
  const rs = (hash: string, key: KeyObject) => (text: string) => sign(hash, Buffer.from(text), key);
  const es = (text: string): Buffer => sign('sha256', Buffer.from(text), { key: keys.ec, dsaEncoding: 'ieee-p1363' });
  const rs256 = (claims: Claims | string, header: Claims = {}): string =>
    token({ alg: 'RS256', kid: 'rsa', ...header }, claims, rs('sha256', keys.rsa));
  const pss = (text: string): Buffer => sign('sha256', Buffer.from(text), { key: keys.rsa, padding: 6, saltLength: 32 });
  const bearer = (jwt: string): string => `authorization: Bearer ${jwt}`;
  const get = (name: string, path: string, ...headers: readonly string[]): DifferentialCase => ({
    name,
    bytes: request(`GET ${path}`, ...headers),
  });
  const plain = (name: string, jwt: string): DifferentialCase => get(name, '/plain/x?a=b', bearer(jwt));
  const jwt = rs256(good);
  const { exp: _exp, ...endless } = good;
  const other = rs256({ ...good, iss: 'other' });
  const rich = { ...good, number: 7, part: 1.5, flag: true, nested: { deep: 'd' }, list: [1, 'two'] };
  return [
    get('no token', '/plain/x?a=b'),
    plain('a good token', jwt),
    plain('a good token again', jwt),
    plain('ES256', token({ alg: 'ES256', kid: 'ec' }, good, es)),
    plain(
      'EdDSA',
      token({ alg: 'EdDSA', kid: 'ed' }, good, (text) => sign(null, Buffer.from(text), keys.ed)),
    ),
    plain(
      'EdDSA with a short signature',
      token({ alg: 'EdDSA', kid: 'ed' }, good, () => Buffer.alloc(10)),
    ),
    plain(
      'HS256',
      token({ alg: 'HS256', kid: 'mac' }, good, (text) => createHmac('sha256', 'secret').update(text).digest()),
    ),
    plain('a key for another algorithm', token({ alg: 'PS256', kid: 'rsa' }, good, pss)),
    plain('no key id', token({ alg: 'RS256' }, good, rs('sha256', keys.rsa))),
    plain('an unknown key id', rs256(good, { kid: 'nobody' })),
    plain('a key id that is no text', rs256(good, { kid: 1 })),
    plain('the signature of a stranger', token({ alg: 'RS256', kid: 'rsa' }, good, rs('sha256', keys.stranger))),
    plain(
      'alg none',
      token({ alg: 'none' }, good, () => Buffer.from('x')),
    ),
    plain('no alg', token({ kid: 'rsa' }, good, rs('sha256', keys.rsa))),
    plain('two parts', jwt.split('.').slice(0, 2).join('.')),
    plain('an empty part', `${jwt.slice(0, jwt.lastIndexOf('.'))}.`),
    plain('no token at all', 'abc'),
    plain('a header that is no JSON', `${encode('{')}.${encode(good)}.AAAA`),
    plain('a header that is no base64url', `a+b.${encode(good)}.AAAA`),
    plain('a payload that is no JSON', rs256('{')),
    plain('a payload that is a list', rs256('[]')),
    plain('a signature that is no base64url', `${jwt}+`),
    plain('another issuer', other),
    plain('no issuer', rs256({ ...good, iss: undefined })),
    plain('an issuer that is no text', rs256({ ...good, iss: 1 })),
    plain('a subject that is no text', rs256({ ...good, sub: 1 })),
    plain('an id that is no text', rs256({ ...good, jti: 1 })),
    plain('another audience', rs256({ ...good, aud: ['them'] })),
    plain('one of the audiences', rs256({ ...good, aud: ['them', 'us'] })),
    plain('no audience', rs256({ ...good, aud: undefined })),
    plain('an audience that is no text', rs256({ ...good, aud: [1] })),
    plain('expired', rs256({ ...good, exp: nowSeconds - HOUR })),
    get('expired within the clock skew', '/tolerant/x', bearer(rs256({ ...good, exp: nowSeconds - 600 }))),
    plain('not yet valid', rs256({ ...good, nbf: nowSeconds + HOUR })),
    plain('a time that is no number', rs256({ ...good, exp: 'soon' })),
    plain('a time below 0', rs256({ ...good, nbf: -1 })),
    plain('a time that is too large', rs256({ ...good, iat: 1e300 })),
    get('two tokens, one bad', `/plain/x?access_token=${other}`, bearer(jwt)),
    get('a token in the query', `/plain/x?access_token=${jwt}&a=b`),
    get('another scheme', '/plain/x', `authorization: Basic ${jwt}`),
    get('a token that is not sent on', '/hiding/x', bearer(jwt), 'x-payload: forged'),
    get('no token where the payload is forged', '/hiding/x', 'x-payload: forged'),
    get('a header with a prefix', '/places/x', `x-token: T ${jwt}`),
    get('a bare header', '/places/x', `x-bare: ${jwt}`),
    get('a query parameter', `/places/x?token=${jwt}`),
    get('a query parameter among others', `/places/x?a=1&token=${jwt}&b=2`),
    get('a cookie', '/places/x', `cookie: a=1; jwt=${jwt}`),
    get('a place that is not looked at', '/places/x', bearer(jwt)),
    get('claims as headers', '/claims/x', bearer(rs256(rich)), 'x-claim-sub: forged', 'x-claim-flag: forged'),
    get('a token that is too old for the skew', '/skewed/x', bearer(rs256({ ...good, exp: nowSeconds - 20 }))),
    get('keys that are fetched ahead', '/remote-ahead/x', bearer(jwt)),
    get('a token that must end', '/strict/x', bearer(rs256(endless))),
    get('a token that ends', '/strict/x', bearer(jwt)),
    get('a token that lives too long', '/short/x', bearer(jwt)),
    get('a token that lives shortly', '/short/x', bearer(rs256({ ...good, exp: nowSeconds + 50 }))),
    get('a subject', '/subjects/x', bearer(jwt)),
    get('another subject', '/subjects/x', bearer(rs256({ ...good, sub: 'admin' }))),
    get('a provider without issuer', '/anyone/x', bearer(other)),
    get('keys that are fetched', '/remote/x', bearer(jwt)),
    get('keys that were fetched', '/remote/x', bearer(jwt)),
    get('keys that are no keys', '/remote-broken/x', bearer(jwt)),
    get('keys that are not there', '/remote-missing/x', bearer(jwt)),
    get('an audience of the requirement', '/audience/x', bearer(rs256({ ...good, aud: 'http://them' }))),
    get('an audience of the provider only', '/audience/x', bearer(jwt)),
    ...['any', 'any-or-missing', 'any-or-failed', 'all', 'allow-missing', 'allow-failed', 'named', 'route-named', 'route-wrong'].flatMap(
      (path) => [
        get(`/${path}: no token`, `/${path}/x`),
        // Where a token may be any provider's, and several have its issuer, Envoy takes one of them by chance.
        ...(path.startsWith('allow-') ? [] : [get(`/${path}: a good token`, `/${path}/x`, bearer(jwt))]),
        get(`/${path}: a token of the other issuer`, `/${path}/x`, bearer(other)),
        get(`/${path}: a token of nobody`, `/${path}/x`, bearer(rs256({ ...good, iss: 'nobody' }))),
        get(`/${path}: an expired token`, `/${path}/x`, bearer(rs256({ ...good, exp: 1 }))),
      ],
    ),
    get('a route without the filter', '/plain/off'),
    get('a path without a rule', '/free'),
    { name: 'a preflight request', bytes: request('OPTIONS /plain/x', 'origin: https://b.example', 'access-control-request-method: GET') },
    { name: 'OPTIONS that is no preflight request', bytes: request('OPTIONS /plain/x') },
    { name: 'gRPC', bytes: request('POST /plain/x', 'content-type: application/grpc', 'content-length: 0') },
  ];
}

const DECISIONS = ['allow', 'deny', 'redirect', 'fail', 'hang', 'bare'];

function post(path: string, body: string, ...headers: readonly string[]): string {
  return request(`POST ${path}`, `content-length: ${body.length}`, ...headers) + body;
}

/** Cases of external authorization. The last part of the path tells the authorization servers what to decide. */
export const AUTHZ_CASES: readonly DifferentialCase[] = [
  ...['http', 'http-lists', 'grpc', 'grpc-lists'].flatMap((service) => [
    ...DECISIONS.map((decision) => ({
      name: `${service}: ${decision}`,
      bytes: request(
        `GET /${service}/${decision}?z=1&a=2&b=3`,
        'authorization: secret',
        'cookie: a=1',
        'x-shown: one',
        'x-shown: two',
        'x-hidden: three',
        'x-set: mine',
        'x-append: mine',
        'x-gone: mine',
      ),
    })),
    { name: `${service}: a body`, bytes: post(`/${service}/allow`, 'hello') },
    { name: `${service}: HEAD`, bytes: request(`HEAD /${service}/deny`) },
  ]),
  ...['http-body', 'http-partial', 'grpc-body'].flatMap((service) => [
    { name: `${service}: no body`, bytes: request(`GET /${service}/allow`) },
    { name: `${service}: a small body`, bytes: post(`/${service}/deny`, 'hello') },
    { name: `${service}: a large body`, bytes: post(`/${service}/deny`, 'x'.repeat(200)) },
    { name: `${service}: a small body that passes`, bytes: post(`/${service}/allow`, 'hello') },
    { name: `${service}: a large body that might pass`, bytes: post(`/${service}/allow`, 'x'.repeat(200)) },
  ]),
  ...['http-named', 'grpc-more', 'grpc-clear', 'grpc-valid'].flatMap((service) =>
    // Where mutations are not validated, Envoy passes on even a header whose name is none; ours leaves it out.
    (service === 'grpc-valid' ? ['allow', 'deny', 'invalid'] : ['allow', 'deny']).map((decision) => ({
      name: `${service}: ${decision}`,
      bytes: request(`GET /${service}/${decision}`, 'x-two: 2'),
    })),
  ),
  ...['override-body', 'no-body'].map((path) => ({ name: path, bytes: post(`/${path}/deny`, 'hello') })),
  { name: 'a body larger than the route takes', bytes: post('/override-body/deny', 'x'.repeat(20)) },
  ...[
    'http-by-metadata',
    'http-by-other-metadata',
    'http-dead',
    'http-open',
    'http-unknown',
    'http-disabled',
    'http-deny-disabled',
    'extended',
    'off',
  ].map((service) => ({
    name: service,
    bytes: request(`GET /${service}/allow`),
  })),
  { name: 'a refusal of gRPC', bytes: post('/http/deny', '', 'content-type: application/grpc') },
];
