import type { DifferentialCase } from './envoy-differential-cases.ts';

function get(path: string, ...headers: readonly string[]): string {
  return request(`GET ${path} HTTP/1.1`, headers);
}

function request(line: string, headers: readonly string[], body = '', host = 'a.example'): string {
  return `${[line, `host: ${host}`, 'connection: close', ...headers].join('\r\n')}\r\n\r\n${body}`;
}

/** A caller inside of the mesh. */
const INSIDE = 'x-forwarded-for: 10.1.2.3';
const GRPC = 'content-type: application/grpc';

const at = (host: string, path: string, ...headers: readonly string[]): string => request(`GET ${path} HTTP/1.1`, headers, '', host);

export const MATCHING_CASES: readonly DifferentialCase[] = [
  { name: 'gRPC', bytes: request('POST /grpc HTTP/1.1', [GRPC, 'content-length: 0']) },
  { name: 'gRPC with a suffix', bytes: request('POST /grpc HTTP/1.1', [`${GRPC}+proto`, 'content-length: 0']) },
  { name: 'what is not gRPC', bytes: get('/grpc') },
  { name: 'gRPC-Web, which is not gRPC', bytes: get('/grpc', 'content-type: application/grpc-web') },
  { name: 'a header by regular expression', bytes: get('/regex', 'x-a: aab') },
  { name: 'a header of which only a part matches', bytes: get('/regex', 'x-a: aabc') },
  { name: 'two values of a header, which are one', bytes: get('/regex', 'x-a: a', 'x-a: b') },
  { name: 'a missing header as an empty one', bytes: get('/missing') },
  { name: 'a header that is not empty', bytes: get('/missing', 'x-m: 1') },
  { name: 'an inverted match', bytes: get('/inverted', 'x-i: yes') },
  { name: 'an inverted match that fails', bytes: get('/inverted', 'x-i: no') },
  { name: 'an inverted match of a missing header', bytes: get('/inverted') },
  { name: 'a part of a header in any case', bytes: get('/contains', 'x-c: in the mid of it') },
  { name: 'a negative number in a range', bytes: get('/range', 'x-r: -5') },
  { name: 'a number beyond a range', bytes: get('/range', 'x-r: 5') },
  { name: 'no number in a range', bytes: get('/range', 'x-r: one') },
  { name: 'a query parameter by regular expression', bytes: get('/query?k=12&gone') },
  { name: 'an encoded query parameter', bytes: get('/query?k=a%20b&gone') },
  { name: 'a query parameter that is absent', bytes: get('/query?k=x') },
  { name: 'a query parameter that should be absent', bytes: get('/query?k=x&gone=1') },
  { name: 'a query parameter behind the first of its name', bytes: get('/query?k=x&k=12&gone') },
  { name: 'a share of nothing', bytes: get('/never') },
  { name: 'no certificate', bytes: get('/certificate') },
  { name: 'no metadata', bytes: get('/metadata') },
  { name: 'a path with parameters', bytes: get('/parameters;v=1?x=2') },
  { name: 'a host with a port', bytes: at('a.example:1234', '/plain') },
  { name: 'a cluster of a header', bytes: get('/by-header', 'x-cluster: other') },
  { name: 'no cluster in the header', bytes: get('/by-header') },
  { name: 'an unknown cluster in the header', bytes: get('/by-header', 'x-cluster: nowhere') },
  { name: 'weights drawn by a header, the first', bytes: get('/by-weight-header', 'x-draw: 2', 'x-cluster: other') },
  { name: 'weights drawn by a header, the second', bytes: get('/by-weight-header', 'x-draw: 13', 'x-cluster: other') },
  { name: 'weights drawn by a header, no cluster there', bytes: get('/by-weight-header', 'x-draw: 9') },
  { name: 'a host that takes only TLS', bytes: at('tls.example', '/page?x=1') },
  { name: 'a host that takes only TLS, which was there before', bytes: at('tls.example', '/page', 'x-forwarded-proto: https') },
  { name: 'a host that takes only TLS from outside', bytes: at('external.example', '/page') },
  { name: 'a host that takes only TLS from outside, asked from inside', bytes: at('external.example', '/page', INSIDE) },
  { name: 'CONNECT', bytes: 'CONNECT a.example:80 HTTP/1.1\r\nhost: a.example:80\r\n\r\n' },
];

export const REWRITING_CASES: readonly DifferentialCase[] = [
  { name: 'a redirect by a regular expression', bytes: get('/redirect-regex?x=1') },
  { name: 'a redirect to a path with a query', bytes: get('/redirect-query?x=1') },
  { name: 'a redirect to a scheme in capitals', bytes: get('/redirect-scheme') },
  { name: 'a redirect to a default port', bytes: get('/redirect-default-port') },
  { name: 'a redirect that keeps the method', bytes: request('POST /redirect-temporary?x=1 HTTP/1.1', ['content-length: 2'], 'hi') },
  { name: 'a rewrite of a prefix by itself', bytes: get('/same/page') },
  { name: 'a rewrite of a path that a regular expression took', bytes: get('/whole/page?x=1') },
  { name: 'a host out of a header', bytes: get('/host-header', 'x-to: to.example') },
  { name: 'a host out of a header that is missing', bytes: get('/host-header') },
  { name: 'a host out of the path', bytes: get('/host-path/some/page?x=1') },
  { name: 'operators in headers', bytes: get('/operators?q=v&r=w', 'x-long: abcdef', 'x-twice: zero', 'x-present-only: there') },
  { name: 'operators in headers beside those of the request', bytes: get('/operators?r=w', 'x-absent-only: mine', 'x-host-gone: 1') },
];

export const TIMEOUT_CASES: readonly DifferentialCase[] = [
  { name: 'a route without a limit', bytes: get('/no-timeout') },
  { name: 'a timeout', bytes: get('/timeout', 'x-answer: never') },
  { name: 'a timeout of gRPC', bytes: request('POST /timeout HTTP/1.1', [GRPC, 'content-length: 0', 'x-answer: never']) },
  {
    name: 'a timeout that a caller inside asks for',
    bytes: get('/plain', INSIDE, 'x-envoy-upstream-rq-timeout-ms: 100', 'x-answer: never'),
  },
  {
    name: 'a timeout that a caller outside asks for',
    bytes: get('/plain', 'x-envoy-upstream-rq-timeout-ms: 100', 'x-envoy-upstream-rq-per-try-timeout-ms: 50'),
  },
  {
    name: 'another answer to a timeout',
    bytes: get('/timeout', INSIDE, 'x-envoy-upstream-rq-timeout-alt-response: 1', 'x-answer: never'),
  },
  {
    name: 'headers of a caller inside',
    bytes: get('/plain', INSIDE, 'x-envoy-upstream-rq-timeout-ms: 5000', 'x-envoy-upstream-rq-per-try-timeout-ms: 3000'),
  },
  { name: 'a name of statistics', bytes: get('/plain', INSIDE, 'x-envoy-upstream-alt-stat-name: mine') },
  { name: 'a timeout that is no number', bytes: get('/plain', INSIDE, 'x-envoy-upstream-rq-timeout-ms: soon') },
  { name: 'a timeout of a try, and another try', bytes: get('/per-try', 'x-answer: never 200') },
  { name: 'a timeout of every try', bytes: get('/per-try', 'x-answer: never') },
  { name: 'a timeout of a try that is not tried again', bytes: get('/per-try-only-connect', 'x-answer: never 200') },
  { name: 'an idle try', bytes: get('/per-try-idle', 'x-answer: never') },
  { name: 'an idle try, and another try', bytes: get('/per-try-idle', 'x-answer: never 200') },
  { name: 'grpc-timeout', bytes: request('POST /grpc-timeout HTTP/1.1', [GRPC, 'content-length: 0', 'grpc-timeout: 2S']) },
  { name: 'grpc-timeout above the limit', bytes: request('POST /grpc-timeout HTTP/1.1', [GRPC, 'content-length: 0', 'grpc-timeout: 1M']) },
  { name: 'gRPC without a timeout', bytes: request('POST /grpc-timeout HTTP/1.1', [GRPC, 'content-length: 0']) },
  { name: 'grpc-timeout of what is not gRPC', bytes: get('/grpc-timeout', 'grpc-timeout: 2S') },
  {
    name: 'grpc-timeout as the duration of a stream',
    bytes: request('POST /stream-duration HTTP/1.1', [GRPC, 'content-length: 0', 'grpc-timeout: 3S']),
  },
  { name: 'the duration of a stream', bytes: get('/stream-limit', 'x-answer: never') },
];

export const RETRY_CASES: readonly DifferentialCase[] = [
  { name: 'a second try', bytes: get('/retry-5xx', 'x-answer: 503 200') },
  { name: 'a third try', bytes: get('/retry-5xx', 'x-answer: 500 503 200') },
  { name: 'more failures than tries', bytes: get('/retry-5xx', 'x-answer: 500') },
  { name: 'a body that is sent again', bytes: request('POST /retry-5xx HTTP/1.1', ['x-answer: 503 200', 'content-length: 5'], 'hello') },
  { name: 'gateway errors', bytes: get('/retry-gateway', 'x-answer: 504 200') },
  { name: 'no gateway error', bytes: get('/retry-gateway', 'x-answer: 500 200') },
  { name: 'a conflict', bytes: get('/retry-4xx', 'x-answer: 409 200') },
  { name: 'no conflict', bytes: get('/retry-4xx', 'x-answer: 404 200') },
  { name: 'a code of the list', bytes: get('/retry-codes', 'x-answer: 418 200') },
  { name: 'a code that is not on the list', bytes: get('/retry-codes', 'x-answer: 503 200') },
  { name: 'a header', bytes: get('/retry-headers', 'x-answer: 200+x-again=1 200') },
  { name: 'requests that may be tried again', bytes: get('/retry-some', 'x-may: 1', 'x-answer: 503 200') },
  { name: 'requests that may not be tried again', bytes: get('/retry-some', 'x-answer: 503 200') },
  { name: 'a broken connection', bytes: get('/retry-reset', 'x-answer: reset 200') },
  { name: 'nothing but broken connections', bytes: get('/retry-reset', 'x-answer: reset') },
  {
    name: 'a status of gRPC',
    bytes: request('POST /retry-grpc HTTP/1.1', [GRPC, 'content-length: 0', 'x-answer: 200+grpc-status=14 200+grpc-status=0']),
  },
  {
    name: 'another status of gRPC',
    bytes: request('POST /retry-grpc HTTP/1.1', [GRPC, 'content-length: 0', 'x-answer: 200+grpc-status=5 200']),
  },
  { name: 'a rate limit of another proxy', bytes: get('/retry-limited', 'x-answer: 429+x-envoy-ratelimited=true 200') },
  { name: 'a rate limit of another proxy that is no reason', bytes: get('/retry-5xx', 'x-answer: 503+x-envoy-ratelimited=true 200') },
  { name: 'a time that is asked for and too long', bytes: get('/retry-asked', 'x-answer: 503+retry-after=30 200') },
  { name: 'an endpoint where nobody listens', bytes: get('/retry-dead') },
  { name: 'no retries left in the cluster', bytes: get('/retry-budget', 'x-answer: 503 200') },
  {
    name: 'retries that a caller inside asks for',
    bytes: get('/no-retry', INSIDE, 'x-envoy-retry-on: 5xx', 'x-envoy-max-retries: 3', 'x-answer: 500 500 500 200'),
  },
  {
    name: 'codes and headers that a caller inside asks for',
    bytes: get(
      '/no-retry',
      INSIDE,
      'x-envoy-retry-on: retriable-status-codes,retriable-headers',
      'x-envoy-max-retries: 2',
      'x-envoy-retriable-status-codes: 404, 418',
      'x-envoy-retriable-header-names: X-Again',
      'x-answer: 418 200+x-again=1 200',
    ),
  },
  {
    name: 'gRPC retries that a caller inside asks for',
    bytes: get('/no-retry', INSIDE, 'x-envoy-retry-grpc-on: internal', 'x-answer: 200+grpc-status=13 200'),
  },
  {
    name: 'retries that a caller outside asks for',
    bytes: get('/no-retry', 'x-envoy-retry-on: 5xx', 'x-envoy-max-retries: 3', 'x-answer: 500 200'),
  },
  { name: 'a condition that nobody knows', bytes: get('/no-retry', INSIDE, 'x-envoy-retry-on: never-heard', 'x-answer: 500 200') },
];

export const LOCAL_REPLY_CASES: readonly DifferentialCase[] = [
  { name: 'a cluster without endpoints', bytes: get('/empty') },
  { name: 'a cluster without endpoints, to gRPC', bytes: request('POST /empty HTTP/1.1', [GRPC, 'content-length: 0']) },
  { name: 'a circuit breaker', bytes: get('/overflow') },
  { name: 'a circuit breaker, to gRPC', bytes: request('POST /overflow HTTP/1.1', [GRPC, 'content-length: 0']) },
  { name: 'no cluster, as 404', bytes: get('/nowhere') },
  { name: 'no cluster, as 500', bytes: get('/nowhere-500') },
  { name: 'a direct response', bytes: get('/direct') },
  { name: 'a direct response, to gRPC', bytes: request('POST /direct HTTP/1.1', [GRPC, 'content-length: 0']) },
  { name: 'a direct response, to HEAD', bytes: request('HEAD /direct HTTP/1.1', []) },
  { name: 'no route', bytes: get('/unknown') },
  { name: 'no route, to gRPC', bytes: request('POST /unknown HTTP/1.1', [GRPC, 'content-length: 0']) },
];

export const FOLLOWING_CASES: readonly DifferentialCase[] = [
  { name: 'a redirect', bytes: get('/follow', 'x-answer: 302+location=http://a.example/target?x=1 200') },
  {
    name: 'a redirect of a body',
    bytes: request('POST /follow HTTP/1.1', ['x-answer: 302+location=http://a.example/target 200', 'content-length: 5'], 'hello'),
  },
  {
    name: 'a redirect that makes POST a GET',
    bytes: request('POST /follow HTTP/1.1', ['x-answer: 303+location=http://a.example/target 200', 'content-length: 5'], 'hello'),
  },
  {
    name: 'a redirect with a header to copy',
    bytes: get('/follow', 'x-copy: old', 'x-answer: 302+location=http://a.example/target+x-copy=new 200'),
  },
  {
    name: 'a redirect without the header to copy',
    bytes: get('/follow', 'x-copy: old', 'x-answer: 302+location=http://a.example/target 200'),
  },
  { name: 'a redirect of a status that is not followed', bytes: get('/follow', 'x-answer: 301+location=http://a.example/target 200') },
  { name: 'a redirect to https', bytes: get('/follow', 'x-answer: 302+location=https://a.example/target 200') },
  { name: 'a redirect to nowhere', bytes: get('/follow', 'x-answer: 302+location=http://a.example/unknown 200') },
  { name: 'a relative redirect', bytes: get('/follow', 'x-answer: 302+location=/target 200') },
  { name: 'a redirect without a location', bytes: get('/follow', 'x-answer: 302 200') },
  { name: 'a redirect with a fragment', bytes: get('/follow', 'x-answer: 302+location=http://a.example/target#part 200') },
];

const FROM = 'x-client: 1.2.3.4';

export const STYLED_CASES: readonly DifferentialCase[] = [
  { name: 'an address of a header', bytes: get('/plain', FROM, 'x-early: mine', 'x-early-gone: 1') },
  { name: 'no address', bytes: get('/plain') },
  { name: 'an address that is none', bytes: get('/plain', 'x-client: me') },
  { name: 'an answer of the upstream', bytes: get('/plain', FROM, 'x-answer: 404') },
  { name: 'a status that is mapped', bytes: get('/unknown', FROM) },
  { name: 'a flag that is mapped', bytes: get('/empty', FROM) },
  { name: 'a text', bytes: get('/overflow', FROM, 'x-plain: why') },
  { name: 'JSON', bytes: get('/direct?"quoted"', FROM) },
  { name: 'JSON, to gRPC', bytes: request('POST /direct HTTP/1.1', [FROM, GRPC, 'content-length: 0']) },
];

export const TELLING_CASES: readonly DifferentialCase[] = [
  { name: 'nothing', bytes: get('/plain') },
  { name: 'nothing, to who says what it is', bytes: get('/plain', 'user-agent: me', 'x-envoy-downstream-service-cluster: other') },
  { name: 'no route', bytes: get('/unknown') },
  { name: 'no cluster', bytes: get('/nowhere') },
  { name: 'a cluster without endpoints', bytes: get('/empty') },
  { name: 'a circuit breaker', bytes: get('/overflow') },
  { name: 'an endpoint where nobody listens', bytes: get('/retry-dead') },
  { name: 'a broken connection', bytes: get('/retry-reset', 'x-answer: reset') },
  { name: 'a timeout', bytes: get('/timeout', 'x-answer: never') },
  { name: 'more failures than tries', bytes: get('/retry-5xx', 'x-answer: 500') },
  { name: 'a direct response', bytes: get('/direct') },
];
