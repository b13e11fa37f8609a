import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import type { JsonValue } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { TlsInfo } from '../contract.ts';
import { StaticCluster, TestProxy, type TestProxyOptions } from './testing.ts';

type Json = { readonly [field: string]: JsonValue };
type Handler = (request: IncomingMessage, response: ServerResponse) => void;
type Answer = { readonly status: number; readonly headers: IncomingMessage['headers']; readonly body: string };

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A back end that remembers what reached it. */
async function backend(
  handler: Handler = (_request, response) => response.end('ok'),
): Promise<{ cluster: StaticCluster; seen: IncomingMessage[] }> {
  const seen: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    seen.push(request);
    handler(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return { cluster: new StaticCluster('b', [(server.address() as AddressInfo).port]), seen };
}

async function proxy(cluster: StaticCluster, route: Json, options: Partial<TestProxyOptions> & { host?: Json } = {}): Promise<TestProxy> {
  const { host = {}, hcm = {}, ...rest } = options;
  const routes = [{ match: { prefix: '/' }, ...route }];
  const routeConfig = { name: 'r', virtualHosts: [{ name: 'all', domains: ['*'], routes, ...host }] };
  const made = new TestProxy({ clusters: [cluster], ...rest, hcm: { statPrefix: 'test', routeConfig, ...hcm } });
  await made.listen();
  closers.push(() => made.close());
  return made;
}

function call(port: number, headers: Record<string, string> = {}, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? 'GET' : 'POST';
    const sent = httpRequest({ host: '127.0.0.1', port, path: '/', method, headers, agent: false }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const BACK_OFF = { retryBackOff: { baseInterval: '0.001s' } };
const failing: Handler = (_request, response) => response.writeHead(503).end();
const INSIDE = { internalAddressConfig: { cidrRanges: [{ addressPrefix: '10.0.0.0', prefixLen: 8 }] } };
const ROUTER_TYPE = 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router';
const router = (config: Json): Json => ({
  httpFilters: [{ name: 'envoy.filters.http.router', typedConfig: { '@type': ROUTER_TYPE, ...config } }],
});

describe('retries', () => {
  it('are as many as the share of the requests that the budget gives', async () => {
    const { cluster, seen } = await backend(failing);
    Object.assign(cluster.limits, { retryBudget: { ratio: 0.5, minConcurrency: 0 } });
    const p = await proxy(cluster, { route: { cluster: 'b', retryPolicy: { retryOn: '5xx', numRetries: 2, ...BACK_OFF } } });
    expect((await call(p.port)).status).toBe(503);
    // Half of the one request under way is none.
    expect(seen).toHaveLength(1);
    expect(cluster.stats.upstreamRqRetryOverflow).toBe(1);
    expect(p.ended[0]?.flags).toEqual(['upstreamOverflow']);
  });

  it('wait as long as the answer asks for', async () => {
    const { cluster, seen } = await backend((request, response) =>
      response.writeHead(request.headers['x-envoy-attempt-count'] === '1' ? 503 : 200, { 'x-reset': '1' }).end(),
    );
    const rateLimitedRetryBackOff = { resetHeaders: [{ name: 'X-Reset', format: 'SECONDS' }], maxInterval: '5s' };
    const retryPolicy = { retryOn: '5xx', ...BACK_OFF, rateLimitedRetryBackOff };
    const p = await proxy(
      cluster,
      { route: { cluster: 'b', retryPolicy } },
      { host: { includeRequestAttemptCount: true }, random: () => 0 },
    );
    const before = performance.now();
    expect((await call(p.port)).status).toBe(200);
    expect(performance.now() - before).toBeGreaterThanOrEqual(990);
    expect(seen).toHaveLength(2);
    expect(cluster.stats.upstreamRqRetryBackoffRatelimited).toBe(1);
  });

  it('are given up for a body that is longer than what may be kept', async () => {
    const { cluster, seen } = await backend((request, response) => {
      request.resume().on('end', () => response.writeHead(503).end());
    });
    const retryPolicy = { retryOn: '5xx', ...BACK_OFF };
    const p = await proxy(cluster, { route: { cluster: 'b', retryPolicy } }, { host: { perRequestBufferLimitBytes: 10 } });
    expect((await call(p.port, {}, 'longer than ten bytes')).status).toBe(503);
    expect(seen).toHaveLength(1);
    expect(cluster.stats.retryOrShadowAbandoned).toBe(1);
  });

  it('are counted for the route and for the virtual cluster too', async () => {
    const { cluster } = await backend(failing);
    const p = await proxy(
      cluster,
      { statPrefix: 'mine', route: { cluster: 'b', retryPolicy: { retryOn: '5xx', ...BACK_OFF } } },
      { host: { virtualClusters: [{ name: 'gets', headers: [{ name: ':method', stringMatch: { exact: 'GET' } }] }] } },
    );
    await call(p.port);
    const scopes = new Map([...p.stats.scopes()].map(({ prefix, values }) => [prefix, values]));
    const expected = { upstreamRqTotal: 2, upstreamRqCompleted: 1, upstreamRq5xx: 1, upstreamRqRetry: 1, upstreamRqRetryLimitExceeded: 1 };
    expect(scopes.get('vhost.all.route.mine')).toMatchObject(expected);
    expect(scopes.get('vhost.all.vcluster.gets')).toMatchObject(expected);
    expect(p.ended[0]?.virtualClusterName).toBe('gets');
  });
});

describe('the router, as its message says', () => {
  it('refuses headers that it cannot use', async () => {
    const { cluster, seen } = await backend();
    const hcm = { ...INSIDE, ...router({ strictCheckHeaders: ['X-Envoy-Max-Retries', 'x-envoy-retry-on'] }) };
    const p = await proxy(cluster, { route: { cluster: 'b' } }, { hcm });
    const answer = await call(p.port, { 'x-forwarded-for': '10.1.1.1', 'x-envoy-max-retries': 'many' });
    expect(answer).toMatchObject({ status: 400, body: "invalid header 'x-envoy-max-retries' with value 'many'" });
    expect(p.ended[0]).toMatchObject({
      flags: ['invalidEnvoyRequestHeaders'],
      responseCodeDetails: 'request_headers_failed_strict_check{x-envoy-max-retries}',
    });
    expect((await call(p.port, { 'x-forwarded-for': '10.1.1.1', 'x-envoy-retry-on': '5xx, reset' })).status).toBe(200);
    expect(seen).toHaveLength(1);
  });

  it('takes the time that the proxy before it expects as its own', async () => {
    const { cluster } = await backend(() => {});
    const hcm = { ...INSIDE, ...router({ respectExpectedRqTimeout: true }) };
    const p = await proxy(cluster, { route: { cluster: 'b' } }, { hcm });
    const answer = await call(p.port, { 'x-forwarded-for': '10.1.1.1', 'x-envoy-expected-rq-timeout-ms': '20' });
    expect(answer).toMatchObject({ status: 504, body: 'upstream request timeout' });
  });

  it('drops what the control plane has dropped', async () => {
    const { cluster, seen } = await backend();
    Object.assign(cluster, { shouldDrop: () => true });
    const p = await proxy(cluster, { route: { cluster: 'b' } });
    expect(await call(p.port)).toMatchObject({ status: 503, body: 'drop overload', headers: { 'x-envoy-drop-overload': 'true' } });
    expect(p.ended[0]).toMatchObject({ flags: ['dropOverload'], responseCodeDetails: 'drop_overload' });
    expect(seen).toHaveLength(0);
  });
});

describe('a redirect that the proxy follows', () => {
  const redirecting: Handler = (request, response) => {
    if (request.url === '/there') request.pipe(response);
    else request.resume().on('end', () => response.writeHead(302, { location: 'http://other.example/there' }).end());
  };
  const internalRedirectPolicy = { maxInternalRedirects: 1 };

  it('takes the body along and is two exchanges in the log', async () => {
    const { cluster, seen } = await backend(redirecting);
    const p = await proxy(cluster, { route: { cluster: 'b', internalRedirectPolicy } });
    expect(await call(p.port, {}, 'the body')).toMatchObject({ status: 200, body: 'the body' });
    expect(seen[1]?.headers).toMatchObject({
      host: 'other.example',
      'x-envoy-original-url': expect.stringMatching(/^http:\/\/127.0.0.1:\d+\/$/),
    });
    await p.untilEnded(2);
    expect(p.ended.map(({ responseCode, responseCodeDetails }) => [responseCode, responseCodeDetails])).toEqual([
      [302, 'internal_redirect'],
      [200, 'via_upstream'],
    ]);
    expect(cluster.stats.upstreamInternalRedirectSucceededTotal).toBe(1);
  });

  it('is the last one where there may be no more', async () => {
    const { cluster, seen } = await backend((_request, response) =>
      response.writeHead(302, { location: 'http://other.example/again' }).end(),
    );
    const p = await proxy(cluster, { route: { cluster: 'b', internalRedirectPolicy } });
    expect(await call(p.port)).toMatchObject({ status: 302, headers: { location: 'http://other.example/again' } });
    expect(seen).toHaveLength(2);
    expect(cluster.stats.upstreamInternalRedirectFailedTotal).toBe(1);
  });

  it('ends with the client', async () => {
    let aborted: (() => void) | undefined;
    const gone = new Promise<void>((resolve) => {
      aborted = resolve;
    });
    const { cluster } = await backend((request, response) => {
      if (request.url !== '/there') {
        response.writeHead(302, { location: 'http://other.example/there' }).end();
        return;
      }
      client.destroy();
      response.on('close', () => aborted?.());
    });
    const p = await proxy(cluster, { route: { cluster: 'b', internalRedirectPolicy } });
    const client = httpRequest({ host: '127.0.0.1', port: p.port, path: '/', agent: false });
    client.on('error', () => {});
    client.end();
    await gone;
    await p.untilEnded(2);
    expect(p.ended[1]).toMatchObject({ responseCode: 0, flags: ['downstreamConnectionTermination'] });
  });
});

describe('where a request comes from', () => {
  const PEM = '-----BEGIN CERTIFICATE-----\nab+c/d=\n-----END CERTIFICATE-----\n';
  const tls: TlsInfo = {
    requestedServerName: '',
    alpn: '',
    localUriSan: 'spiffe://me',
    peer: { uriSans: ['spiffe://you'], dnsSans: [], subject: 'CN=you', sha256: 'ff', pem: () => PEM, chainPem: () => PEM + PEM },
  };

  it('is told with the certificate and its chain where that is asked for', async () => {
    const { cluster, seen } = await backend();
    const hcm = { forwardClientCertDetails: 'SANITIZE_SET', setCurrentClientCertDetails: { cert: true, chain: true, subject: true } };
    const p = await proxy(cluster, { route: { cluster: 'b' } }, { hcm, tls });
    await call(p.port);
    const encoded = '-----BEGIN%20CERTIFICATE-----%0Aab%2Bc%2Fd%3D%0A-----END%20CERTIFICATE-----%0A';
    expect(seen[0]?.headers['x-forwarded-client-cert']).toBe(
      `By=spiffe://me;Hash=ff;Cert="${encoded}";Chain="${encoded}${encoded}";Subject="CN=you"`,
    );
  });

  it('is read by the detection that is configured', async () => {
    const { cluster } = await backend();
    const hcm = {
      originalIpDetectionExtensions: [
        {
          name: 'xff',
          typedConfig: {
            '@type': 'type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig',
            xffNumTrustedHops: 1,
          },
        },
      ],
    };
    const p = await proxy(cluster, { route: { cluster: 'b' } }, { hcm });
    await call(p.port, { 'x-forwarded-for': '1.1.1.1, 2.2.2.2, 3.3.3.3' });
    expect(p.ended[0]?.downstreamRemoteAddress).toBe('2.2.2.2:0');
  });
});

it('lets no connection live longer than it may', async () => {
  const { cluster } = await backend();
  const p = await proxy(cluster, { route: { cluster: 'b' } }, { hcm: { commonHttpProtocolOptions: { maxConnectionDuration: '1s' } } });
  const socket = connect(p.port, '127.0.0.1');
  const answered = new Promise<string>((resolve) => socket.once('data', (chunk) => resolve(chunk.toString())));
  const ended = new Promise<void>((resolve) => socket.once('end', resolve));
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  expect(await answered).not.toContain('connection: close');
  await ended;
  socket.destroy();
  expect(p.filter.stats.downstreamCxMaxDurationReached).toBe(1);
});

it.each<[Json, RegExp]>([
  [{ schemeHeaderTransformation: { schemeToOverwrite: 'ftp' } }, /scheme_to_overwrite.*must be http or https/],
  [{ schemeHeaderTransformation: { matchUpstream: true } }, /match_upstream/],
  [{ earlyHeaderMutationExtensions: [{ name: 'own' }] }, /early_header_mutation_extensions\[0\]/],
  [{ originalIpDetectionExtensions: [{ name: 'own' }], useRemoteAddress: true }, /use_remote_address/],
  [{ localReplyConfig: { mappers: [{}] } }, /local_reply_config\.mappers\[0\]\.filter.*is required/],
  [{ localReplyConfig: { bodyFormat: { textFormatSource: { inlineString: '%NOPE%' } } } }, /local_reply_config\.body_format.*NOPE/],
  [{ streamErrorOnInvalidHttpMessage: true }, /stream_error_on_invalid_http_message/],
  [{ httpProtocolOptions: { allowAbsoluteUrl: false } }, /allow_absolute_url/],
])('refuses %j by its place', async (hcm, expected) => {
  const { cluster } = await backend();
  expect(() => new TestProxy({ clusters: [cluster], hcm: { routeConfig: { name: 'r' }, ...hcm } })).toThrow(expected);
});
