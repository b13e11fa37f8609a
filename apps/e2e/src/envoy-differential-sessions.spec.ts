import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { freePort } from '@mizzen/testing';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';

type Json = Record<string, unknown>;

const any = (type: string, fields: Json): Json => ({ '@type': `type.googleapis.com/envoy.extensions.${type}`, ...fields });
const SESSION = 'filters.http.stateful_session.v3.StatefulSession';
const PER_ROUTE = 'filters.http.stateful_session.v3.StatefulSessionPerRoute';

function endpoint(port: number, health = 'UNKNOWN'): Json {
  return { endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } }, health_status: health };
}

function cookieState(cookie: Json): Json {
  return {
    name: 'envoy.http.stateful_session.cookie',
    typed_config: any('http.stateful_session.cookie.v3.CookieBasedSessionState', { cookie }),
  };
}

const HEADER_STATE = {
  name: 'envoy.http.stateful_session.header',
  typed_config: any('http.stateful_session.header.v3.HeaderBasedSessionState', { name: 'X-Session' }),
};

/** What each route says to the filter; the filter itself keeps its session in a cookie. */
const ROUTES: Readonly<Record<string, Json | undefined>> = {
  plain: undefined,
  off: { disabled: true },
  header: { stateful_session: { session_state: HEADER_STATE } },
  strict: { stateful_session: { session_state: HEADER_STATE, strict: true } },
  path: { stateful_session: { session_state: cookieState({ name: 'deep', path: '/path/below', ttl: '120s' }) } },
  none: { stateful_session: {} },
  draining: { stateful_session: { session_state: HEADER_STATE, strict: true } },
};

function bootstrap(listener: number, ports: readonly number[]): Json {
  const [a = 0, b = 0, c = 0, d = 0] = ports;
  const endpoints = [{ lb_endpoints: [endpoint(a), endpoint(b), endpoint(c, 'DEGRADED'), endpoint(d, 'DRAINING')] }];
  const cluster = (name: string, more: Json): Json => ({
    name,
    type: 'STATIC',
    load_assignment: { cluster_name: name, endpoints },
    common_lb_config: { healthy_panic_threshold: { value: 0 }, ...more },
  });
  const routes = Object.entries(ROUTES).map(([name, config]) => ({
    match: { prefix: `/${name}` },
    route: { cluster: name === 'draining' ? 'drained' : 'all' },
    ...(config && { typed_per_filter_config: { 'envoy.filters.http.stateful_session': any(PER_ROUTE, config) } }),
  }));
  const manager = any('filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: 'in',
    route_config: { name: 'r', virtual_hosts: [{ name: 'all', domains: ['*'], routes }] },
    http_filters: [
      {
        name: 'envoy.filters.http.stateful_session',
        typed_config: any(SESSION, { session_state: cookieState({ name: 'session', path: '/' }) }),
      },
      { name: 'envoy.filters.http.router', typed_config: any('filters.http.router.v3.Router', {}) },
    ],
  });
  return {
    static_resources: {
      clusters: [
        cluster('all', {}),
        cluster('drained', { override_host_status: { statuses: ['UNKNOWN', 'HEALTHY', 'DEGRADED', 'DRAINING'] } }),
      ],
      listeners: [
        {
          name: 'in',
          address: { socket_address: { address: '127.0.0.1', port_value: listener } },
          filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] }],
        },
      ],
    },
  };
}

interface Answer {
  readonly status: number | undefined;
  /** Which endpoint it was. */
  readonly body: string;
  readonly cookie: string | undefined;
  readonly session: string | undefined;
}

async function ask(port: number, path: string, headers: Record<string, string> = {}): Promise<Answer> {
  const asking = request({ port, host: '127.0.0.1', path, headers, agent: false }).end();
  const [response] = await once(asking, 'response');
  const cookie = (response.headers['set-cookie'] as string[] | undefined)?.join();
  return { status: response.statusCode, body: await text(response), cookie, session: response.headers['x-session'] as string | undefined };
}

/** The cookie's address, and its attributes; when it expires is of the moment. */
function described({ cookie = '', ...answer }: Answer): unknown {
  const [, name, value = '', attributes] = /^([^=]*)="([^"]*)"(.*)$/.exec(cookie) ?? [];
  const bytes = Buffer.from(value, 'base64');
  const length = bytes[1] ?? 0;
  return { ...answer, cookie: [name, bytes.subarray(0, 2 + length).toString('latin1'), bytes.length - 2 - length, attributes] };
}

describeWithEnvoy('needs envoy: sessions of our proxy and Envoy', () => {
  const servers: Server[] = [];
  let ports: number[];
  let listeners: { readonly envoy: number; readonly ours: number };
  let envoy: Envoy;
  let proxy: MeshProxy;

  beforeAll(async () => {
    ports = await Promise.all(
      ['a', 'b', 'c', 'd'].map(async (name) => {
        const server = createServer((_, response) => response.end(name));
        servers.push(server);
        server.listen(0, '127.0.0.1');
        await once(server, 'listening');
        return (server.address() as AddressInfo).port;
      }),
    );
    listeners = { envoy: await freePort(), ours: await freePort() };
    envoy = await startEnvoy(bootstrap(listeners.envoy, ports));
    proxy = await startOurProxy(bootstrap(listeners.ours, ports));
  });

  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    for (const server of servers) server.close().closeAllConnections();
  });

  const addressOf = (index: number): string => `127.0.0.1:${ports[index]}`;
  const base64 = (value: string): string => Buffer.from(value).toString('base64');

  it.each(['/plain', '/off', '/header', '/path/below/it', '/path/belowit', '/path', '/none'])(
    'are begun alike, and kept by what the client was told: %s',
    async (path) => {
      const outcome = async (port: number): Promise<unknown> => {
        const first = await ask(port, path);
        const told = first.cookie === undefined ? undefined : first.cookie.slice(0, first.cookie.indexOf(';'));
        const headers = { ...(told && { cookie: told }), ...(first.session && { 'x-session': first.session }) };
        const isTold = told !== undefined || first.session !== undefined;
        const later = [await ask(port, path, headers), await ask(port, path, headers), await ask(port, path, headers)];
        // Whose turn it is first differs between two proxies.
        const endpoint = addressOf(['a', 'b', 'c', 'd'].indexOf(first.body));
        const same = JSON.stringify(described(first)).replace(endpoint, 'its endpoint').replace(base64(endpoint), 'its endpoint');
        return {
          first: same.replace(`"body":"${first.body}"`, ''),
          later: later.map((answer) => ({
            isSame: isTold ? answer.body === first.body : 'any',
            told: [answer.cookie !== undefined, answer.session !== undefined],
          })),
        };
      };
      expect(await outcome(listeners.ours)).toEqual(await outcome(listeners.envoy));
    },
  );

  it.each(['header', 'strict', 'draining'])('go to the endpoint that is asked for alike, or to another: %s', async (name) => {
    for (const index of [0, 1, 2, 3]) {
      const headers = { 'x-session': base64(addressOf(index)) };
      const [ours, envoys] = await Promise.all([ask(listeners.ours, `/${name}`, headers), ask(listeners.envoy, `/${name}`, headers)]);
      const isOther = envoys.body !== ['a', 'b', 'c', 'd'][index];
      const known = ({ status, session, body, cookie }: Answer): unknown =>
        isOther && status === 200 ? { status, cookie, isTold: session !== undefined } : { status, session, body, cookie };
      expect([index, known(ours)]).toEqual([index, known(envoys)]);
    }
  });

  it.each(['', 'nonsense', 'AAAA', base64('10.0.0.1:1'), base64('\n\x0210'), base64('\n\x7f10')])(
    'are begun anew alike with what nobody told: "%s"',
    async (value) => {
      for (const [path, headers] of [
        ['/header', { 'x-session': value }],
        ['/strict', { 'x-session': value }],
        ['/plain', { cookie: `session="${value}"` }],
        ['/path/below', { cookie: `deep=${value}` }],
      ] as const) {
        const [ours, envoys] = await Promise.all([ask(listeners.ours, path, headers), ask(listeners.envoy, path, headers)]);
        const known = ({ status, session, cookie }: Answer): unknown => [path, status, session !== undefined, cookie !== undefined];
        expect(known(ours)).toEqual(known(envoys));
      }
    },
  );
});
