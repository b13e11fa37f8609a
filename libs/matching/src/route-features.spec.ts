import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { xdsRegistry } from '@mizzen/xds-api';
import { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import {
  type CompiledRouteAction,
  compileFormat,
  compileRouteConfiguration,
  Field,
  type FormatSource,
  formatRejections,
  type RequestView,
  type RouteTarget,
} from './index.ts';

type Json = { readonly [field: string]: JsonValue };

function compile(config: Json): ReturnType<typeof compileRouteConfiguration> {
  return compileRouteConfiguration(fromJson(RouteConfigurationSchema, config, { registry: xdsRegistry }));
}

/** One virtual host for everything, with this route action. */
function actionOf(route: Json, match: Json = { prefix: '/' }): CompiledRouteAction {
  const { table, rejections } = compile({ virtualHosts: [{ name: 'all', domains: ['*'], routes: [{ match, route }] }] });
  const action = table?.match(request())?.action;
  if (action?.kind !== 'route') throw new Error(formatRejections(rejections));
  return action.route;
}

function request(parts: Partial<Omit<RequestView, 'header'>> & { headers?: Record<string, string> } = {}): RequestView {
  const { headers = {}, ...rest } = parts;
  return { authority: 'a', path: '/', method: 'GET', scheme: 'http', random: 0.5, header: (name) => headers[name], ...rest };
}

describe('the target of a request', () => {
  const weighted = actionOf({
    metadataMatch: { filterMetadata: { 'envoy.lb': { version: 'v1', stage: 'prod' } } },
    weightedClusters: {
      headerName: 'X-Draw',
      clusters: [
        { name: 'a', weight: 3, metadataMatch: { filterMetadata: { 'envoy.lb': { version: 'v2' } } } },
        { clusterHeader: 'X-Cluster', weight: 7, hostRewriteLiteral: 'b.example' },
      ],
    },
  });
  const choose = (headers: Record<string, string>): RouteTarget | undefined => weighted.chooseTarget(request({ headers }));

  it.each([
    ['2', 'a'],
    ['3', 'named'],
    ['12', 'a'],
    ['18446744073709551615', 'named'],
  ])('is drawn by a header that says %s', (draw, cluster) => {
    expect(choose({ 'x-draw': draw, 'x-cluster': 'named' })?.cluster).toBe(cluster);
  });

  it('is drawn by chance where the header is no number', () => {
    expect(choose({ 'x-draw': 'many', 'x-cluster': 'named' })?.cluster).toBe('named');
  });

  it('is none where the header that should name it is missing', () => {
    expect(choose({ 'x-draw': '5' })).toBeUndefined();
  });

  it('carries the metadata of the route, overridden by its own', () => {
    expect(choose({ 'x-draw': '0' })?.metadataMatch).toEqual({ version: 'v2', stage: 'prod' });
    expect(choose({ 'x-draw': '5', 'x-cluster': 'c' })).toMatchObject({
      metadataMatch: { version: 'v1', stage: 'prod' },
      hostRewrite: 'b.example',
    });
  });
});

describe('a match', () => {
  const matches = (match: Json, view: RequestView): boolean => {
    const { table, rejections } = compile({
      virtualHosts: [{ name: 'all', domains: ['*'], routes: [{ match, route: { cluster: 'c' } }] }],
    });
    if (table === undefined) throw new Error(formatRejections(rejections));
    return table.match(view) !== undefined;
  };

  it.each([
    [{ presented: true }, true, true],
    [{ presented: true }, false, false],
    [{ presented: false }, false, true],
    [{ presented: true, validated: true }, true, true],
    [{ validated: false }, true, false],
  ])('by certificate %j, with one: %s, is %s', (tlsContext, isDownstreamMtls, expected) => {
    expect(matches({ prefix: '/', tlsContext }, request({ isDownstreamMtls }))).toBe(expected);
  });

  it.each([
    [{ value: { stringMatch: { exact: 'admin' } } }, 'admin', true],
    [{ value: { stringMatch: { exact: 'admin' } } }, 'user', false],
    [{ value: { stringMatch: { exact: 'admin' } } }, undefined, false],
    [{ value: { presentMatch: true }, invert: true }, undefined, true],
    [{ value: { listMatch: { oneOf: { stringMatch: { prefix: 'a' } } } } }, ['x', 'ab'], true],
    [{ value: { boolMatch: true } }, true, true],
  ])('by metadata %j of %j is %s', (matcher, role, expected) => {
    const dynamicMetadata = new Map([['jwt', role === undefined ? {} : { claims: { role } }]]);
    const match = { prefix: '/', dynamicMetadata: [{ filter: 'jwt', path: [{ key: 'claims' }, { key: 'role' }], ...matcher }] };
    expect(matches(match, request({ dynamicMetadata }))).toBe(expected);
  });

  it('does not see path parameters where they are to be ignored', () => {
    const config = (ignored: boolean): Json => ({
      ignorePathParametersInPathMatching: ignored,
      virtualHosts: [{ name: 'all', domains: ['*'], routes: [{ match: { path: '/a' }, route: { cluster: 'c' } }] }],
    });
    expect(compile(config(true)).table?.match(request({ path: '/a;v=1?q' }))).toBeDefined();
    expect(compile(config(false)).table?.match(request({ path: '/a;v=1?q' }))).toBeUndefined();
  });

  it('gives CONNECT, which has no path, only to routes for CONNECT', () => {
    const view = request({ method: 'CONNECT', path: '' });
    expect(matches({ prefix: '' }, view)).toBe(false);
    expect(matches({ connectMatcher: {} }, view)).toBe(true);
  });
});

it('lets requests from inside come without TLS where only those from outside need it', () => {
  const { table } = compile({
    virtualHosts: [
      { name: 'all', domains: ['*'], requireTls: 'EXTERNAL_ONLY', routes: [{ match: { prefix: '/' }, route: { cluster: 'c' } }] },
    ],
  });
  expect(table?.match(request())?.action.kind).toBe('redirect');
  expect(table?.match(request({ headers: { 'x-envoy-internal': 'true' } }))?.action.kind).toBe('route');
  expect(table?.match(request({ scheme: 'https' }))?.action.kind).toBe('route');
});

it('counts requests in the first virtual cluster that takes them', () => {
  const { table } = compile({
    virtualHosts: [
      {
        name: 'all',
        domains: ['*'],
        virtualClusters: [{ name: 'posts', headers: [{ name: ':method', stringMatch: { exact: 'POST' } }] }],
        routes: [{ match: { prefix: '/' }, route: { cluster: 'c' } }],
      },
    ],
  });
  const groupOf = (method: string): string | undefined =>
    table?.match(request({ method }))?.virtualHost.virtualClusterOf(request({ method }))?.name;
  expect(groupOf('POST')).toBe('posts');
  expect(groupOf('GET')).toBe('other');
});

describe('what the proxy follows itself', () => {
  const policy = actionOf({
    cluster: 'c',
    internalRedirectPolicy: {
      redirectResponseCodes: [301, 303, 200],
      predicates: [
        {
          name: 'allowed',
          typedConfig: {
            '@type': 'type.googleapis.com/envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig',
            allowedRouteNames: ['a', 'b'],
          },
        },
        {
          name: 'previous',
          typedConfig: { '@type': 'type.googleapis.com/envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig' },
        },
        {
          name: 'safe',
          typedConfig: { '@type': 'type.googleapis.com/envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig' },
        },
      ],
    },
  }).internalRedirect;

  it('is one redirect of the codes of the list, which are redirects', () => {
    expect(policy).toMatchObject({ maxRedirects: 1, statusCodes: new Set([301, 303]), allowsCrossScheme: false });
  });

  it.each([
    ['a', [], true, false, true],
    ['c', [], true, false, false],
    ['a', ['a'], true, false, false],
    ['a', ['b'], false, true, false],
    ['a', ['b'], true, true, true],
  ])('to %s after %j, TLS %s to %s: %s', (routeName, previous, isDownstreamTls, isTargetTls, expected) => {
    const target = { routeName, previousRoutes: new Set(previous), isDownstreamTls, isTargetTls };
    expect(policy?.predicates.every((accepts) => accepts(target))).toBe(expected);
  });

  it('is nothing by default, and 302 by the older field', () => {
    expect(actionOf({ cluster: 'c' }).internalRedirect).toBeUndefined();
    expect(
      actionOf({ cluster: 'c', internalRedirectAction: 'HANDLE_INTERNAL_REDIRECT', maxInternalRedirects: 3 }).internalRedirect,
    ).toMatchObject({
      maxRedirects: 3,
      statusCodes: new Set([302]),
    });
  });
});

describe('a route configuration is refused by its place', () => {
  const routes = (route: Json): Json => ({
    virtualHosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, ...route }] }],
  });
  it.each<[Json, RegExp]>([
    [
      routes({ route: { cluster: 'c', retryPolicy: { retryOn: 'http3-post-connect-failure' } } }),
      /retry_on: "http3-post-connect-failure" is not/,
    ],
    [
      routes({ route: { cluster: 'c', retryPolicy: { retryOn: '5xx', rateLimitedRetryBackOff: {} } } }),
      /reset_headers: needs at least one/,
    ],
    [routes({ route: { cluster: 'c', requestMirrorPolicies: [{}] } }), /request_mirror_policies\[0\]\.cluster: give one of/],
    [routes({ route: { weightedClusters: { clusters: [{ weight: 1 }] } } }), /clusters\[0\]\.name: give one of name and cluster_header/],
    [routes({ route: { inlineClusterSpecifierPlugin: {} } }), /inline_cluster_specifier_plugin: is not supported/],
    [routes({ directResponse: { status: 200, body: { inlineString: 'x'.repeat(4097) } } }), /direct_response\.body: has 4097 bytes/],
    [
      routes({ route: { cluster: 'c', internalRedirectPolicy: { predicates: [{ name: 'own' }] } } }),
      /internal_redirect_policy\.predicates\[0\]: "own" is not a predicate/,
    ],
    [
      routes({ route: { cluster: 'c', internalRedirectPolicy: { responseHeadersToCopy: [':path'] } } }),
      /response_headers_to_copy\[0\]: ":path" cannot be copied/,
    ],
    [
      { virtualHosts: [{ name: 'all', domains: ['*'], virtualClusters: [{ name: 'x' }] }] },
      /virtual_clusters\[0\]\.headers: needs at least one matcher/,
    ],
  ])('%#', (config, expected) => {
    const { table, rejections } = compile(config);
    expect(formatRejections(rejections)).toMatch(expected);
    expect(table).toBeUndefined();
  });
});

describe('an operator in a header value', () => {
  const source: FormatSource = {
    startTimeMs: Date.UTC(2026, 10, 21, 9, 5, 7, 42),
    protocol: 'HTTP/1.1',
    responseCode: 200,
    responseCodeDetails: 'via_upstream',
    routeName: 'r',
    virtualHostName: 'v',
    upstreamCluster: 'c',
    upstreamHost: '10.0.0.1:80',
    upstreamLocalAddress: '10.0.0.2:4000',
    downstreamLocalAddress: '10.0.0.3:443',
    downstreamRemoteAddress: '1.2.3.4:0',
    downstreamDirectRemoteAddress: '10.0.0.4:5000',
    downstreamPeerUriSan: 'spiffe://a',
    downstreamLocalUriSan: '',
    requestedServerName: '',
    originalPath: '/before?q=1&r=2',
    upstreamAttempts: 2,
    downstreamPeer: { subject: 'CN=a', dnsSans: ['a', 'b'], sha256: 'ff' },
    dynamicMetadata: new Map([['jwt', { claims: { sub: 'me', groups: ['a'] } }]]),
    requestHeader: (name) => ({ ':path': '/after', host: 'a', 'x-a': '1' })[name],
    responseHeader: () => undefined,
  };
  it.each([
    ['%REQ(nope?x-a)%', '1'],
    ['%REQ_WITHOUT_QUERY(:path)%', '/after'],
    ['%QUERY_PARAM(r)%', '2'],
    ['%PATH(NQ:ORIG)%', '/before'],
    ['%PATH(WQ:PATH)%', '/after'],
    ['%PATH()%', '/before?q=1&r=2'],
    ['%DYNAMIC_METADATA(jwt:claims:sub)%', 'me'],
    ['%DYNAMIC_METADATA(jwt:claims)%', '{"sub":"me","groups":["a"]}'],
    ['%DYNAMIC_METADATA(none)%', ''],
    ['%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%', '10.0.0.4:5000'],
    ['%DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_DNS_SAN% %DOWNSTREAM_PEER_FINGERPRINT_256%', 'CN=a a,b ff'],
    ['%UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_REMOTE_PORT%', '2 80'],
    ['%START_TIME(%Y/%m/%d %H:%M:%S.%3f)%', '2026/11/21 09:05:07.042'],
    ['%REQ(x-a):0%100%%', '100%'],
  ])('%s gives %s', (text, expected) => {
    const field = new Field('', []);
    expect(compileFormat(text, field)(source)).toBe(expected);
    expect(field.rejections).toEqual([]);
  });

  it.each(['%NOPE%', '%REQ()%', '%PATH(XX)%', '%START_TIME(%Q)%', '%CEL(1)%'])('%s is refused', (text) => {
    const field = new Field('', []);
    compileFormat(text, field);
    expect(formatRejections(field.rejections)).toMatch(/ is not supported/);
  });
});
