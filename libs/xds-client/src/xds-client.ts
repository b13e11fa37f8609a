import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type ChannelCredentials, Client, type ClientDuplexStream, connectivityState, type StatusObject } from '@grpc/grpc-js';
import { backoffMs, type Clock, delay, errorMessage, type Logger, type Random, type Running, Watchable } from '@mizzen/core';
import { HEALTH_TYPE_URL, PUSH_ORDER, type XdsConsumer, type XdsRejection } from '@mizzen/xds-api';
import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '@mizzen/xds-api/envoy/service/discovery/v3/discovery';
import { DeltaState } from './delta-state.ts';

/**
 * connecting → connected (a first response came) → waiting (the stream ended; the next attempt follows) → connecting … → closed.
 * What the consumer holds stays in force in all of them.
 */
export type XdsClientState =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'connected'; readonly since: number }
  | { readonly kind: 'waiting'; readonly reason: string; readonly attempt: number }
  | { readonly kind: 'closed' };

export interface XdsClientOptions {
  /** `host:port` of the management server. */
  readonly address: string;
  readonly node: Node;
  readonly consumer: XdsConsumer;
  /** Called for every connection, so that each is made with the newest certificate. A rejection counts as a failed attempt. */
  readonly credentials: () => ChannelCredentials | Promise<ChannelCredentials>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Delay before the second attempt. Default 100. */
  readonly backoffBaseMs?: number;
  /** Longest delay between attempts. Default 1,000: below the time for which a control plane that starts waits for its proxies. */
  readonly backoffMaxMs?: number;
  /** Default 30,000: Istio's keepalive of its agent. */
  readonly keepaliveMs?: number;
  /** How long a connection may take to come about, TLS included. Default 5,000. */
  readonly connectTimeoutMs?: number;
  /** Told of every resource that the consumer refused. */
  readonly onRejected?: (typeUrl: string, rejections: readonly XdsRejection[]) => void;
}

export interface XdsClient extends Running {
  readonly state: Watchable<XdsClientState>;
  /** Connects and stays connected until closed. Returns at once. */
  start(): void;
  /** Tells the server how the workload is, now and with every new connection: `failure` says what is wrong with it. */
  reportHealth(failure: string | undefined): void;
  /** Ends the stream as one who leaves: the server takes the endpoint out at once. */
  close(): Promise<void>;
}

const PATH = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const KEEPALIVE_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;
const CLOSE_DEADLINE_MS = 1_000;
// Source: istio pkg/istio-agent/health (1.32): what Istio's agent sends, an HTTP status.
const UNHEALTHY = 500;

type Stream = ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

/** The incremental ADS client of a proxy. Does nothing until `start`. */
export function createXdsClient(options: XdsClientOptions): XdsClient {
  return new ReconnectingXdsClient(options);
}

class ReconnectingXdsClient implements XdsClient {
  readonly state = new Watchable<XdsClientState>({ kind: 'connecting' });
  readonly #options: XdsClientOptions;
  readonly #delta: DeltaState;
  readonly #closing = new AbortController();
  #stream: Stream | undefined;
  #work: Promise<void> | undefined;
  #health: DeltaDiscoveryRequest | undefined;

  constructor(options: XdsClientOptions) {
    this.#options = options;
    this.#delta = new DeltaState(options.node);
  }

  start(): void {
    this.#work ??= this.#run();
  }

  reportHealth(failure: string | undefined): void {
    const errorDetail = failure === undefined ? undefined : { code: UNHEALTHY, message: failure };
    this.#health = create(DeltaDiscoveryRequestSchema, { typeUrl: HEALTH_TYPE_URL, ...(errorDetail && { errorDetail }) });
    this.#send([this.#health]);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#stream?.end();
    const deadline = delay(this.#options.clock, CLOSE_DEADLINE_MS).then(() => this.#stream?.cancel());
    await Promise.race([this.#work, deadline]);
    await this.#work;
    this.state.set({ kind: 'closed' });
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    const subscriptions = this.#options.consumer.subscriptions((subscription) => this.#send(this.#delta.subscribe(subscription)));
    const order = (typeUrl: string): number => (PUSH_ORDER as readonly string[]).indexOf(typeUrl);
    for (const subscription of [...subscriptions.current].sort((a, b) => order(a.typeUrl) - order(b.typeUrl)))
      this.#delta.subscribe(subscription);
    try {
      for (let attempt = 0; !signal.aborted; attempt++) {
        const end = await this.#connect();
        if (signal.aborted) return;
        if (end.wasConnected) attempt = 0;
        await this.#wait(end.reason, attempt);
      }
    } finally {
      subscriptions.stop();
    }
  }

  async #wait(reason: string, attempt: number): Promise<void> {
    const { clock, random, logger, address, backoffBaseMs = 100, backoffMaxMs = 1_000 } = this.#options;
    const before = this.state.value;
    this.state.set({ kind: 'waiting', reason, attempt });
    const isNews = before.kind === 'connected' || attempt === 0;
    logger[isNews ? 'warn' : 'debug']({ address, reason }, 'xds stream ended; trying again');
    await delay(clock, backoffMs(attempt, { baseMs: backoffBaseMs, maxMs: backoffMaxMs, random }), this.#closing.signal);
  }

  /** One connection, from its making to its end. Never rejects. */
  async #connect(): Promise<{ wasConnected: boolean; reason: string }> {
    // A failed attempt keeps the state at `waiting` for those who look at it, until the server has answered.
    if (this.state.value.kind === 'connected') this.state.set({ kind: 'connecting' });
    let client: Client;
    try {
      client = new Client(this.#options.address, await this.#credentials(), {
        'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
        'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
        'grpc.keepalive_time_ms': this.#options.keepaliveMs ?? 30_000,
        'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
        // A connection of its own: one that is shared would show an old certificate and share another client's back-off.
        'grpc.use_local_subchannel_pool': 1,
        'grpc.enable_retries': 0,
      });
    } catch (thrown) {
      return { wasConnected: false, reason: errorMessage(thrown) };
    }
    if (this.#closing.signal.aborted) {
      client.close();
      return { wasConnected: false, reason: 'closed' };
    }
    try {
      return await this.#drive(client);
    } finally {
      this.#stream = undefined;
      client.close();
    }
  }

  // Waiting for an identity that never comes must not keep `close` waiting.
  #credentials(): Promise<ChannelCredentials> {
    const { signal } = this.#closing;
    return new Promise((resolve, reject) => {
      const aborted = (): void => reject(new Error('closed'));
      signal.addEventListener('abort', aborted);
      Promise.resolve()
        .then(() => this.#options.credentials())
        .then(resolve, reject)
        .finally(() => signal.removeEventListener('abort', aborted));
    });
  }

  #drive(client: Client): Promise<{ wasConnected: boolean; reason: string }> {
    const { clock, connectTimeoutMs = CONNECT_TIMEOUT_MS } = this.#options;
    return new Promise((resolve) => {
      const stream = openStream(client);
      let wasConnected = false;
      this.#stream = stream;
      // grpc-js sets no limit: a service address that leads to a pod just gone would keep us for as long as the kernel repeats its SYN.
      const connecting = clock.after(connectTimeoutMs, () => {
        if (client.getChannel().getConnectivityState(false) === connectivityState.READY) return;
        resolve({ wasConnected, reason: `no connection within ${connectTimeoutMs} ms` });
        stream.cancel();
      });
      stream.on('data', (response: DeltaDiscoveryResponse) => {
        if (!wasConnected) this.state.set({ kind: 'connected', since: this.#options.clock.now() });
        wasConnected = true;
        this.#receive(response);
      });
      stream.on('error', () => {});
      stream.on('status', (status: StatusObject) => {
        connecting.cancel();
        resolve({ wasConnected, reason: status.details || `gRPC status ${status.code}` });
      });
      this.#send([...this.#delta.open(), ...(this.#health ? [this.#health] : [])]);
    });
  }

  #receive(response: DeltaDiscoveryResponse): void {
    const { answer, rejections } = this.#delta.receive(response, this.#options.consumer);
    if (rejections.length > 0) {
      this.#options.logger.warn({ typeUrl: response.typeUrl, rejections }, 'configuration rejected');
      this.#options.onRejected?.(response.typeUrl, rejections);
    }
    this.#send([answer]);
  }

  #send(requests: readonly DeltaDiscoveryRequest[]): void {
    if (this.#closing.signal.aborted || !this.#stream) return;
    for (const request of requests) this.#stream.write(request);
  }
}

function openStream(client: Client): Stream {
  return client.makeBidiStreamRequest(
    PATH,
    (request: DeltaDiscoveryRequest) => Buffer.from(toBinary(DeltaDiscoveryRequestSchema, request)),
    (bytes: Buffer) => fromBinary(DeltaDiscoveryResponseSchema, bytes),
  );
}
