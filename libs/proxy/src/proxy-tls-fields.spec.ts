import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { type ConnectionOptions, createServer as createTlsServer, type TLSSocket, connect as tlsConnect } from 'node:tls';
import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { FileAccessLogSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/file/v3/file';
import { TcpProxySchema } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { DownstreamTlsContextSchema, UpstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import {
  any,
  Cleanup,
  createAuthority,
  exchange,
  type RunningProxy,
  startEcho,
  startProxy,
  type TestAuthority,
  type TestIdentity,
} from './testing/harness.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

let authority: TestAuthority;
let stranger: TestAuthority;
let client: TestIdentity;
let foreign: TestIdentity;
beforeAll(async () => {
  authority = await createAuthority();
  stranger = await createAuthority();
  client = await authority.issue('spiffe://cluster.local/ns/default/sa/client');
  foreign = await stranger.issue('spiffe://cluster.local/ns/default/sa/foreign');
});

function address(port: number): JsonValue {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

function certificate({ chain, key }: TestIdentity, more: JsonObject = {}): JsonObject {
  return { certificate_chain: { inline_string: chain }, private_key: { inline_string: key }, ...more };
}

async function startTls(common: JsonObject, more: JsonObject = {}): Promise<RunningProxy> {
  const running = await startProxy(cleanup, '');
  const endpoints = [{ lb_endpoints: [{ endpoint: { address: address(await startEcho(cleanup)) } }] }];
  running.apply('cluster', { echo: { name: 'echo', type: 'STATIC', load_assignment: { cluster_name: 'echo', endpoints } } });
  const format = { text_format_source: { inline_string: '%DOWNSTREAM_PEER_URI_SAN%\n' } };
  const log = { name: 'log', typed_config: any(FileAccessLogSchema, { path: '/dev/stdout', log_format: format }) };
  const tcp = { name: 'tcp', typed_config: any(TcpProxySchema, { stat_prefix: 'tcp', cluster: 'echo', access_log: [log] }) };
  const tls = any(DownstreamTlsContextSchema, { common_tls_context: common, ...more });
  const chain = { filters: [tcp], transport_socket: { name: 'tls', typed_config: tls } };
  expect(running.apply('listener', { l: { address: address(0), filter_chains: [chain] } })).toEqual([]);
  return running;
}

/** Connects, sends a word and resolves with the socket once the echo came; rejects where the connection breaks before. */
function hello(running: RunningProxy, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = tlsConnect({ port: running.portOf('l'), host: '127.0.0.1', rejectUnauthorized: false, ...options });
  cleanup.add(() => socket.destroy());
  return new Promise((resolve, reject) => {
    socket.once('data', () => resolve(socket));
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed')));
    socket.write('hello');
  });
}

async function sslStat(running: RunningProxy, name: string): Promise<number> {
  const { body } = await running.admin('/stats');
  return Number(new RegExp(`\\.ssl\\.${name}: (\\d+)`).exec(body)?.[1]);
}

describe('certificates of a listener', () => {
  it('are chosen by SNI, also where no inspector was asked for', async () => {
    const first = await authority.issue('spiffe://a/ns/a/sa/a', ['first.example']);
    const second = await authority.issue('spiffe://a/ns/a/sa/b', ['*.second.example']);
    const running = await startTls({ tls_certificates: [certificate(first), certificate(second)] });
    const shown = async (servername: string): Promise<string | undefined> =>
      (await hello(running, { servername })).getPeerX509Certificate()?.subjectAltName;
    expect(await shown('first.example')).toContain('first.example');
    expect(await shown('A.Second.example')).toContain('*.second.example');
    expect(await shown('unknown.example')).toContain('first.example');
  });

  it('may have an encrypted key', async () => {
    const identity = await authority.issue('spiffe://a/ns/a/sa/a', ['a.example']);
    const encrypted = createPrivateKey(identity.key).export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'sesame' });
    const own = certificate({ chain: identity.chain, key: String(encrypted) }, { password: { inline_string: 'sesame\n' } });
    const running = await startTls({ tls_certificates: [own] });
    expect((await hello(running, {})).getPeerX509Certificate()?.subjectAltName).toContain('a.example');
  });
});

describe('what a client must prove', () => {
  const own = async (): Promise<JsonValue> => [certificate(await authority.issue('spiffe://a/ns/a/sa/server'))];

  it('may be a certificate that is known by its hash, without roots', async () => {
    const fingerprint = new X509Certificate(client.chain).fingerprint256;
    const validation = { verify_certificate_hash: [fingerprint] };
    const running = await startTls({ tls_certificates: await own(), validation_context: validation }, { require_client_certificate: true });
    await hello(running, { cert: client.chain, key: client.key });
    await expect(hello(running, { cert: foreign.chain, key: foreign.key })).rejects.toBeDefined();
    expect(await sslStat(running, 'fail_verify_cert_hash')).toBe(1);
    expect(await sslStat(running, 'handshake')).toBe(1);
  });

  it('may be a key that is known by its hash, besides a chain to a root', async () => {
    const key = new X509Certificate(client.chain).publicKey.export({ type: 'spki', format: 'der' });
    const validation = {
      trusted_ca: { inline_string: authority.root },
      verify_certificate_spki: [createHash('sha256').update(key).digest('base64')],
    };
    const running = await startTls({ tls_certificates: await own(), validation_context: validation }, { require_client_certificate: true });
    const other = await authority.issue('spiffe://cluster.local/ns/default/sa/other');
    await hello(running, { cert: client.chain, key: client.key });
    await expect(hello(running, { cert: other.chain, key: other.key })).rejects.toBeDefined();
    await expect(hello(running, { cert: foreign.chain, key: foreign.key })).rejects.toBeDefined();
    await expect(hello(running, {})).rejects.toBeDefined();
    const counters = ['fail_verify_cert_hash', 'fail_verify_error', 'fail_verify_no_cert'];
    expect(await Promise.all(counters.map((name) => sslStat(running, name)))).toEqual([1, 1, 1]);
  });

  it('may be nothing: with ACCEPT_UNTRUSTED a client is let in, and its certificate is no proof', async () => {
    const validation = { trusted_ca: { inline_string: authority.root }, trust_chain_verification: 'ACCEPT_UNTRUSTED' };
    const running = await startTls({ tls_certificates: await own(), validation_context: validation });
    for (const { chain, key } of [client, foreign]) {
      const socket = await hello(running, { cert: chain, key });
      socket.end();
      await once(socket, 'close');
    }
    expect((await running.logged(2)).map((line) => line.trim())).toEqual(['spiffe://cluster.local/ns/default/sa/client', '-']);
  });
});

describe('names without roots', () => {
  it('let nobody in where the secret with the roots has none', async () => {
    const validation = {
      combined_validation_context: {
        default_validation_context: { match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { prefix: 'spiffe://' } }] },
        validation_context_sds_secret_config: { name: 'roots', sds_config: { ads: {} } },
      },
    };
    const own = certificate(await authority.issue('spiffe://a/ns/a/sa/server'));
    const running = await startTls({ tls_certificates: [own], ...validation });
    running.apply('secret', { roots: { name: 'roots', validation_context: {} } });
    await running.proxy.ready.until((isReady) => isReady);
    await expect(hello(running, { cert: client.chain, key: client.key })).rejects.toBeDefined();
    expect(await sslStat(running, 'fail_verify_error')).toBe(1);
  });
});

describe('TLS sessions', () => {
  const resumes = async (running: RunningProxy, options: ConnectionOptions): Promise<boolean> => {
    const first = await hello(running, { maxVersion: 'TLSv1.2', ...options });
    const session = first.getSession();
    return (await hello(running, { maxVersion: 'TLSv1.2', session, ...options })).isSessionReused();
  };

  it('are resumed by tickets where no client is verified, and not where one is or that is switched off', async () => {
    const certificates = { tls_certificates: [certificate(await authority.issue('spiffe://a/ns/a/sa/server'))] };
    const plain = await startTls(certificates);
    expect(await resumes(plain, {})).toBe(true);
    expect(await sslStat(plain, 'session_reused')).toBe(1);
    expect(await sslStat(plain, 'no_certificate')).toBe(2);
    expect(await resumes(await startTls(certificates, { disable_stateless_session_resumption: true }), {})).toBe(false);
    const verified = await startTls({ ...certificates, validation_context: { trusted_ca: { inline_string: authority.root } } });
    expect(await resumes(verified, { cert: client.chain, key: client.key })).toBe(false);
  });

  it('are resumed by another proxy with the same ticket key', async () => {
    const certificates = { tls_certificates: [certificate(await authority.issue('spiffe://a/ns/a/sa/server'))] };
    const keys = { session_ticket_keys: { keys: [{ inline_bytes: Buffer.alloc(80, 7).toString('base64') }] } };
    const [one, two] = [await startTls(certificates, keys), await startTls(certificates, keys)];
    const session = (await hello(one, { maxVersion: 'TLSv1.2' })).getSession();
    expect((await hello(two, { maxVersion: 'TLSv1.2', session })).isSessionReused()).toBe(true);
  });
});

describe('a TLS context', () => {
  const refusal = async (common: JsonObject, more: JsonObject = {}): Promise<string | undefined> => {
    const running = await startProxy(cleanup, '');
    const own = { tls_certificates: [certificate(await authority.issue('spiffe://a/ns/a/sa/server'))] };
    const tls = any(DownstreamTlsContextSchema, { common_tls_context: { ...own, ...common }, ...more });
    const tcp = { name: 'tcp', typed_config: any(TcpProxySchema, { stat_prefix: 'tcp', cluster: 'echo' }) };
    const chain = { filters: [tcp], transport_socket: { name: 'tls', typed_config: tls } };
    return running.apply('listener', { l: { address: address(0), filter_chains: [chain] } })[0]?.reason;
  };

  it.each([
    [
      { validation_context: { match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: 'a' } }] } },
      {},
      'validation_context: names are matched but no chain is verified',
    ],
    [
      { validation_context: { verify_certificate_hash: ['abc'] } },
      {},
      'validation_context.verify_certificate_hash[0]: is not a SHA-256 in hex',
    ],
    [
      { validation_context: { verify_certificate_spki: ['YQ=='] } },
      {},
      'validation_context.verify_certificate_spki[0]: is not a SHA-256 in base64',
    ],
    [{ validation_context: { allow_expired_certificate: true } }, {}, 'validation_context.allow_expired_certificate: is not supported'],
    [{ validation_context: { only_verify_leaf_cert_crl: true } }, {}, 'validation_context.only_verify_leaf_cert_crl: is not supported'],
    [{ key_log: { path: '/tmp/keys' } }, {}, 'key_log: is not supported'],
    [
      { tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_2' } },
      {},
      'tls_params.tls_maximum_protocol_version: TLSv1.2 is below',
    ],
  ])('is refused with the place of the fault: %j', async (common, more, reason) => {
    expect(await refusal(common as JsonObject, more)).toContain(`transport_socket.typed_config.common_tls_context.${reason}`);
  });

  it('is refused for OCSP staples that must be there, and for ticket keys of another size', async () => {
    expect(await refusal({}, { ocsp_staple_policy: 'MUST_STAPLE' })).toContain('typed_config.ocsp_staple_policy: only LENIENT_STAPLING');
    const keys = { session_ticket_keys: { keys: [{ inline_string: 'short' }] } };
    expect(await refusal({}, keys)).toContain('typed_config.session_ticket_keys.keys[0]: must be 80 bytes, not 5');
  });

  it('offers the versions and signatures that it is told', async () => {
    const own = [certificate(await authority.issue('spiffe://a/ns/a/sa/server'))];
    const running = await startTls({ tls_certificates: own, tls_params: { tls_minimum_protocol_version: 'TLSv1_3' } });
    await expect(hello(running, { maxVersion: 'TLSv1.2' })).rejects.toBeDefined();
    expect((await hello(running, {})).getProtocol()).toBe('TLSv1.3');
    expect(await sslStat(running, 'versions\\.TLSv1\\.3')).toBe(1);
  });
});

describe('a TLS upstream', () => {
  /** A proxy before a TLS server that echoes; resolves with what comes back through it. */
  async function through(validation: JsonObject, identity: TestIdentity): Promise<{ answer: string; log: string | undefined }> {
    const server = createTlsServer({ cert: identity.chain, key: identity.key, allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    server.on('tlsClientError', () => {});
    // Node leaves a connection that is given up before its first byte open on this side.
    server.on('connection', (socket: Socket) => cleanup.add(() => socket.destroy()));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanup.add(() => server.close());
    const running = await startProxy(cleanup, '');
    const tls = any(UpstreamTlsContextSchema, { common_tls_context: { validation_context: validation } });
    const endpoints = [{ lb_endpoints: [{ endpoint: { address: address((server.address() as AddressInfo).port) } }] }];
    const cluster = {
      name: 'server',
      type: 'STATIC',
      load_assignment: { cluster_name: 'server', endpoints },
      transport_socket: { name: 'tls', typed_config: tls },
    };
    expect(running.apply('cluster', { server: cluster })).toEqual([]);
    const format = { text_format_source: { inline_string: '%UPSTREAM_TRANSPORT_FAILURE_REASON%\n' } };
    const log = { name: 'log', typed_config: any(FileAccessLogSchema, { path: '/dev/stdout', log_format: format }) };
    const tcp = { name: 'tcp', typed_config: any(TcpProxySchema, { stat_prefix: 'tcp', cluster: 'server', access_log: [log] }) };
    expect(running.apply('listener', { l: { address: address(0), filter_chains: [{ filters: [tcp] }] } })).toEqual([]);
    const answer = await exchange(running.portOf('l'), 'ping');
    return { answer, log: (await running.logged())[0]?.trim() };
  }

  it('is known by the hash of its certificate, with and without roots', async () => {
    const hash = new X509Certificate(foreign.chain).fingerprint256;
    expect((await through({ verify_certificate_hash: [hash] }, foreign)).answer).toBe('ping');
    const refused = await through({ verify_certificate_hash: [hash] }, client);
    expect(refused).toEqual({ answer: '', log: 'TLS_error:_ERR_TLS_CERTIFICATE_HASH' });
    expect((await through({ verify_certificate_hash: [hash], trusted_ca: { inline_string: authority.root } }, foreign)).answer).toBe('');
  });

  it('may be untrusted where that is said, and is refused where it is not', async () => {
    const roots = { trusted_ca: { inline_string: authority.root } };
    expect((await through({ ...roots, trust_chain_verification: 'ACCEPT_UNTRUSTED' }, foreign)).answer).toBe('ping');
    const refused = await through(roots, foreign);
    expect(refused.answer).toBe('');
    expect(refused.log).toMatch(/^TLS_error:_/);
  });
});
