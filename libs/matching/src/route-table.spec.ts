import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { xdsRegistry } from '@mizzen/xds-api';
import { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import { type CompiledRoute, compileRouteConfiguration, formatRejections, type RequestView, type RouteTable } from './index.ts';

type Json = { readonly [field: string]: JsonValue };

function compile(config: Json): ReturnType<typeof compileRouteConfiguration> {
  return compileRouteConfiguration(fromJson(RouteConfigurationSchema, config, { registry: xdsRegistry }));
}

function tableOf(config: Json): RouteTable {
  const { table, rejections } = compile(config);
  if (table === undefined) throw new Error(formatRejections(rejections));
  return table;
}

function rejectionsOf(config: Json): string {
  return formatRejections(compile(config).rejections);
}

function request(parts: Partial<Omit<RequestView, 'header'>> & { headers?: Record<string, string> } = {}): RequestView {
  const { headers = {}, ...rest } = parts;
  return { authority: 'a', path: '/', method: 'GET', scheme: 'http', random: 0.5, header: (name) => headers[name], ...rest };
}

/** One virtual host for everything, with these routes. */
function routes(...list: Json[]): Json {
  return { virtualHosts: [{ name: 'all', domains: ['*'], routes: list }] };
}

function clusterOf(route: CompiledRoute | undefined, view = request()): string | undefined {
  return route?.action.kind === 'route' ? route.action.route.chooseTarget(view)?.cluster : undefined;
}

describe('RouteTable', () => {
  describe('when it looks for the virtual host', () => {
    const domains = ['a.example.com', 'a.example.com:8080', '*.example.com', '*.b.example.com', 'www.*', 'www.a.*', '*'];
    const table = tableOf({
      virtualHosts: domains.map((domain) => ({
        name: domain,
        domains: [domain],
        routes: [{ match: { prefix: '/' }, route: { cluster: 'c' } }],
      })),
    });

    it.each([
      ['a.example.com', 'a.example.com'],
      ['A.Example.COM', 'a.example.com'],
      ['a.example.com:8080', 'a.example.com:8080'],
      ['x.example.com', '*.example.com'],
      ['x.b.example.com', '*.b.example.com'],
      ['.example.com', '*'],
      ['www.other.org', 'www.*'],
      ['www.a.org', 'www.a.*'],
      ['www.example.com', '*.example.com'],
      ['other', '*'],
    ])('%s belongs to %s', (authority, name) => {
      expect(table.match(request({ authority }))?.virtualHost.name).toBe(name);
    });

    it('ignores the port where it is told to', () => {
      const withoutPort = tableOf({
        ignorePortInHostMatching: true,
        virtualHosts: [{ name: 'v', domains: ['a.example.com'], routes: [{ match: { prefix: '/' }, route: { cluster: 'c' } }] }],
      });
      expect(withoutPort.match(request({ authority: 'a.example.com:81' }))).toBeDefined();
      expect(withoutPort.match(request({ authority: 'b.example.com:81' }))).toBeUndefined();
    });
  });

  it.each<[what: string, match: Json, view: Partial<RequestView> & { headers?: Record<string, string> }, expected: boolean]>([
    ['a prefix is a prefix of text', { prefix: '/foo' }, { path: '/foobar' }, true],
    ['a prefix does not see the query', { prefix: '/foo?' }, { path: '/foo?x' }, false],
    ['a path is the whole path', { path: '/foo' }, { path: '/foo/' }, false],
    ['a path ignores the query', { path: '/foo' }, { path: '/foo?bar=/foo' }, true],
    ['a path may ignore case', { path: '/Foo', caseSensitive: false }, { path: '/fOO' }, true],
    ['a prefix may ignore case', { prefix: '/Foo', caseSensitive: false }, { path: '/fOO/x' }, true],
    ['a separated prefix takes itself', { pathSeparatedPrefix: '/foo' }, { path: '/foo' }, true],
    ['a separated prefix takes what is below', { pathSeparatedPrefix: '/foo' }, { path: '/foo/bar' }, true],
    ['a separated prefix leaves longer names', { pathSeparatedPrefix: '/foo' }, { path: '/foobar' }, false],
    ['a regex matches the whole path', { safeRegex: { regex: '/a/[0-9]+' } }, { path: '/a/12?q' }, true],
    ['a regex is not a search', { safeRegex: { regex: '/a/[0-9]+' } }, { path: '/a/12/b' }, false],
    ['a literal regex', { safeRegex: { regex: '/plain' } }, { path: '/plain' }, true],
    ['a regex with a literal beginning', { safeRegex: { regex: '/static/.*' } }, { path: '/static/a/b' }, true],
    ['connect takes CONNECT', { connectMatcher: {} }, { method: 'CONNECT', path: '' }, true],
    ['connect leaves others', { connectMatcher: {} }, { path: '/' }, false],
    ['a prefix leaves CONNECT', { prefix: '/' }, { method: 'CONNECT', path: '' }, false],
    [
      'an exact header',
      { prefix: '/', headers: [{ name: 'End-User', stringMatch: { exact: 'jason' } }] },
      { headers: { 'end-user': 'jason' } },
      true,
    ],
    [
      'an exact header with another value',
      { prefix: '/', headers: [{ name: 'end-user', stringMatch: { exact: 'jason' } }] },
      { headers: { 'end-user': 'jasons' } },
      false,
    ],
    ['an absent header', { prefix: '/', headers: [{ name: 'end-user', stringMatch: { prefix: 'j' } }] }, {}, false],
    [
      'an absent header, inverted',
      { prefix: '/', headers: [{ name: 'end-user', stringMatch: { exact: 'jason' }, invertMatch: true }] },
      {},
      false,
    ],
    [
      'an absent header, inverted, taken as empty',
      { prefix: '/', headers: [{ name: 'end-user', stringMatch: { exact: 'jason' }, invertMatch: true, treatMissingHeaderAsEmpty: true }] },
      {},
      true,
    ],
    ['a header that must be there', { prefix: '/', headers: [{ name: 'x', presentMatch: true }] }, { headers: { x: '' } }, true],
    [
      'a header that must not be there',
      { prefix: '/', headers: [{ name: 'x', presentMatch: true, invertMatch: true }] },
      { headers: { x: '1' } },
      false,
    ],
    ['a header with only a name', { prefix: '/', headers: [{ name: 'x' }] }, { headers: { x: '1' } }, true],
    ['a header by suffix', { prefix: '/', headers: [{ name: 'x', stringMatch: { suffix: '.png' } }] }, { headers: { x: 'a.png' } }, true],
    [
      'a header that contains',
      { prefix: '/', headers: [{ name: 'x', stringMatch: { contains: 'BC', ignoreCase: true } }] },
      { headers: { x: 'abcd' } },
      true,
    ],
    [
      'a header by regex',
      { prefix: '/', headers: [{ name: 'x', stringMatch: { safeRegex: { regex: '(a|b)+' } } }] },
      { headers: { x: 'abab' } },
      true,
    ],
    [
      'a header in a range',
      { prefix: '/', headers: [{ name: 'x', rangeMatch: { start: '-10', end: '10' } }] },
      { headers: { x: '-1' } },
      true,
    ],
    [
      'a range leaves its end out',
      { prefix: '/', headers: [{ name: 'x', rangeMatch: { start: '-10', end: '10' } }] },
      { headers: { x: '10' } },
      false,
    ],
    [
      'a range leaves what is no number',
      { prefix: '/', headers: [{ name: 'x', rangeMatch: { start: '-10', end: '10' } }] },
      { headers: { x: '1a' } },
      false,
    ],
    ['the method', { prefix: '/', headers: [{ name: ':method', stringMatch: { exact: 'POST' } }] }, { method: 'POST' }, true],
    ['the authority', { prefix: '/', headers: [{ name: ':authority', stringMatch: { prefix: 'a' } }] }, { authority: 'abc' }, true],
    ['all headers must match', { prefix: '/', headers: [{ name: 'x' }, { name: 'y' }] }, { headers: { x: '1' } }, false],
    ['a query parameter', { prefix: '/', queryParameters: [{ name: 'q', stringMatch: { exact: '1' } }] }, { path: '/?a=0&q=1&q=2' }, true],
    ['a query parameter that must be there', { prefix: '/', queryParameters: [{ name: 'q', presentMatch: true }] }, { path: '/?q' }, true],
    ['a query parameter that is not there', { prefix: '/', queryParameters: [{ name: 'q' }] }, { path: '/?qq=1' }, false],
    ['a fraction takes the lower share', { prefix: '/', runtimeFraction: { defaultValue: { numerator: 30 } } }, { random: 0.29 }, true],
    ['a fraction leaves the rest', { prefix: '/', runtimeFraction: { defaultValue: { numerator: 30 } } }, { random: 0.3 }, false],
    ['grpc', { prefix: '/', grpc: {} }, { headers: { 'content-type': 'application/grpc+proto' } }, true],
  ])('%s', (_what, match, view, expected) => {
    const table = tableOf(routes({ match, route: { cluster: 'c' } }));
    expect(table.match(request(view)) !== undefined).toBe(expected);
  });

  it('takes the first route that matches', () => {
    const table = tableOf(
      routes({ match: { prefix: '/a' }, route: { cluster: 'a' } }, { match: { prefix: '/' }, route: { cluster: 'rest' } }),
    );
    expect(clusterOf(table.match(request({ path: '/ab' })))).toBe('a');
    expect(clusterOf(table.match(request({ path: '/b' })))).toBe('rest');
  });

  it('casts weights by the random number of the request', () => {
    const table = tableOf(
      routes({
        match: { prefix: '/' },
        route: {
          weightedClusters: {
            clusters: [
              { name: 'v1', weight: 80 },
              { name: 'v2', weight: 0 },
              { name: 'v3', weight: 20 },
            ],
          },
        },
      }),
    );
    const at = (random: number): string | undefined => clusterOf(table.match(request({ random })), request({ random }));
    expect([at(0), at(0.799), at(0.8), at(0.999)]).toEqual(['v1', 'v1', 'v3', 'v3']);
  });

  it('answers plaintext with a redirect where the virtual host wants TLS', () => {
    const table = tableOf({
      virtualHosts: [{ name: 'v', domains: ['*'], requireTls: 'ALL', routes: [{ match: { prefix: '/' }, route: { cluster: 'c' } }] }],
    });
    const view = request({ authority: 'a.com', path: '/x?y', scheme: 'http' });
    const action = table.match(view)?.action;
    expect(action?.kind === 'redirect' ? [action.redirect.status, action.redirect.location(view)] : undefined).toEqual([
      301,
      'https://a.com/x?y',
    ]);
    expect(clusterOf(table.match(request({ scheme: 'https' })))).toBe('c');
  });

  it.each<[redirect: Json, match: Json, expected: string]>([
    [{ hostRedirect: 'b.com' }, { prefix: '/' }, 'http://b.com/a/b?q=1'],
    [{ httpsRedirect: true }, { prefix: '/' }, 'https://a.com/a/b?q=1'],
    [{ httpsRedirect: true, portRedirect: 8443 }, { prefix: '/' }, 'https://a.com:8443/a/b?q=1'],
    [{ httpsRedirect: true, portRedirect: 443 }, { prefix: '/' }, 'https://a.com:443/a/b?q=1'],
    [{ pathRedirect: '/new' }, { prefix: '/' }, 'http://a.com:80/new?q=1'],
    [{ pathRedirect: '/new?z=2' }, { prefix: '/' }, 'http://a.com:80/new?z=2'],
    [{ prefixRewrite: '/z' }, { prefix: '/a' }, 'http://a.com:80/z/b?q=1'],
    [{ prefixRewrite: '/z' }, { safeRegex: { regex: '/a/.' } }, 'http://a.com:80/z?q=1'],
    [{ regexRewrite: { pattern: { regex: '/(.)/(.)' }, substitution: '/\\2/\\1' } }, { prefix: '/' }, 'http://a.com:80/b/a?q=1'],
    [{ stripQuery: true }, { prefix: '/' }, 'http://a.com:80/a/b'],
  ])('redirects by %j', (redirect, match, expected) => {
    const table = tableOf(routes({ match, redirect }));
    const view = request({ authority: 'a.com:80', path: '/a/b?q=1' });
    const action = table.match(view)?.action;
    expect(action?.kind === 'redirect' ? action.redirect.location(view).replace('b.com:80', 'b.com') : undefined).toBe(expected);
  });

  it('applies header changes from the most specific level outwards, or inwards where told to', () => {
    const add = (value: string): Json => ({
      requestHeadersToAdd: [{ header: { key: 'X-Level', value }, appendAction: 'OVERWRITE_IF_EXISTS_OR_ADD' }],
    });
    const config = (wins: boolean): Json => ({
      ...add('config'),
      mostSpecificHeaderMutationsWins: wins,
      virtualHosts: [
        {
          ...add('host'),
          name: 'v',
          domains: ['*'],
          routes: [
            {
              ...add('route'),
              match: { prefix: '/' },
              route: { weightedClusters: { clusters: [{ ...add('cluster'), name: 'c', weight: 1 }] } },
            },
          ],
        },
      ],
    });
    const last = (wins: boolean): string | undefined => {
      const action = tableOf(config(wins)).match(request())?.action;
      const headers = new Map<string, string>();
      const target = action?.kind === 'route' ? action.route.chooseTarget(request()) : undefined;
      const mutable = {
        get: (name: string) => headers.get(name),
        set: (name: string, value: string) => void headers.set(name, value),
        append: () => {},
        remove: () => {},
      };
      for (const mutation of target?.mutations.request ?? []) mutation.apply(mutable, {} as never);
      return headers.get('x-level');
    };
    expect(last(false)).toBe('config');
    expect(last(true)).toBe('cluster');
  });

  it('hashes by header, cookie, query parameter and source address', () => {
    const table = tableOf(
      routes({
        match: { prefix: '/' },
        route: {
          cluster: 'c',
          hashPolicy: [
            { header: { headerName: 'X-User' }, terminal: true },
            { queryParameter: { name: 'u' } },
            { cookie: { name: 's', ttl: '60s', path: '/' } },
          ],
        },
      }),
    );
    const cookies: string[] = [];
    const hash = (view: RequestView): bigint | undefined => {
      const action = table.match(view)?.action;
      return action?.kind === 'route'
        ? action.route.hash?.({
            request: view,
            sourceAddress: '10.0.0.1',
            setCookie: (value) => cookies.push(value),
            uniqueValue: () => 'unique',
          })
        : undefined;
    };
    expect(hash(request({ headers: { 'x-user': 'a' } }))).toBe(hash(request({ headers: { 'x-user': 'a', other: '1' }, path: '/?u=5' })));
    expect(hash(request({ headers: { 'x-user': 'a' } }))).not.toBe(hash(request({ headers: { 'x-user': 'b' } })));
    expect(hash(request({ path: '/?u=1', headers: { cookie: 's=1' } }))).not.toBe(
      hash(request({ path: '/?u=2', headers: { cookie: 's=1' } })),
    );
    expect(cookies).toEqual([]);
    hash(request());
    expect(cookies).toEqual(['s="unique"; Max-Age=60; Path=/; HttpOnly']);
  });

  describe('when the message cannot be used', () => {
    it.each<[config: Json, expected: RegExp]>([
      [
        {
          virtualHosts: [
            { name: 'a', domains: ['x'] },
            { name: 'b', domains: ['X'] },
          ],
        },
        /^virtual_hosts\[1\]\.domains\[0\]: "x" is in another virtual host too/,
      ],
      [{ virtualHosts: [{ name: 'a', domains: ['a.*.b'] }] }, /^virtual_hosts\[0\]\.domains\[0\]: .*a star may only stand/],
      [{ virtualHosts: [{ name: 'a', domains: [] }] }, /virtual_hosts\[0\]\.domains: needs at least one domain/],
      [routes({ match: { safeRegex: { regex: '(' } }, route: { cluster: 'c' } }), /routes\[0\]\.match\.safe_regex: is not a valid RE2/],
      [
        routes({ match: { safeRegex: { regex: '(?=a)b' } }, route: { cluster: 'c' } }),
        /routes\[0\]\.match\.safe_regex: is not a valid RE2/,
      ],
      [routes({ match: {}, route: { cluster: 'c' } }), /routes\[0\]\.match: needs one of prefix/],
      [routes({ match: { prefix: '/' } }), /routes\[0\]: needs one of route, redirect, direct_response/],
      [routes({ match: { prefix: '/' }, route: {} }), /routes\[0\]\.route: needs one of cluster/],
      [
        routes({ match: { prefix: '/' }, route: { cluster: 'c', retryPolicy: { retryOn: '5xx,typo' } } }),
        /routes\[0\]\.route\.retry_policy\.retry_on: "typo" is not a retry condition/,
      ],
      [routes({ match: { prefix: '/' }, route: { cluster: 'c', hedgePolicy: {} } }), /routes\[0\]\.route\.hedge_policy: is not supported/],
      [
        routes({ match: { prefix: '/' }, route: { cluster: 'c' }, requestHeadersToAdd: [{ header: { key: 'Host', value: 'x' } }] }),
        /request_headers_to_add\[0\]\.header\.key: "Host" is set by the proxy/,
      ],
      [
        routes({ match: { prefix: '/' }, route: { cluster: 'c' }, responseHeadersToAdd: [{ header: { key: 'x', value: '%NO_SUCH%' } }] }),
        /header\.value: %NO_SUCH% is not supported/,
      ],
      [routes({ match: { prefix: '/' }, directResponse: { status: 99 } }), /direct_response\.status: must be between/],
      [
        routes({ match: { prefix: '/' }, route: { weightedClusters: { clusters: [{ name: 'a', weight: 0 }] } } }),
        /weighted_clusters: needs a sum of weights/,
      ],
      [{ vhds: {} }, /^vhds: is not supported/],
    ])('%j is rejected by its place', (config, expected) => {
      expect(rejectionsOf(config)).toMatch(expected);
      expect(compile(config).table).toBeUndefined();
    });
  });
});
