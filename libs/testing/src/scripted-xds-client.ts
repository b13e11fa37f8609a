import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { type ChannelCredentials, Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { xdsRegistry } from '@mizzen/xds-api';
import { NodeSchema } from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from '@mizzen/xds-api/envoy/service/discovery/v3/discovery';

const SERVICE = '/envoy.service.discovery.v3.AggregatedDiscoveryService';

/** The parts of a node that tests say; the rest is as Mizzen's agent sends it. */
export interface ScriptedNode {
  readonly id: string;
  readonly cluster?: string;
  readonly userAgentName?: string;
  readonly metadata?: Record<string, unknown>;
}

export interface ScriptedClientOptions {
  /** `host:port` of the server. */
  readonly address: string;
  readonly node: ScriptedNode;
  readonly channelCredentials?: ChannelCredentials;
  /** How long an expected response may take. Default 20,000. */
  readonly timeoutMs?: number;
}

/** One response of either protocol, reduced to what tests look at. */
export interface ScriptedResponse {
  readonly typeUrl: string;
  readonly version: string;
  readonly nonce: string;
  /** Names of the resources, as they came. */
  readonly names: readonly string[];
  /** Delta only. */
  readonly removed: readonly string[];
  /** Decoded messages by name. */
  readonly resources: ReadonlyMap<string, unknown>;
  readonly versions: Readonly<Record<string, string>>;
}

/**
 * An xDS client that does what a test says and nothing else: no acknowledgement by itself. Source of the idea: Istio's AdsTest
 * (pilot/pkg/xds/adstest.go, 1.32).
 */
abstract class ScriptedStream<Request, Response> {
  protected readonly stream: ClientDuplexStream<Request, Response>;
  readonly #client: Client;
  readonly #timeoutMs: number;
  readonly #responses: ScriptedResponse[] = [];
  #waiting: (() => void) | undefined;
  #end: { code: number; details: string } | undefined;

  constructor(
    options: ScriptedClientOptions,
    open: (client: Client) => ClientDuplexStream<Request, Response>,
    read: (response: Response) => ScriptedResponse,
  ) {
    this.#timeoutMs = options.timeoutMs ?? 20_000;
    this.#client = new Client(options.address, options.channelCredentials ?? credentials.createInsecure(), {
      'grpc.max_receive_message_length': -1,
      'grpc.use_local_subchannel_pool': 1,
    });
    this.stream = open(this.#client);
    this.stream.on('data', (response: Response) => {
      this.#responses.push(read(response));
      this.#waiting?.();
    });
    this.stream.on('error', () => {});
    this.stream.on('status', (end: { code: number; details: string }) => {
      this.#end = { code: end.code, details: end.details };
      this.#waiting?.();
    });
  }

  /** The next response, which must be of this type. Responses are taken in the order in which they came. */
  async expectResponse(typeUrl: string): Promise<ScriptedResponse> {
    await this.#untilSomething(`a response of ${typeUrl}`);
    const response = this.#responses.shift();
    if (!response) throw new Error(`the stream ended instead of a response of ${typeUrl}: ${JSON.stringify(this.#end)}`);
    if (response.typeUrl !== typeUrl) throw new Error(`expected ${typeUrl}, got ${response.typeUrl} with ${response.names.join(', ')}`);
    return response;
  }

  /** The stream's end: gRPC status and message. */
  async expectEnd(): Promise<{ code: number; details: string }> {
    while (!this.#end) {
      await this.#untilSomething('the end of the stream');
      const response = this.#responses.shift();
      if (response) throw new Error(`expected the end, got ${response.typeUrl} with ${response.names.join(', ')}`);
    }
    return this.#end;
  }

  /**
   * Nothing has come. `barrier` makes the server answer something else, so that what it had to say before has come by then.
   */
  async expectNone(barrier: () => Promise<void>): Promise<void> {
    await barrier();
    const [first] = this.#responses;
    if (first) throw new Error(`expected nothing, got ${first.typeUrl} with ${first.names.join(', ')}`);
  }

  /** Stops reading, as a client that hangs; `resume` reads on. */
  pause(): void {
    this.stream.pause();
  }

  resume(): void {
    this.stream.resume();
  }

  /** Ends the stream as an agent does that leaves. */
  async end(): Promise<void> {
    this.stream.end();
    await this.expectEnd();
    this.#client.close();
  }

  /** Drops the stream as a process does that was killed. */
  drop(): void {
    this.stream.cancel();
    this.#client.close();
  }

  #untilSomething(what: string): Promise<void> {
    if (this.#responses.length > 0 || this.#end) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting = undefined;
        reject(new Error(`timed out after ${this.#timeoutMs} ms waiting for ${what}`));
      }, this.#timeoutMs);
      this.#waiting = () => {
        this.#waiting = undefined;
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** State of the world. */
export class ScriptedSotwClient extends ScriptedStream<DiscoveryRequest, DiscoveryResponse> {
  #node: ScriptedNode | undefined;

  constructor(options: ScriptedClientOptions) {
    super(
      options,
      (client) =>
        client.makeBidiStreamRequest(
          `${SERVICE}/StreamAggregatedResources`,
          (request: DiscoveryRequest) => Buffer.from(toBinary(DiscoveryRequestSchema, request)),
          (bytes: Buffer) => fromBinary(DiscoveryResponseSchema, bytes),
        ),
      readSotw,
    );
    this.#node = options.node;
  }

  /** Asks for a type; without names all of it. */
  request(typeUrl: string, names: readonly string[] = []): void {
    this.#send({ typeUrl, resourceNames: [...names] });
  }

  ack(response: ScriptedResponse, names: readonly string[] = []): void {
    this.#send({ typeUrl: response.typeUrl, resourceNames: [...names], versionInfo: response.version, responseNonce: response.nonce });
  }

  nack(response: ScriptedResponse, reason: string, names: readonly string[] = []): void {
    this.#send({
      typeUrl: response.typeUrl,
      resourceNames: [...names],
      responseNonce: response.nonce,
      errorDetail: { code: 3, message: reason, details: [] },
    });
  }

  #send(fields: Record<string, unknown>): void {
    this.stream.write(create(DiscoveryRequestSchema, { ...fields, ...takeNode(this.#node) }));
    this.#node = undefined;
  }
}

/** Incremental. */
export class ScriptedDeltaClient extends ScriptedStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> {
  #node: ScriptedNode | undefined;

  constructor(options: ScriptedClientOptions) {
    super(
      options,
      (client) =>
        client.makeBidiStreamRequest(
          `${SERVICE}/DeltaAggregatedResources`,
          (request: DeltaDiscoveryRequest) => Buffer.from(toBinary(DeltaDiscoveryRequestSchema, request)),
          (bytes: Buffer) => fromBinary(DeltaDiscoveryResponseSchema, bytes),
        ),
      readDelta,
    );
    this.#node = options.node;
  }

  request(
    typeUrl: string,
    change: { subscribe?: readonly string[]; unsubscribe?: readonly string[]; holds?: Record<string, string> } = {},
  ): void {
    this.#send({
      typeUrl,
      resourceNamesSubscribe: [...(change.subscribe ?? [])],
      resourceNamesUnsubscribe: [...(change.unsubscribe ?? [])],
      initialResourceVersions: change.holds ?? {},
    });
  }

  ack(response: ScriptedResponse): void {
    this.#send({ typeUrl: response.typeUrl, responseNonce: response.nonce });
  }

  nack(response: ScriptedResponse, reason: string): void {
    this.#send({ typeUrl: response.typeUrl, responseNonce: response.nonce, errorDetail: { code: 3, message: reason, details: [] } });
  }

  #send(fields: Record<string, unknown>): void {
    this.stream.write(create(DeltaDiscoveryRequestSchema, { ...fields, ...takeNode(this.#node) }));
    this.#node = undefined;
  }
}

// Only the first request of a stream carries the node.
function takeNode(node: ScriptedNode | undefined): Record<string, unknown> {
  if (!node) return {};
  return {
    node: create(NodeSchema, {
      id: node.id,
      cluster: node.cluster ?? '',
      userAgentName: node.userAgentName ?? 'mizzen',
      metadata: (node.metadata ?? {}) as never,
    }),
  };
}

function readSotw(response: DiscoveryResponse): ScriptedResponse {
  const resources = new Map(
    response.resources.map((any) => {
      const message = anyUnpack(any, xdsRegistry);
      return [nameOf(message), message] as const;
    }),
  );
  const { typeUrl, versionInfo, nonce } = response;
  return { typeUrl, version: versionInfo, nonce, names: [...resources.keys()], removed: [], resources, versions: {} };
}

function readDelta(response: DeltaDiscoveryResponse): ScriptedResponse {
  return {
    typeUrl: response.typeUrl,
    version: response.systemVersionInfo,
    nonce: response.nonce,
    names: response.resources.map(({ name }) => name),
    removed: response.removedResources,
    resources: new Map(response.resources.map(({ name, resource }) => [name, resource && anyUnpack(resource, xdsRegistry)])),
    versions: Object.fromEntries(response.resources.map(({ name, version }) => [name, version])),
  };
}

function nameOf(message: unknown): string {
  const named = message as { name?: string; clusterName?: string } | undefined;
  return named?.name ?? named?.clusterName ?? '';
}
