import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { create, fromBinary, fromJson, type JsonObject, type JsonValue, toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { Server, type ServerDuplexStream } from '@grpc/grpc-js';
import { Watchable } from '@mizzen/core';
import { createServerCredentials, peerSpiffeId, type SvidManager, type TlsIdentity, tlsIdentityOf } from '@mizzen/identity';
import { TYPE_URL, xdsRegistry } from '@mizzen/xds-api';
import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
} from '@mizzen/xds-api/envoy/service/discovery/v3/discovery';

const ROOT = join(import.meta.dirname, '../../..');

/** An app as a process of its own, which prints a ready line. */
export interface AppProcess {
  readonly child: ChildProcess;
  readonly ports: {
    readonly inbound?: Record<string, number>;
    readonly httpProxy?: number;
    readonly admin: number;
    readonly status: number;
    readonly grpc: number;
    readonly xds: number;
    readonly debug: number;
  };
  /** Code and signal once it has ended. */
  readonly exited: Promise<readonly [number | null, NodeJS.Signals | null]>;
}

export async function startApp(app: string, flags: readonly string[]): Promise<AppProcess> {
  const child = spawn(process.execPath, [join(ROOT, 'apps', app, 'src/main.ts'), ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] },
  });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk;
  });
  const exited = new Promise<readonly [number | null, NodeJS.Signals | null]>((resolve) =>
    child.once('exit', (code, signal) => resolve([code, signal])),
  );
  const ports = await new Promise<AppProcess['ports']>((resolve, reject) => {
    createInterface(child.stdout).on('line', (line) => {
      if (line.startsWith('{"ready":true')) resolve((JSON.parse(line) as { ports: AppProcess['ports'] }).ports);
    });
    void exited.then(([code]) => reject(new Error(`${app} ended with ${code}: ${errors}`)));
  });
  return { child, ports, exited };
}

/** Resources by type URL, in the JSON of protobuf. */
export type Resources = Readonly<Record<string, readonly { name: string; body: JsonObject }[]>>;

export interface MtlsControlPlane {
  readonly address: string;
  readonly streams: Watchable<readonly { node: Node; spiffeId: string | undefined }[]>;
  readonly gracefulEnds: Watchable<number>;
  /** NACKs, as the proxy worded them. */
  readonly rejections: string[];
  close(): void;
}

type AdsStream = ServerDuplexStream<DeltaDiscoveryRequest, Buffer>;

/** A control plane on mTLS that answers the first request for each type with what the script has for the node. */
export async function startMtlsControlPlane(manager: SvidManager, script: (node: Node) => Resources): Promise<MtlsControlPlane> {
  const svid = await manager.start();
  const identity = new Watchable<TlsIdentity | undefined>(tlsIdentityOf(svid));
  manager.svid.watch((next) => next && identity.set(tlsIdentityOf(next)));
  const credentials = createServerCredentials(identity, { clientCertificate: 'required' });
  const streams: MtlsControlPlane['streams'] = new Watchable<readonly { node: Node; spiffeId: string | undefined }[]>([]);
  const gracefulEnds = new Watchable(0);
  const rejections: string[] = [];
  const serve = (stream: AdsStream): void => {
    let resources: Resources = {};
    const answered = new Set<string>();
    stream.on('error', () => undefined);
    stream.on('end', () => {
      gracefulEnds.set(gracefulEnds.value + 1);
      stream.end();
    });
    stream.on('data', (request: DeltaDiscoveryRequest) => {
      if (request.errorDetail) rejections.push(request.errorDetail.message);
      if (request.node) {
        streams.set([...streams.value, { node: request.node, spiffeId: peerSpiffeId(stream) }]);
        resources = script(request.node);
      }
      if (answered.has(request.typeUrl)) return;
      answered.add(request.typeUrl);
      stream.write(encodeResponse(request.typeUrl, resources[request.typeUrl] ?? []));
    });
  };
  const definition = {
    path: '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
    requestStream: true,
    responseStream: true,
    requestSerialize: (request: DeltaDiscoveryRequest) => Buffer.from(toBinary(DeltaDiscoveryRequestSchema, request)),
    requestDeserialize: (bytes: Buffer) => fromBinary(DeltaDiscoveryRequestSchema, bytes),
    responseSerialize: (bytes: Buffer) => bytes,
    responseDeserialize: (bytes: Buffer) => bytes,
  };
  const server = new Server();
  server.addService({ deltaAggregatedResources: definition }, { deltaAggregatedResources: serve });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  return {
    address: `127.0.0.1:${port}`,
    streams,
    gracefulEnds,
    rejections,
    close: () => {
      credentials.stop();
      server.forceShutdown();
    },
  };
}

function encodeResponse(typeUrl: string, resources: readonly { name: string; body: JsonObject }[]): Buffer {
  const encoded = resources.map(({ name, body }) => ({
    name,
    version: '1',
    resource: fromJson(AnySchema, { '@type': typeUrl, ...body }, { registry: xdsRegistry }),
  }));
  return Buffer.from(
    toBinary(
      DeltaDiscoveryResponseSchema,
      create(DeltaDiscoveryResponseSchema, { typeUrl, nonce: '1', systemVersionInfo: '1', resources: encoded }),
    ),
  );
}

const EXTENSIONS = 'type.googleapis.com/envoy.extensions';

interface InboundMetadata {
  readonly port: number;
  readonly bind: string;
  readonly listenPort: number;
  readonly defaultEndpoint: string;
}

/** What Istio gives a workload with a STRICT port: a TLS-only inbound listener and the cluster of the program behind it. */
export function strictInbound(node: Node): Resources {
  const inbound = (node.metadata?.['INBOUND'] ?? []) as unknown as readonly InboundMetadata[];
  if (!inbound[0]) throw new Error('the node announces no inbound port');
  const { port, bind, listenPort, defaultEndpoint } = inbound[0];
  const cluster = `inbound|${port}||`;
  const sds = (name: string): JsonValue => ({ name, sdsConfig: { ads: {}, resourceApiVersion: 'V3' } });
  const tls = {
    '@type': `${EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext`,
    requireClientCertificate: true,
    commonTlsContext: {
      alpnProtocols: ['http/1.1'],
      tlsCertificateSdsSecretConfigs: [sds('default')],
      combinedValidationContext: {
        defaultValidationContext: { matchTypedSubjectAltNames: [{ sanType: 'URI', matcher: { prefix: 'spiffe://cluster.local/' } }] },
        validationContextSdsSecretConfig: sds('ROOTCA'),
      },
    },
  };
  const manager = {
    '@type': `${EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    statPrefix: 'inbound',
    routeConfig: {
      name: cluster,
      virtualHosts: [
        { name: `inbound|http|${port}`, domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster, timeout: '0s' } }] },
      ],
    },
    httpFilters: [{ name: 'envoy.filters.http.router', typedConfig: { '@type': `${EXTENSIONS}.filters.http.router.v3.Router` } }],
  };
  const listener = {
    name: `${bind}_${listenPort}`,
    address: { socketAddress: { address: bind, portValue: listenPort } },
    trafficDirection: 'INBOUND',
    listenerFilters: [
      {
        name: 'envoy.filters.listener.tls_inspector',
        typedConfig: { '@type': `${EXTENSIONS}.filters.listener.tls_inspector.v3.TlsInspector` },
      },
    ],
    filterChains: [
      {
        filterChainMatch: { transportProtocol: 'tls' },
        transportSocket: { name: 'envoy.transport_sockets.tls', typedConfig: tls },
        filters: [{ name: 'envoy.filters.network.http_connection_manager', typedConfig: manager }],
      },
    ],
  };
  const endpoint = { address: { pipe: { path: defaultEndpoint.replace('unix://', '') } } };
  const program = {
    name: cluster,
    type: 'STATIC',
    connectTimeout: '10s',
    loadAssignment: { clusterName: cluster, endpoints: [{ lbEndpoints: [{ endpoint }] }] },
  };
  return { [TYPE_URL.listener]: [{ name: listener.name, body: listener }], [TYPE_URL.cluster]: [{ name: cluster, body: program }] };
}
