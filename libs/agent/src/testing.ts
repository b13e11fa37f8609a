import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { type Clock, silentLogger, systemClock, type Timer, Watchable } from '@mizzen/core';
import { TYPE_URL, type XdsRejection, type XdsSubscription, type XdsUpdate } from '@mizzen/xds-api';
import type { Bootstrap } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import type { Secret } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
} from '@mizzen/xds-api/envoy/service/discovery/v3/discovery';
import { type NameTable, NameTableSchema } from '@mizzen/xds-api/istio/networking/nds/v1/nds';
import type { AgentOptions, ManagedProxy } from './options.ts';

/** A proxy that writes down what it is told, in order, and does what the spec says. */
export class RecordingProxy implements ManagedProxy {
  readonly ready = new Watchable(false);
  readonly events: string[] = [];
  readonly secrets = new Map<string, Secret>();
  readonly updates: XdsUpdate[] = [];
  bootstrap: Bootstrap | undefined;
  /** Called for every update: what it rejects. */
  reject: (update: XdsUpdate) => readonly XdsRejection[] = () => [];
  /** What `drain` resolves with. */
  drained: Promise<void> = Promise.resolve();
  wanted: XdsSubscription[] = [{ typeUrl: TYPE_URL.listener, names: '*' }];
  #onChange: (subscription: XdsSubscription) => void = () => undefined;

  async start(): Promise<void> {
    this.events.push('start');
  }

  setSecret(name: string, secret: Secret): void {
    this.secrets.set(name, secret);
  }

  apply(update: XdsUpdate): readonly XdsRejection[] {
    this.updates.push(update);
    const rejections = this.reject(update);
    if (update.typeUrl === TYPE_URL.listener && rejections.length === 0) this.ready.set(true);
    return rejections;
  }

  subscriptions(onChange: (subscription: XdsSubscription) => void): { readonly current: readonly XdsSubscription[]; stop(): void } {
    this.#onChange = onChange;
    return { current: this.wanted, stop: () => undefined };
  }

  /** Wants something else from now on. */
  want(subscription: XdsSubscription): void {
    this.#onChange(subscription);
  }

  drain({ inboundOnly }: { inboundOnly: boolean }): Promise<void> {
    this.events.push(inboundOnly ? 'drain inbound' : 'drain');
    return this.drained;
  }

  async close(): Promise<void> {
    this.events.push('close');
  }
}

/** A delta ADS server that answers the first request of each stream with the listeners that `listenersFor` names, and one for names with `names`. */
export interface ScriptedControlPlane {
  readonly address: string;
  /** The node of each stream, in their order. */
  readonly nodes: Watchable<readonly Node[]>;
  /** Streams that their client ended without an error. */
  readonly gracefulEnds: Watchable<number>;
  close(): void;
}

type AdsStream = ServerDuplexStream<DeltaDiscoveryRequest, Buffer>;

export async function startScriptedControlPlane(
  listenersFor: (node: Node) => readonly string[],
  names: Promise<NameTable> = new Promise(() => undefined),
): Promise<ScriptedControlPlane> {
  const server = new Server();
  const nodes = new Watchable<readonly Node[]>([]);
  const gracefulEnds = new Watchable(0);
  const serve = (stream: AdsStream): void => {
    stream.on('error', () => undefined);
    stream.on('end', () => {
      gracefulEnds.set(gracefulEnds.value + 1);
      stream.end();
    });
    stream.on('data', (request: DeltaDiscoveryRequest) => {
      if (request.typeUrl === TYPE_URL.nameTable && request.responseNonce === '')
        void names.then((table) => stream.write(response(TYPE_URL.nameTable, [{ name: '', value: toBinary(NameTableSchema, table) }])));
      if (!request.node) return;
      nodes.set([...nodes.value, request.node]);
      stream.write(listenerResponse(listenersFor(request.node)));
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
  server.addService({ deltaAggregatedResources: definition }, { deltaAggregatedResources: serve });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  return { address: `127.0.0.1:${port}`, nodes, gracefulEnds, close: () => server.forceShutdown() };
}

function listenerResponse(names: readonly string[]): Buffer {
  return response(
    TYPE_URL.listener,
    names.map((name) => ({ name, value: new Uint8Array() })),
  );
}

function response(typeUrl: string, bodies: readonly { name: string; value: Uint8Array }[]): Buffer {
  const resources = bodies.map(({ name, value }) => ({ name, version: '1', resource: { typeUrl, value } }));
  const message = create(DeltaDiscoveryResponseSchema, { typeUrl, nonce: '1', systemVersionInfo: '1', resources });
  return Buffer.from(toBinary(DeltaDiscoveryResponseSchema, message));
}

/** Time that stands still until `advance`. */
export class ManualClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ at: number; callback: () => void }>();

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  after(delayMs: number, callback: () => void): Timer {
    const timer = { at: this.#now + delayMs, callback };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  /** How many timers wait. */
  get waiting(): number {
    return this.#timers.size;
  }

  advance(byMs: number): void {
    this.#now += byMs;
    for (const timer of [...this.#timers].sort((a, b) => a.at - b.at)) {
      if (timer.at > this.#now || !this.#timers.delete(timer)) continue;
      timer.callback();
    }
  }
}

/** Options of an agent without identity, program or HTTP proxy port; the spec says what differs. */
export function agentOptions(options: Partial<AgentOptions> & Pick<AgentOptions, 'createProxy' | 'xdsAddress'>): AgentOptions {
  return {
    proxyType: 'sidecar',
    workload: {
      namespace: 'default',
      serviceAccount: 'reviews',
      name: 'reviews-v1',
      instance: 'reviews-v1-1',
      labels: { app: 'reviews', version: 'v1' },
      workloadGroup: undefined,
    },
    trustDomain: 'cluster.local',
    identity: undefined,
    telemetryAddress: undefined,
    inbound: [],
    httpProxyPort: undefined,
    portMap: new Map(),
    adminPort: 0,
    statusPort: 0,
    appReadyTimeoutMs: 10_000,
    drainDelayMs: 0,
    terminationDrainDurationMs: 5000,
    onQuit: () => undefined,
    clock: systemClock,
    random: Math.random,
    logger: silentLogger,
    ...options,
  };
}
