import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { type ConnectionOptions, connect as tlsConnect } from 'node:tls';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { createSelfSignedRoot, generateKeys, issueLeaf, privateKeyToPem } from '@mizzen/identity';
import type { MeshProxy } from '@mizzen/proxy';
import { freePort } from '@mizzen/testing';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';
import { until } from './until.ts';

const EXTENSION = 'type.googleapis.com/envoy.extensions';
const MARK = 'connection';
const LOG_FORMAT = `${MARK} %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER%\n`;

type Json = Readonly<Record<string, unknown>>;
type Ports = Readonly<Record<'required' | 'optional' | 'onlyV1' | 'limited' | 'slow' | 'dead' | 'secure' | 'mutual' | 'missing', number>>;
const LISTENERS: readonly (keyof Ports)[] = ['required', 'optional', 'onlyV1', 'limited', 'slow', 'dead', 'secure', 'mutual', 'missing'];

interface Identity {
  readonly chain: string;
  readonly key: string;
}

function any(type: string, fields: Json = {}): Json {
  return { name: type, typed_config: { '@type': `${EXTENSION}.${type}`, ...fields } };
}

function address(port: number): Json {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

function tcpProxy(cluster: string, fields: Json = {}): Json {
  const format = { text_format_source: { inline_string: LOG_FORMAT } };
  const log = any('access_loggers.file.v3.FileAccessLog', { path: '/dev/stdout', log_format: format });
  return any('filters.network.tcp_proxy.v3.TcpProxy', { stat_prefix: 'tcp', cluster, access_log: [log], ...fields });
}

/** The same for both proxies but for the ports. */
function bootstrapAt(ports: Ports, to: { readonly echo: number; readonly dead: number; readonly pki: Pki }): Json {
  const pp = (fields: Json): Json => any('filters.listener.proxy_protocol.v3.ProxyProtocol', fields);
  const listener = (name: keyof Ports, filters: readonly Json[], more: Json = {}, transport: Json = {}): Json => ({
    name,
    address: address(ports[name]),
    filter_chains: [{ filters, ...transport }],
    ...more,
  });
  const cluster = (name: string, port: number): Json => ({
    name,
    connect_timeout: '10s',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }] },
  });
  const certificate = ({ chain, key }: Identity): Json => ({
    certificate_chain: { inline_string: chain },
    private_key: { inline_string: key },
  });
  const tls = (fields: Json): Json => ({ transport_socket: any('transport_sockets.tls.v3.DownstreamTlsContext', fields) });
  const { first, second, root } = to.pki;
  const common = { tls_certificates: [certificate(first), certificate(second)], alpn_protocols: ['h2', 'http/1.1'] };
  const inspector = { listener_filters: [any('filters.listener.tls_inspector.v3.TlsInspector')] };
  const bucket = { max_tokens: 1, tokens_per_fill: 1, fill_interval: '3600s' };
  return {
    static_resources: {
      clusters: [cluster('echo', to.echo), cluster('dead', to.dead)],
      listeners: [
        listener('required', [tcpProxy('echo')], { listener_filters: [pp({})] }),
        listener('optional', [tcpProxy('echo')], { listener_filters: [pp({ allow_requests_without_proxy_protocol: true })] }),
        listener('onlyV1', [tcpProxy('echo')], { listener_filters: [pp({ disallowed_versions: ['V2'] })] }),
        listener('limited', [
          any('filters.network.connection_limit.v3.ConnectionLimit', { stat_prefix: 'one', max_connections: 1 }),
          tcpProxy('echo'),
        ]),
        listener('slow', [
          any('filters.network.local_ratelimit.v3.LocalRateLimit', { stat_prefix: 'slow', token_bucket: bucket }),
          tcpProxy('echo'),
        ]),
        listener('dead', [tcpProxy('dead', { max_connect_attempts: 2 })]),
        listener('missing', [tcpProxy('none')]),
        listener('secure', [tcpProxy('echo')], inspector, tls({ common_tls_context: common })),
        listener(
          'mutual',
          [tcpProxy('echo')],
          inspector,
          tls({
            require_client_certificate: true,
            common_tls_context: { ...common, validation_context: { trusted_ca: { inline_string: root } } },
          }),
        ),
      ],
    },
  };
}

interface Pki {
  readonly root: string;
  readonly first: Identity;
  readonly second: Identity;
  readonly client: Identity;
  readonly stranger: Identity;
}

async function createPki(): Promise<Pki> {
  const now = Date.now();
  const authority = async (): Promise<Awaited<ReturnType<typeof createSelfSignedRoot>>> =>
    createSelfSignedRoot({ trustDomain: 'cluster.local', now });
  const issue = async (root: Awaited<ReturnType<typeof authority>>, uri: string, ...dnsNames: string[]): Promise<Identity> => {
    const issuer = { certificate: new X509Certificate(root.certificatePem), privateKey: createPrivateKey(root.privateKeyPem) };
    const keys = await generateKeys();
    const validity = { notBefore: now - 60_000, notAfter: now + 3_600_000 };
    return {
      chain: issueLeaf(issuer, { publicKey: keys.publicKey, names: { uris: [uri], dnsNames }, validity }),
      key: privateKeyToPem(keys.privateKey),
    };
  };
  const [own, other] = [await authority(), await authority()];
  return {
    root: own.certificatePem,
    first: await issue(own, 'spiffe://cluster.local/ns/a/sa/first', 'first.example'),
    second: await issue(own, 'spiffe://cluster.local/ns/a/sa/second', '*.second.example'),
    client: await issue(own, 'spiffe://cluster.local/ns/a/sa/client'),
    stranger: await issue(other, 'spiffe://cluster.local/ns/a/sa/stranger'),
  };
}

/**
 * All that comes back; a reset is as good as an end. The end follows the first answer: Envoy gives a connection up whose end comes while its
 * listener filters look.
 */
function exchange(port: number, bytes: Buffer | string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    let received = '';
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
      socket.end();
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(received));
    socket.write(bytes);
  });
}

const V2 = '\r\n\r\n\0\r\nQUIT\n';
const ENDS_4 = '\xc0\x00\x02\x07\xc0\x00\x02\x01\x12\x67\x01\xbb';
const ENDS_6 = `${'\x20\x01\x0d\xb8'.padEnd(15, '\0')}\x07${'\x20\x01\x0d\xb8'.padEnd(15, '\0')}\x01\x12\x67\x01\xbb`;
function v2(command: number, family: number, body: string, length = body.length): string {
  return `${V2}${String.fromCharCode(command, family, length >> 8, length & 255)}${body}`;
}

/** Beginnings of connections; ` hello` follows each. */
const HEADERS: readonly (readonly [title: string, bytes: string])[] = [
  ['version 1 of IPv4', 'PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n'],
  ['version 1 of IPv6', 'PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n'],
  ['UNKNOWN', 'PROXY UNKNOWN\r\n'],
  ['UNKNOWN with more', 'PROXY UNKNOWN a b c d\r\n'],
  ['a port above 65535', 'PROXY TCP4 192.0.2.7 192.0.2.1 65536 443\r\n'],
  ['a negative port', 'PROXY TCP4 192.0.2.7 192.0.2.1 -1 443\r\n'],
  ['addresses of another family', 'PROXY TCP4 ::1 ::1 4711 443\r\n'],
  ['a multicast source', 'PROXY TCP4 224.0.0.1 192.0.2.1 4711 443\r\n'],
  ['the wildcard as source', 'PROXY TCP4 0.0.0.0 192.0.2.1 4711 443\r\n'],
  ['a missing port', 'PROXY TCP4 192.0.2.7 192.0.2.1 4711\r\n'],
  ['one word too many', 'PROXY TCP4 192.0.2.7 192.0.2.1 4711 443 1\r\n'],
  ['another protocol', 'PROXY UDP4 192.0.2.7 192.0.2.1 4711 443\r\n'],
  ['a line of 107 bytes', `PROXY UNKNOWN ${'x'.repeat(91)}\r\n`],
  ['no header', 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'],
  ['version 2 of IPv4', v2(0x21, 0x11, ENDS_4)],
  ['version 2 of IPv6', v2(0x21, 0x21, ENDS_6)],
  ['version 2 over UDP', v2(0x21, 0x12, ENDS_4)],
  ['LOCAL', v2(0x20, 0x00, '')],
  ['LOCAL with a body', v2(0x20, 0x11, ENDS_4)],
  ['version 2 with a TLV', v2(0x21, 0x11, `${ENDS_4}\xea\x00\x03abc`)],
  ['a TLV longer than the header', v2(0x21, 0x11, `${ENDS_4}\xea\x00\x04abc`)],
  ['a TLV and a byte', v2(0x21, 0x11, `${ENDS_4}\xea\x00\x03abcd`)],
  ['a TLV without a value at the end', v2(0x21, 0x11, `${ENDS_4}\xea\x00\x00`)],
  ['a header shorter than its addresses', v2(0x21, 0x11, ENDS_4, 11)],
  ['version 3', v2(0x31, 0x11, ENDS_4)],
  ['command 2', v2(0x22, 0x11, ENDS_4)],
  ['a pipe', v2(0x21, 0x31, '\0'.repeat(216))],
  ['no family', v2(0x21, 0x00, '')],
];

describeWithEnvoy('needs envoy: connections through our proxy and Envoy', () => {
  let envoy: Envoy;
  let proxy: MeshProxy;
  let echo: Server;
  let pki: Pki;
  let at: { readonly envoy: Ports; readonly ours: Ports };
  const ourLog: string[] = [];

  function portsOf(port: (name: string) => number): Ports {
    return Object.fromEntries(LISTENERS.map((name) => [name, port(name)])) as unknown as Ports;
  }

  async function choosePorts(): Promise<Ports> {
    const chosen = new Set<number>();
    while (chosen.size < LISTENERS.length) chosen.add(await freePort());
    const ports = [...chosen];
    return portsOf((name) => ports[LISTENERS.indexOf(name as keyof Ports)] as number);
  }

  beforeAll(async () => {
    pki = await createPki();
    echo = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    echo.listen(0, '127.0.0.1');
    await once(echo, 'listening');
    const to = { echo: (echo.address() as AddressInfo).port, dead: await freePort(), pki };
    const [forEnvoy, unbound] = [await choosePorts(), portsOf(() => 0)];
    envoy = await startEnvoy(bootstrapAt(forEnvoy, to));
    proxy = await startOurProxy(bootstrapAt(unbound, to), (line) => ourLog.push(line));
    const bound = proxy.listenerAddresses();
    const portOf = (name: string): number => {
      const address = bound.get(name);
      return address?.kind === 'ip' ? address.port : 0;
    };
    at = { envoy: forEnvoy, ours: portsOf(portOf) };
  });
  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    echo?.close();
  });

  async function both<T>(name: keyof Ports, ask: (port: number) => Promise<T>): Promise<{ envoy: T; ours: T }> {
    return { envoy: await ask(at.envoy[name]), ours: await ask(at.ours[name]) };
  }

  /** Log lines, without the ephemeral ports of this machine's ends. */
  async function logs(): Promise<{ envoy: readonly string[]; ours: readonly string[] }> {
    const masked = (text: string): string[] =>
      text
        .split('\n')
        .filter((line) => line.startsWith(MARK))
        .map((line) => line.replaceAll(/127\.0\.0\.1:\d+/g, 'here'));
    return { envoy: masked(await envoy.output()), ours: masked(ourLog.join('')) };
  }

  /** Compares what both logged of the connections that `isMeant`. */
  async function expectSameLog(isMeant: (line: string) => boolean): Promise<void> {
    const lines = await until('both logs have the lines', async () => {
      const now = await logs();
      const [fromEnvoy, fromOurs] = [now.envoy.filter(isMeant), now.ours.filter(isMeant)];
      return fromEnvoy.length > 0 && fromOurs.length > 0 ? { fromEnvoy, fromOurs } : undefined;
    });
    expect(lines.fromOurs).toEqual(lines.fromEnvoy);
  }

  it.each(HEADERS)('take the same from %s', async (_, header) => {
    for (const name of ['required', 'optional', 'onlyV1'] as const) {
      const answers = await both(name, (port) => exchange(port, Buffer.from(`${header} hello`, 'latin1')));
      expect({ name, answer: answers.ours }).toEqual({ name, answer: answers.envoy });
    }
  });

  it('log the addresses of a PROXY header', async () => {
    const headers = HEADERS.filter(([title]) => /^(version [12] of|LOCAL$)/.test(title));
    for (const [index, [, header]] of headers.entries()) {
      // Connections are told apart by how much they carry.
      const count = 100 + index;
      await both('required', (port) => exchange(port, Buffer.from(header + 'x'.repeat(count), 'latin1')));
      await expectSameLog((line) => line.includes(` ${count} ${count} `));
    }
  });

  it('refuse a header that is not as the protocol says and that Envoy lets pass', async () => {
    const lenient = ['PROXY TCP4  192.0.2.7 192.0.2.1 4711 443\r\n', 'PROXY TCP4 192.0.2.7 192.0.2.1 04711 443\r\n'];
    lenient.push(`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`);
    for (const header of lenient) expect(await exchange(at.ours.required, `${header}hello`)).toBe('');
  });

  it('log a refused upstream and a missing cluster alike', async () => {
    for (const [name, flags] of [
      ['dead', ' UF,URX '],
      ['missing', ' NC '],
    ] as const) {
      const answers = await both(name, (port) => exchange(port, ''));
      expect(answers.ours).toBe(answers.envoy);
      await expectSameLog((line) => line.includes(flags));
    }
  });

  it('limit connections alike', async () => {
    for (const ports of [at.envoy, at.ours]) {
      const first = connect({ port: ports.limited, host: '127.0.0.1' });
      first.write('a');
      await once(first, 'data');
      expect(await exchange(ports.limited, 'b')).toBe('');
      first.destroy();
      expect([await exchange(ports.slow, 'a'), await exchange(ports.slow, 'b')]).toEqual(['a', '']);
    }
    const { body } = await fetchStats();
    expect(body.ours).toEqual(body.envoy);
  });

  async function fetchStats(): Promise<{ body: { envoy: Json; ours: Json } }> {
    const names = ['connection_limit.one.limited_connections', 'local_rate_limit.slow.rate_limited'];
    const fromEnvoy = await envoy.stats('connection_limit.one.limited|local_rate_limit.slow');
    const ours = new Map<string, number>();
    for (const { prefix, names: fields, values } of proxy.stats.scopes())
      for (const [field, name] of Object.entries(fields.counters))
        ours.set(`${prefix}.${name}`, (values as Record<string, number>)[field] ?? 0);
    return {
      body: {
        envoy: Object.fromEntries(names.map((name) => [name, fromEnvoy[name]])),
        ours: Object.fromEntries(names.map((name) => [name, ours.get(name)])),
      },
    };
  }

  interface Shown {
    readonly names: string | undefined;
    readonly alpn: string | false | null;
    readonly protocol: string | null;
    readonly answer: string;
  }

  function secure(port: number, options: ConnectionOptions): Promise<Shown | 'refused'> {
    return new Promise((resolve) => {
      const socket = tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
      socket.once('data', (chunk) => {
        const names = socket.getPeerX509Certificate()?.subjectAltName;
        resolve({ names, alpn: socket.alpnProtocol, protocol: socket.getProtocol(), answer: String(chunk) });
        socket.destroy();
      });
      socket.once('error', () => resolve('refused'));
      socket.once('close', () => resolve('refused'));
      socket.write('hello');
    });
  }

  it.each<[string, ConnectionOptions]>([
    ['an exact name', { servername: 'first.example' }],
    ['a name in capitals', { servername: 'FIRST.example' }],
    ['a name below a wildcard', { servername: 'a.second.example' }],
    ['a name two labels below a wildcard', { servername: 'a.b.second.example' }],
    ['a name that no certificate carries', { servername: 'unknown.example' }],
    ['no name', {}],
    ['ALPN that both know', { ALPNProtocols: ['http/1.1', 'h2'] }],
    ['ALPN that only the client knows', { ALPNProtocols: ['istio'] }],
    ['TLS 1.2', { maxVersion: 'TLSv1.2' }],
    ['TLS 1.1', { maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' }],
  ])('show the same to a TLS client with %s', async (_, options) => {
    const shown = await both('secure', (port) => secure(port, options));
    expect(shown.ours).toEqual(shown.envoy);
  });

  it('let the same clients in by their certificates', async () => {
    for (const identity of [pki.client, pki.stranger, undefined]) {
      const options = identity === undefined ? {} : { cert: identity.chain, key: identity.key };
      const shown = await both('mutual', (port) => secure(port, options));
      expect(shown.ours).toEqual(shown.envoy);
    }
    const counters = ['fail_verify_error', 'fail_verify_no_cert'];
    const stats = await envoy.stats('ssl.fail_verify');
    const fromEnvoy = counters.map(
      (counter) => Object.entries(stats).find(([name]) => name.endsWith(counter) && name.includes(`${at.envoy.mutual}`))?.[1],
    );
    expect(fromEnvoy).toEqual([1, 1]);
  });
});
