import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2';
import { type AddressInfo, connect } from 'node:net';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { freePort } from '@mizzen/testing';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';
import { until } from './until.ts';

type Json = Record<string, unknown>;

const any = (type: string, fields: Json): Json => ({ '@type': `type.googleapis.com/envoy.extensions.${type}`, ...fields });
const LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %PROTOCOL%\n';

function bootstrap({ plain, modifyOnly, app }: { plain: number; modifyOnly: number; app: number }): Json {
  const manager = any('filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: 'in',
    access_log: [
      {
        name: 'log',
        typed_config: any('access_loggers.stream.v3.StdoutAccessLog', { log_format: { text_format_source: { inline_string: LOG } } }),
      },
    ],
    route_config: {
      name: 'r',
      virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'app' } }] }],
    },
    http_filters: [{ name: 'envoy.filters.http.router', typed_config: any('filters.http.router.v3.Router', {}) }],
  });
  const listener = (name: string, port: number, more: Json): Json => ({
    name,
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] }],
    ...more,
  });
  const endpoint = { endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: app } } } };
  return {
    static_resources: {
      clusters: [{ name: 'app', type: 'STATIC', load_assignment: { cluster_name: 'app', endpoints: [{ lb_endpoints: [endpoint] }] } }],
      listeners: [listener('plain', plain, {}), listener('modify-only', modifyOnly, { drain_type: 'MODIFY_ONLY' })],
    },
  };
}

interface Side {
  readonly plain: number;
  readonly modifyOnly: number;
  readonly admin: string;
  readonly log: () => Promise<string>;
}

/** What `/held` waits for and `/begun` was given of an answer. */
class HoldingApp {
  readonly #seen = new Set<string>();
  readonly server: Server = createServer((incoming, response) => {
    const path = incoming.url ?? '';
    this.#seen.add(path);
    incoming.resume();
    if (path.startsWith('/begun')) response.write('begun');
    else if (!path.startsWith('/held')) response.end('answer');
  });

  async listen(): Promise<number> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    return (this.server.address() as AddressInfo).port;
  }

  sees(path: string): Promise<true> {
    return until(`the request for ${path}`, async () => (this.#seen.has(path) ? true : undefined));
  }

  forget(): void {
    this.#seen.clear();
  }
}

const RESETS = ['NO_ERROR', 'PROTOCOL_ERROR', 'INTERNAL_ERROR', 'REFUSED_STREAM', 'CANCEL', 'ENHANCE_YOUR_CALM'] as const;

describeWithEnvoy('needs envoy: how our proxy and Envoy log requests that their client gives up', () => {
  const app = new HoldingApp();
  let envoy: Envoy;
  let proxy: MeshProxy;
  let sides: readonly [theirs: Side, ours: Side];

  beforeAll(async () => {
    const appPort = await app.listen();
    const theirs = { plain: await freePort(), modifyOnly: await freePort(), app: appPort };
    const ours = { plain: await freePort(), modifyOnly: await freePort(), app: appPort };
    envoy = await startEnvoy(bootstrap(theirs));
    let log = '';
    const admin = { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } };
    proxy = await startOurProxy({ ...bootstrap(ours), admin }, (text) => {
      log += text;
    });
    const address = proxy.adminAddress();
    if (address?.kind !== 'ip') throw new Error('our proxy has no admin port');
    sides = [
      { ...theirs, admin: envoy.adminAddress, log: () => envoy.output() },
      { ...ours, admin: `127.0.0.1:${address.port}`, log: async () => log },
    ];
  });
  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    app.server.closeAllConnections();
    app.server.close();
  });

  /** The line of the log for this path, of Envoy and of ours, after each was given the same. */
  async function logged(path: string, act: (side: Side) => Promise<void>): Promise<readonly string[]> {
    const lines: string[] = [];
    for (const side of sides) {
      app.forget();
      await act(side);
      lines.push(
        await until(`the line of ${path}`, async () => (await side.log()).split('\n').find((line) => line.startsWith(`${path} `))),
      );
    }
    return lines;
  }

  async function overHttp2({ plain }: Side, act: (session: ClientHttp2Session) => Promise<void>): Promise<void> {
    const session = connectHttp2(`http://127.0.0.1:${plain}`);
    session.on('error', () => {});
    await act(session);
    session.destroy();
  }

  it.each(RESETS)('HTTP/2: RST_STREAM %s before the answer', async (code) => {
    const path = `/held-${code}`;
    const [theirs, ours] = await logged(path, (side) =>
      overHttp2(side, async (session) => {
        const stream = session.request({ ':path': path });
        stream.on('error', () => {});
        await app.sees(path);
        const closed = new Promise((resolve) => stream.once('close', resolve));
        stream.close(constants[`NGHTTP2_${code}`]);
        await closed;
        // What was sent after it is answered after it.
        await new Promise((resolve) => session.ping(resolve));
      }),
    );
    expect(ours).toBe(theirs);
  });

  it.each(RESETS)('HTTP/2: RST_STREAM %s within the answer', async (code) => {
    const path = `/begun-${code}`;
    const [theirs, ours] = await logged(path, (side) =>
      overHttp2(side, async (session) => {
        const stream = session.request({ ':path': path });
        stream.on('error', () => {});
        await once(stream, 'data');
        const closed = new Promise((resolve) => stream.once('close', resolve));
        stream.close(constants[`NGHTTP2_${code}`]);
        await closed;
        await new Promise((resolve) => session.ping(resolve));
      }),
    );
    expect(ours).toBe(theirs);
  });

  it.each(['/held-body', '/held-gone', '/begun-gone'])('HTTP/2: the connection ends under %s', async (path) => {
    const [theirs, ours] = await logged(path, (side) =>
      overHttp2(side, async (session) => {
        const stream = session.request(
          { ':path': path, ...(path === '/held-body' && { ':method': 'POST' }) },
          { endStream: path !== '/held-body' },
        );
        stream.on('error', () => {});
        if (path === '/held-body') stream.write('some');
        await app.sees(path);
        if (path === '/begun-gone') await once(stream, 'data');
      }),
    );
    expect(ours).toBe(theirs);
  });

  it.each(['/held-first', '/begun-first', '/held-upload'])('HTTP/1.1: the connection ends under %s', async (path) => {
    const [theirs, ours] = await logged(path, async ({ plain }) => {
      const socket = connect(plain, '127.0.0.1').on('error', () => {});
      const head = path === '/held-upload' ? 'POST' : 'GET';
      const length = path === '/held-upload' ? 'content-length: 10\r\n' : '';
      socket.write(`${head} ${path} HTTP/1.1\r\nhost: a\r\n${length}\r\n${path === '/held-upload' ? 'some' : ''}`);
      await app.sees(path);
      if (path === '/begun-first') await once(socket, 'data');
      socket.destroy();
    });
    expect(ours).toBe(theirs);
  });

  it('drain_type: MODIFY_ONLY leaves connections alone when /healthcheck/fail is called', async () => {
    const connectionOf = (port: number): Promise<string | undefined> =>
      new Promise((resolve, reject) => {
        const asked = request({ port, host: '127.0.0.1', path: '/drained', headers: { connection: 'keep-alive' } }, (response) => {
          response.resume();
          resolve(response.headers.connection);
        });
        asked.on('error', reject).end();
      });
    const seen = [];
    for (const { plain, modifyOnly, admin } of sides) {
      await (await fetch(`http://${admin}/healthcheck/fail`, { method: 'POST' })).text();
      seen.push([await connectionOf(plain), await connectionOf(modifyOnly)]);
      await (await fetch(`http://${admin}/healthcheck/ok`, { method: 'POST' })).text();
    }
    expect(seen[0]).toEqual(['close', undefined]);
    expect(seen[1]?.[0]).toBe('close');
    expect(seen[1]?.[1]).not.toBe('close');
  });
});
