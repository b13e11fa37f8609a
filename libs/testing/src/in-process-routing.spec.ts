import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Answer, type Mesh, startMesh } from './index.ts';

/** A VirtualService for reviews with these HTTP routes, in the flow style of YAML. */
function reviewsRoutes(http: string): string {
  return `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [${http}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}, {name: none, labels: {version: v9}}]}
`;
}

const to = (subset: string): string => `route: [{destination: {host: reviews, subset: ${subset}}}]`;

interface Behaviour {
  readonly name: string;
  /** HTTP routes of reviews' VirtualService. */
  readonly http: string;
  readonly request?: { path?: string; method?: string; headers?: Record<string, string>; body?: string };
  readonly expects: (answer: Answer) => void;
}

const servedBy = (workload: string) => (answer: Answer) => expect([answer.status, answer.servedBy]).toEqual([200, workload]);

const BEHAVIOURS: readonly Behaviour[] = [
  {
    name: 'sends to the subset that a header asks for',
    http: `{match: [{headers: {end-user: {exact: jason}}}], ${to('v2')}}, {${to('v1')}}`,
    request: { headers: { 'end-user': 'jason' } },
    expects: servedBy('reviews-v2'),
  },
  {
    name: 'sends to the next route when the header is another',
    http: `{match: [{headers: {end-user: {exact: jason}}}], ${to('v2')}}, {${to('v1')}}`,
    request: { headers: { 'end-user': 'jasons' } },
    expects: servedBy('reviews-v1'),
  },
  {
    name: 'matches a header by prefix and one that must be absent',
    http: `{match: [{headers: {x-a: {prefix: ab}}, withoutHeaders: {x-b: {}}}], ${to('v2')}}, {${to('v1')}}`,
    request: { headers: { 'x-a': 'abc' } },
    expects: servedBy('reviews-v2'),
  },
  {
    name: 'does not match when a header is there that must be absent',
    http: `{match: [{withoutHeaders: {x-b: {}}}], ${to('v2')}}, {${to('v1')}}`,
    request: { headers: { 'x-b': '1' } },
    expects: servedBy('reviews-v1'),
  },
  {
    name: 'matches an exact URI without regard to its query',
    http: `{match: [{uri: {exact: /a}}], ${to('v2')}}, {${to('v1')}}`,
    request: { path: '/a?b=c' },
    expects: servedBy('reviews-v2'),
  },
  {
    name: 'matches a URI prefix by characters, as Istio does',
    http: `{match: [{uri: {prefix: /api}}], ${to('v2')}}, {${to('v1')}}`,
    request: { path: '/apiary' },
    expects: servedBy('reviews-v2'),
  },
  {
    name: 'matches a URI by a regular expression over the whole path',
    http: `{match: [{uri: {regex: "/[a-c]+"}}], ${to('v2')}}, {${to('v1')}}`,
    request: { path: '/abcd' },
    expects: servedBy('reviews-v1'),
  },
  {
    name: 'matches a method and a query parameter',
    http: `{match: [{method: {exact: POST}, queryParams: {v: {exact: "2"}}}], ${to('v2')}}, {${to('v1')}}`,
    request: { path: '/x?v=2', method: 'POST', body: 'hello' },
    expects: (answer) => {
      servedBy('reviews-v2')(answer);
      expect(answer.echo).toMatchObject({ method: 'POST', body: 'hello', path: '/x?v=2' });
    },
  },
  {
    name: 'matches when one of several conditions fits',
    http: `{match: [{uri: {exact: /a}}, {uri: {exact: /b}, ignoreUriCase: true}], ${to('v2')}}, {${to('v1')}}`,
    request: { path: '/B' },
    expects: servedBy('reviews-v2'),
  },
  {
    name: 'answers 404 when no route matches',
    http: `{match: [{uri: {exact: /a}}], ${to('v1')}}`,
    request: { path: '/b' },
    expects: ({ status, servedBy: by, body }) => expect([status, by, body]).toEqual([404, undefined, '']),
  },
  {
    name: 'answers 503 when a subset has no endpoint',
    http: `{${to('none')}}`,
    expects: ({ status, body }) => expect([status, body]).toEqual([503, 'no healthy upstream']),
  },
  {
    name: 'aborts with the status of a fault',
    http: `{fault: {abort: {httpStatus: 555, percentage: {value: 100}}}, ${to('v1')}}`,
    expects: ({ status, body }) => expect([status, body]).toEqual([555, 'fault filter abort']),
  },
  {
    name: 'aborts nobody at zero per cent',
    http: `{fault: {abort: {httpStatus: 555, percentage: {value: 0}}}, ${to('v1')}}`,
    expects: servedBy('reviews-v1'),
  },
  {
    name: 'rewrites a prefix and keeps the rest and the query',
    http: `{match: [{uri: {prefix: /old}}], rewrite: {uri: /new}, ${to('v1')}}`,
    request: { path: '/old/page?x=1' },
    expects: ({ echo }) => {
      expect(echo.path).toBe('/new/page?x=1');
      expect(echo.headers['x-envoy-original-path']).toBe('/old/page?x=1');
    },
  },
  {
    name: 'rewrites the Host header',
    http: `{rewrite: {authority: other.example}, ${to('v1')}}`,
    expects: ({ echo }) => expect([echo.headers.host, echo.headers['x-envoy-original-host']]).toEqual(['other.example', 'reviews:9080']),
  },
  {
    name: 'rewrites a path by a regular expression',
    http: `{rewrite: {uriRegexRewrite: {match: "/user/([0-9]+)", rewrite: "/u?id=\\\\1"}}, ${to('v1')}}`,
    request: { path: '/user/42' },
    expects: ({ echo }) => expect(echo.path).toBe('/u?id=42'),
  },
  {
    name: 'redirects',
    http: `{match: [{uri: {prefix: /old}}], redirect: {uri: /new, authority: elsewhere.example, redirectCode: 302}}`,
    request: { path: '/old/page' },
    expects: ({ status, headers }) => expect([status, headers.location]).toEqual([302, 'http://elsewhere.example/new']),
  },
  {
    name: 'redirects to another scheme and port with 301 by default',
    http: `{redirect: {scheme: https, port: 8443}}`,
    request: { path: '/x?y=1' },
    expects: ({ status, headers }) => expect([status, headers.location]).toEqual([301, 'https://reviews:8443/x?y=1']),
  },
  {
    name: 'answers by itself with a status and a body',
    http: `{directResponse: {status: 418, body: {string: "short and stout"}}, headers: {response: {set: {x-pot: tea}}}}`,
    expects: ({ status, body, headers }) => expect([status, body, headers['x-pot']]).toEqual([418, 'short and stout', 'tea']),
  },
  {
    name: 'sets, adds and removes request headers',
    http: `{headers: {request: {set: {x-set: new}, add: {x-add: more}, remove: [x-gone]}}, ${to('v1')}}`,
    request: { headers: { 'x-set': 'old', 'x-add': 'one', 'x-gone': 'here' } },
    expects: ({ echo }) => {
      expect([echo.headers['x-set'], echo.headers['x-add'], echo.headers['x-gone']]).toEqual(['new', 'one, more', undefined]);
    },
  },
  {
    name: 'computes values of headers from the request as it came',
    http: `{headers: {request: {set: {x-set: new, x-was: "%REQ(x-set)%"}}}, ${to('v1')}}`,
    request: { headers: { 'x-set': 'old' } },
    expects: ({ echo }) => expect([echo.headers['x-set'], echo.headers['x-was']]).toEqual(['new', 'old']),
  },
  {
    name: 'sets, adds and removes response headers',
    http: `{headers: {response: {set: {content-type: text/odd}, add: {x-add: more}, remove: [x-served-by]}}, ${to('v1')}}`,
    expects: ({ headers, servedBy: by }) =>
      expect([headers['content-type'], headers['x-add'], by]).toEqual(['text/odd', 'more', undefined]),
  },
  {
    name: 'changes headers for one destination only',
    http: `{route: [{destination: {host: reviews, subset: v2}, weight: 100, headers: {request: {set: {x-dest: two}}, response: {set: {x-back: two}}}}, {destination: {host: reviews, subset: v1}, weight: 0}]}`,
    expects: (answer) => expect([answer.echo.headers['x-dest'], answer.headers['x-back']]).toEqual(['two', 'two']),
  },
  {
    name: 'rewrites Host by a request header operation',
    http: `{headers: {request: {set: {Host: by-header.example}}}, ${to('v1')}}`,
    expects: ({ echo }) => expect(echo.headers.host).toBe('by-header.example'),
  },
  {
    name: 'answers a CORS preflight itself',
    http: `{corsPolicy: {allowOrigins: [{exact: "https://a.example"}], allowMethods: [PUT], allowHeaders: [x-a], maxAge: 60s, allowCredentials: true}, ${to('v1')}}`,
    request: { method: 'OPTIONS', headers: { origin: 'https://a.example', 'access-control-request-method': 'PUT' } },
    expects: ({ status, headers, servedBy: by }) => {
      expect([status, by]).toEqual([200, undefined]);
      expect(headers).toMatchObject({
        'access-control-allow-origin': 'https://a.example',
        'access-control-allow-methods': 'PUT',
        'access-control-allow-headers': 'x-a',
        'access-control-max-age': '60',
        'access-control-allow-credentials': 'true',
      });
    },
  },
  {
    name: 'lets an answer to another origin without CORS headers',
    http: `{corsPolicy: {allowOrigins: [{exact: "https://a.example"}]}, ${to('v1')}}`,
    request: { headers: { origin: 'https://b.example' } },
    expects: (answer) => {
      servedBy('reviews-v1')(answer);
      expect(answer.headers['access-control-allow-origin']).toBeUndefined();
    },
  },
];

describe('HTTP routing through two sidecars', () => {
  let mesh: Mesh;
  beforeAll(async () => {
    mesh = await startMesh({ services: { client: {}, reviews: { versions: ['v1', 'v2'] }, ratings: {} } });
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it.each(BEHAVIOURS)('$name', async ({ http, request, expects }) => {
    await mesh.with(reviewsRoutes(http), async () => expects(await mesh.call({ from: 'client', host: 'reviews', ...request })));
  });

  it.each(BEHAVIOURS.slice(0, 2))('through a tunnel: $name', async ({ http, request, expects }) => {
    await mesh.with(reviewsRoutes(http), async () =>
      expects(await mesh.call({ from: 'client', host: 'reviews', via: 'connect', ...request })),
    );
  });

  it('splits by weight within statistical bounds', async () => {
    const http =
      '{route: [{destination: {host: reviews, subset: v1}, weight: 80}, {destination: {host: reviews, subset: v2}, weight: 20}]}';
    await mesh.with(reviewsRoutes(http), async () => {
      const calls = 400;
      let second = 0;
      for (let batch = 0; batch < calls / 20; batch++) {
        const answers = await Promise.all(Array.from({ length: 20 }, () => mesh.call({ from: 'client', host: 'reviews' })));
        second += answers.filter(({ servedBy: by }) => by === 'reviews-v2').length;
      }
      // 80 expected, standard deviation 8: outside of six of them about twice in a thousand million runs.
      expect(Math.abs(second - calls * 0.2)).toBeLessThan(48);
    });
  });

  it('delays by a fault, and only those whom the route matches', async () => {
    const http = `{match: [{headers: {end-user: {exact: jason}}}], fault: {delay: {fixedDelay: 1500ms, percentage: {value: 100}}}, ${to('v1')}}, {${to('v1')}}`;
    await mesh.with(reviewsRoutes(http), async () => {
      const startedAt = performance.now();
      const jasons = mesh.call({ from: 'client', host: 'reviews', headers: { 'end-user': 'jason' } });
      const others = mesh.call({ from: 'client', host: 'reviews' });
      expect(await Promise.race([jasons.then(() => 'jason'), others.then(() => 'other')])).toBe('other');
      servedBy('reviews-v1')(await others);
      servedBy('reviews-v1')(await jasons);
      expect(performance.now() - startedAt).toBeGreaterThanOrEqual(1490);
    });
  });

  it('mirrors: the mirror receives the request, the caller the answer of the primary', async () => {
    const http = `{${to('v1')}, mirror: {host: ratings, port: {number: 9080}}}`;
    await mesh.with(reviewsRoutes(http), async () => {
      const ratings = mesh.workload('ratings');
      servedBy('reviews-v1')(await mesh.call({ from: 'client', host: 'reviews', path: '/m', method: 'POST', body: 'copy me' }));
      const mirrored = await ratings.requests.first(({ path }) => path === '/m');
      expect(mirrored).toMatchObject({ method: 'POST', body: 'copy me' });
      expect(mirrored.headers.host).toBe('reviews:9080');
    });
  });
});
