export interface DifferentialCase {
  readonly name: string;
  /** As it goes over the wire. */
  readonly bytes: string;
}

/** A request with `host: a.example` and `connection: close`, and the headers given. */
function get(path: string, ...headers: readonly string[]): string {
  return request(`GET ${path} HTTP/1.1`, ['host: a.example', 'connection: close', ...headers]);
}

function request(line: string, headers: readonly string[], body = ''): string {
  return `${[line, ...headers].join('\r\n')}\r\n\r\n${body}`;
}

const POST = ['host: a.example', 'connection: close'];

export const ROUTING_CASES: readonly DifferentialCase[] = [
  { name: 'a host that no virtual host has', bytes: request('GET / HTTP/1.1', ['host: b.example', 'connection: close']) },
  {
    name: 'a host with a port that the domain does not have',
    bytes: request('GET /echo HTTP/1.1', ['host: a.example:80', 'connection: close']),
  },
  { name: 'a host in other letters', bytes: request('GET /echo HTTP/1.1', ['host: A.Example', 'connection: close']) },
  { name: 'a host that a suffix domain has', bytes: request('GET / HTTP/1.1', ['host: x.y.wild.example', 'connection: close']) },
  { name: 'the bare host of a suffix domain', bytes: request('GET / HTTP/1.1', ['host: wild.example', 'connection: close']) },
  { name: 'a host that a prefix domain has', bytes: request('GET / HTTP/1.1', ['host: begin.anything', 'connection: close']) },
  { name: 'a path that no route has', bytes: get('/nothing') },
  { name: 'a redirect to a host and path', bytes: get('/redirect?x=1') },
  { name: 'a redirect to https', bytes: get('/https/page?x=1') },
  { name: 'a redirect that swaps a prefix and strips the query', bytes: get('/swap/page?x=1') },
  { name: 'a redirect to another port', bytes: get('/port') },
  { name: 'a redirect with a query in the match', bytes: get('/redirect2') },
  { name: 'a direct response', bytes: get('/direct') },
  { name: 'an empty direct response', bytes: get('/empty') },
  { name: 'header operations', bytes: get('/headers', 'x-set: old', 'x-append: one', 'x-gone: here') },
  { name: 'a header that is there already', bytes: get('/headers', 'x-if-absent: mine') },
  { name: 'a rewrite of a prefix', bytes: get('/old/page?x=1') },
  { name: 'a rewrite of the host', bytes: get('/CASE') },
  { name: 'a path-separated prefix', bytes: get('/api/x') },
  { name: 'a path-separated prefix that only begins alike', bytes: get('/apiary') },
  { name: 'a regular expression', bytes: get('/r/abc?x=1') },
  { name: 'a regular expression that matches a part only', bytes: get('/r/abc1') },
  { name: 'a rewrite by a regular expression', bytes: get('/user/42/page?x=1') },
  { name: 'a query parameter', bytes: get('/q?a=1&v=2') },
  { name: 'a query parameter that is present', bytes: get('/q?p') },
  { name: 'a header in a range', bytes: get('/h', 'x-n: 9') },
  { name: 'a header at the end of a range', bytes: get('/h', 'x-n: 10', 'x-no: 1') },
  { name: 'a method', bytes: request('POST /h HTTP/1.1', [...POST, 'x-no: 1', 'content-length: 2'], 'hi') },
  { name: 'a header that must be absent', bytes: get('/h') },
  { name: 'a cluster that does not exist', bytes: get('/missing') },
  { name: 'an endpoint where nobody listens', bytes: get('/dead') },
  { name: 'an endpoint where nobody listens, tried again', bytes: get('/unhealthy') },
  { name: 'an absolute-form target', bytes: request('GET http://a.example/echo?x HTTP/1.1', ['host: other.example', 'connection: close']) },
  { name: 'HEAD', bytes: request('HEAD /echo HTTP/1.1', POST) },
  { name: 'OPTIONS *', bytes: request('OPTIONS * HTTP/1.1', POST) },
  { name: 'CONNECT without a route for it', bytes: request('CONNECT a.example:80 HTTP/1.1', POST) },
  {
    name: 'an upgrade that is not allowed',
    bytes: request('GET /echo HTTP/1.1', ['host: a.example', 'connection: upgrade', 'upgrade: websocket']),
  },
  { name: 'a method that nobody knows', bytes: request('PURGE /echo HTTP/1.1', POST) },
];

export const FORWARDING_CASES: readonly DifferentialCase[] = [
  { name: 'a request without an id', bytes: get('/echo') },
  { name: 'a request with an id of its own', bytes: get('/echo', 'x-request-id: mine') },
  {
    name: 'headers of the hop',
    bytes: request('GET /echo HTTP/1.1', [
      'host: a.example',
      'connection: close, x-hop',
      'x-hop: 1',
      'keep-alive: 5',
      'te: trailers',
      'proxy-connection: x',
    ]),
  },
  {
    name: 'a header of the hop that it may not take away',
    bytes: request('GET /echo HTTP/1.1', ['host: a.example', 'connection: close, x-forwarded-for', 'x-forwarded-for: 1.2.3.4']),
  },
  ...['POST', 'DELETE', 'PATCH', 'TRACE'].map((method) => ({
    name: `a ${method} without a body`,
    bytes: request(`${method} /echo HTTP/1.1`, POST),
  })),
  {
    name: 'what only the mesh may say',
    bytes: get(
      '/echo',
      'x-envoy-internal: true',
      'x-envoy-original-path: /admin',
      'x-envoy-retry-on: 5xx',
      'x-envoy-max-retries: 3',
      'x-envoy-upstream-rq-timeout-ms: 500',
      'x-envoy-decorator-operation: x',
      'x-envoy-attempt-count: 4',
      'x-envoy-expected-rq-timeout-ms: 7',
    ),
  },
  {
    name: 'forwarded headers',
    bytes: get('/echo', 'x-forwarded-for: 1.2.3.4', 'x-forwarded-proto: https', 'x-forwarded-client-cert: By=me'),
  },
  {
    name: 'headers in other letters and twice',
    bytes: get('/echo', 'X-Mixed-Case: A', 'x-twice: 1', 'X-Twice: 2', 'cookie: a=1', 'cookie: b=2'),
  },
  { name: 'space around a value', bytes: get('/echo', 'x-space:   a b \t') },
  { name: 'an empty value', bytes: get('/echo', 'x-empty:') },
  { name: 'a name with an underscore', bytes: get('/echo', 'x_under: 1') },
  { name: 'bytes beyond ASCII in a value', bytes: get('/echo', 'x-latin: na\xefve') },
  { name: 'a body with a length', bytes: request('POST /echo HTTP/1.1', [...POST, 'content-length: 5'], 'hello') },
  {
    name: 'a body in chunks',
    bytes: request('POST /echo HTTP/1.1', [...POST, 'transfer-encoding: chunked'], '5;ext=1\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n'),
  },
  {
    name: 'a body in chunks with a trailer',
    bytes: request('POST /echo HTTP/1.1', [...POST, 'transfer-encoding: chunked'], '5\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n'),
  },
  { name: 'a path with dots, slashes and escapes', bytes: get('/echo/../echo//a/./b%2fc%2e%41') },
  { name: 'a query with odd letters', bytes: get('/echo?a=b|c{d}"e') },
  { name: '100-continue', bytes: request('POST /echo HTTP/1.1', [...POST, 'expect: 100-continue', 'content-length: 2'], 'ok') },
];

const preflight = (origin: string): string =>
  request('OPTIONS /cors HTTP/1.1', [...POST, `origin: ${origin}`, 'access-control-request-method: PUT']);

export const FILTER_CASES: readonly DifferentialCase[] = [
  { name: 'a CORS preflight', bytes: preflight('https://a.example') },
  { name: 'a CORS preflight of an origin that a suffix has', bytes: preflight('https://x.b.example') },
  { name: 'a CORS preflight of another origin', bytes: preflight('https://c.example') },
  { name: 'OPTIONS that is no preflight', bytes: request('OPTIONS /cors HTTP/1.1', [...POST, 'origin: https://a.example']) },
  { name: 'a CORS request', bytes: get('/cors', 'origin: https://a.example') },
  { name: 'a CORS request of another origin', bytes: get('/cors', 'origin: https://c.example') },
  { name: 'an abort by fault', bytes: get('/fault', 'x-abort: 1') },
  { name: 'a fault for others', bytes: get('/fault') },
];

const NORMALIZED_TARGETS = [
  '/echo/../direct',
  '/nothing/..//echo',
  '//echo',
  '/echo//a///b',
  '/a/%2e%2e/echo',
  '/echo/%2E/x',
  '/echo%2fx',
  '/echo%5Cx?y=%2f',
  '/echo\\..\\direct',
  '/%65cho',
  '/echo/%41%7e%2d',
  '/echo/./x?../y',
  '/../../echo',
  '/echo/..',
  '/echo/%',
  '/echo/%zz',
  '/echo/%00',
  '/echo/a;b=c',
];

export const NORMALIZING_CASES: readonly DifferentialCase[] = [
  ...NORMALIZED_TARGETS.map((target) => ({ name: `the path ${target}`, bytes: get(target) })),
  ...['a.example:8080', 'A.Example:80', 'a.example:', 'a.example.'].map((host) => ({
    name: `the host ${host}`,
    bytes: request('GET /echo HTTP/1.1', [`host: ${host}`, 'connection: close']),
  })),
];

const LARGE = 'x'.repeat(70 * 1024);

export const REFUSAL_CASES: readonly DifferentialCase[] = [
  { name: 'headers of 70 KiB', bytes: get('/echo', `x-large: ${LARGE}`) },
  { name: 'a target of 70 KiB', bytes: get(`/echo?${LARGE}`) },
  { name: '101 headers', bytes: get('/echo', ...Array.from({ length: 101 }, (_, index) => `x-${index}: 1`)) },
  {
    name: 'content-length beside chunked',
    bytes: request('POST /echo HTTP/1.1', [...POST, 'content-length: 5', 'transfer-encoding: chunked'], '0\r\n\r\n'),
  },
  { name: 'two lengths that agree', bytes: request('POST /echo HTTP/1.1', [...POST, 'content-length: 2', 'content-length: 2'], 'ok') },
  { name: 'two lengths that differ', bytes: request('POST /echo HTTP/1.1', [...POST, 'content-length: 2', 'content-length: 3'], 'okk') },
  { name: 'a length with a sign', bytes: request('POST /echo HTTP/1.1', [...POST, 'content-length: +2'], 'ok') },
  { name: 'a negative length', bytes: request('POST /echo HTTP/1.1', [...POST, 'content-length: -2'], 'ok') },
  { name: 'a hexadecimal length', bytes: request('POST /echo HTTP/1.1', [...POST, 'content-length: 0x2'], 'ok') },
  { name: 'an unknown transfer coding', bytes: request('POST /echo HTTP/1.1', [...POST, 'transfer-encoding: gzip, chunked'], '0\r\n\r\n') },
  { name: 'the transfer coding identity', bytes: request('POST /echo HTTP/1.1', [...POST, 'transfer-encoding: identity'], '') },
  {
    name: 'chunked twice',
    bytes: request('POST /echo HTTP/1.1', [...POST, 'transfer-encoding: chunked', 'transfer-encoding: chunked'], '0\r\n\r\n'),
  },
  {
    name: 'a chunk size that is no number',
    bytes: request('POST /echo HTTP/1.1', [...POST, 'transfer-encoding: chunked'], 'zz\r\nhello\r\n0\r\n\r\n'),
  },
  { name: 'space before the colon', bytes: get('/echo', 'x-space : 1') },
  { name: 'a header without a colon', bytes: get('/echo', 'nonsense') },
  { name: 'a header without a name', bytes: get('/echo', ': 1') },
  { name: 'NUL in a value', bytes: get('/echo', 'x-nul: a\0b') },
  { name: 'a control letter in a name', bytes: get('/echo', 'x\x01: 1') },
  { name: 'no Host', bytes: request('GET /echo HTTP/1.1', ['connection: close']) },
  { name: 'a Host with a slash', bytes: request('GET /echo HTTP/1.1', ['host: a.example/x', 'connection: close']) },
  { name: 'HTTP/1.0', bytes: request('GET /echo HTTP/1.0', ['host: a.example']) },
  { name: 'a target that is no path', bytes: request('GET echo HTTP/1.1', POST) },
  { name: 'a fragment in the target', bytes: get('/echo#x') },
  { name: 'a method with an odd letter', bytes: request('G=T /echo HTTP/1.1', POST) },
  { name: 'no HTTP at all', bytes: '\x16\x03\x01\x02\x00\r\n\r\n' },
];

/** What Envoy lets through or answers otherwise, and two parsers in a row may read in two ways: we refuse it. */
export const STRICTER_CASES: readonly (DifferentialCase & { readonly envoyAnswers: number })[] = [
  { name: 'a folded header', bytes: get('/echo', 'x-folded: 1', ' 2'), envoyAnswers: 200 },
  { name: 'a carriage return in a value', bytes: get('/echo', 'x-cr: a\rb'), envoyAnswers: 200 },
  { name: 'lines that end with LF only', bytes: 'GET /echo HTTP/1.1\nhost: a.example\nconnection: close\n\n', envoyAnswers: 200 },
  { name: 'an empty Host', bytes: request('GET /echo HTTP/1.1', ['host:', 'connection: close']), envoyAnswers: 404 },
  {
    name: 'two Hosts',
    bytes: request('GET /echo HTTP/1.1', ['host: a.example', 'host: b.example', 'connection: close']),
    envoyAnswers: 404,
  },
  { name: 'HTTP/0.9', bytes: 'GET /echo\r\n\r\n', envoyAnswers: 426 },
  { name: 'HTTP/2.0 in the request line', bytes: request('GET /echo HTTP/2.0', POST), envoyAnswers: 426 },
  { name: 'HTTP/1.2', bytes: request('GET /echo HTTP/1.2', POST), envoyAnswers: 426 },
  { name: 'two spaces in the request line', bytes: request('GET  /echo HTTP/1.1', POST), envoyAnswers: 200 },
];
