import { createPrivateKey, X509Certificate } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { create, type DescMessage, fromJson, type JsonValue } from '@bufbuild/protobuf';
import { silentLogger, systemClock } from '@mizzen/core';
import { createSelfSignedRoot, generateKeys, issueLeaf, privateKeyToPem } from '@mizzen/identity';
import { packAny, TYPE_URL, type TypeName, typeUrlOf, type XdsRejection, xdsRegistry } from '@mizzen/xds-api';
import { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { ClusterLoadAssignmentSchema } from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import { type Secret, SecretSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import { loadBootstrap } from '../bootstrap.ts';
import type { MeshProxy, ProxyOptions } from '../mesh-proxy.ts';
import { createProxy } from '../proxy.ts';

/** Closes everything that a test opened, the last first. */
export class Cleanup {
  readonly #closers: (() => unknown)[] = [];

  add(closer: () => unknown): void {
    this.#closers.push(closer);
  }

  async run(): Promise<void> {
    for (const closer of this.#closers.splice(0).reverse()) await closer();
  }
}

export interface RunningProxy {
  readonly proxy: MeshProxy;
  /** Lines of access logs so far. A stream is logged when it is over for the proxy, which its client may see earlier: wait by `logged`. */
  readonly log: readonly string[];
  /** The same once there are so many lines, or such a line. Default: one. */
  logged(wanted?: number | RegExp): Promise<readonly string[]>;
  portOf(listener: string): number;
  /** Applies messages given as JSON; the version grows with each call. */
  apply(
    type: TypeName,
    resources: Readonly<Record<string, JsonValue>>,
    options?: { readonly isWholeState?: boolean; readonly removed?: readonly string[] },
  ): readonly XdsRejection[];
  admin(path: string, method?: string): Promise<{ status: number; body: string }>;
}

const SCHEMAS: Readonly<Record<string, DescMessage>> = {
  cluster: ClusterSchema,
  endpoint: ClusterLoadAssignmentSchema,
  listener: ListenerSchema,
  route: RouteConfigurationSchema,
  secret: SecretSchema,
};

/** A started proxy from a bootstrap in YAML, with its admin interface on a free port. */
export async function startProxy(cleanup: Cleanup, yaml: string, options: Partial<ProxyOptions> = {}): Promise<RunningProxy> {
  const log: string[] = [];
  const lines = new EventEmitter();
  const bootstrap = await loadBootstrap(`admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n${yaml}`, 'yaml');
  const proxy = createProxy({
    bootstrap,
    clock: systemClock,
    random: Math.random,
    logger: silentLogger,
    accessLogStdout: {
      write(line) {
        log.push(line);
        lines.emit('line');
      },
    },
    drainTimeMs: 100,
    ...options,
  });
  cleanup.add(() => proxy.close());
  await proxy.start();
  let version = 0;
  return {
    proxy,
    log,
    async logged(wanted = 1) {
      const isThere = (): boolean => (typeof wanted === 'number' ? log.length >= wanted : log.some((line) => wanted.test(line)));
      while (!isThere()) await once(lines, 'line');
      return log;
    },
    portOf(listener) {
      const address = proxy.listenerAddresses().get(listener);
      if (address?.kind !== 'ip') throw new Error(`no listener ${listener}`);
      return address.port;
    },
    apply(type, resources, { isWholeState = false, removed = [] } = {}) {
      const schema = SCHEMAS[type] as DescMessage;
      version++;
      const upserts = Object.entries(resources).map(([name, json]) => ({
        name,
        version: String(version),
        body: packAny(schema, fromJson(schema, json, { registry: xdsRegistry })),
      }));
      return proxy.apply({ typeUrl: TYPE_URL[type], version: String(version), upserts, removed, isWholeState });
    },
    async admin(path, method = 'GET') {
      const address = proxy.adminAddress();
      if (address?.kind !== 'ip') throw new Error('no admin address');
      const response = await fetch(`http://127.0.0.1:${address.port}${path}`, { method });
      return { status: response.status, body: await response.text() };
    },
  };
}

/** A TCP server that sends back what it gets, after a greeting. */
export async function startEcho(cleanup: Cleanup, greeting = ''): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    if (greeting !== '') socket.write(greeting);
    socket.on('error', () => socket.destroy());
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.add(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** Sends `text`, ends, and resolves with all that came back. A reset counts as an end. */
export async function exchange(port: number, text: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' });
  let received = '';
  socket.on('data', (chunk) => {
    received += chunk;
  });
  // A connection that is given up with bytes unread is reset.
  socket.on('error', () => {});
  socket.end(text);
  await new Promise((resolve) => socket.once('close', resolve));
  return received;
}

export interface TestIdentity {
  readonly chain: string;
  readonly key: string;
}

/** A certificate authority for tests. */
export interface TestAuthority {
  readonly root: string;
  /** Of the root, for what it signs besides certificates. */
  readonly rootKey: string;
  issue(uri: string, dns?: readonly string[]): Promise<TestIdentity>;
}

export async function createAuthority(): Promise<TestAuthority> {
  const now = Date.now();
  const root = await createSelfSignedRoot({ trustDomain: 'cluster.local', now });
  const issuer = { certificate: new X509Certificate(root.certificatePem), privateKey: createPrivateKey(root.privateKeyPem) };
  return {
    root: root.certificatePem,
    rootKey: root.privateKeyPem,
    async issue(uri, dns = []) {
      const keys = await generateKeys();
      const validity = { notBefore: now - 60_000, notAfter: now + 3_600_000 };
      const chain = issueLeaf(issuer, { publicKey: keys.publicKey, names: { uris: [uri], dnsNames: dns }, validity });
      return { chain, key: privateKeyToPem(keys.privateKey) };
    },
  };
}

export function keyPairSecret(name: string, identity: TestIdentity): Secret {
  return create(SecretSchema, {
    name,
    type: {
      case: 'tlsCertificate',
      value: {
        certificateChain: { specifier: { case: 'inlineString', value: identity.chain } },
        privateKey: { specifier: { case: 'inlineString', value: identity.key } },
      },
    },
  });
}

export function rootSecret(name: string, root: string): Secret {
  return create(SecretSchema, {
    name,
    type: { case: 'validationContext', value: { trustedCa: { specifier: { case: 'inlineString', value: root } } } },
  });
}

/** `{"@type": …}` with fields, as YAML and JSON write an Any. */
export function any(schema: DescMessage, fields: Readonly<Record<string, JsonValue>> = {}): JsonValue {
  return { '@type': typeUrlOf(schema), ...fields };
}
