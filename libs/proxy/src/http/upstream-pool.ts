import type { Clock } from '@mizzen/core';
import type { PeerMetadata } from '@mizzen/telemetry';
import type {
  ConnectHandler,
  ConnectionNeeds,
  EndpointPool,
  EndpointStats,
  SocketAddress,
  UpstreamCluster,
  UpstreamConnecting,
  UpstreamEndpoint,
  UpstreamProtocol,
} from '../contract.ts';
import { ClientConnection } from '../http1/client-connection.ts';
import { Http1Pool } from '../http1/pool.ts';
import { Http2ClientConnection } from '../http2/client-connection.ts';
import { MultiplexPool } from '../http2/pool.ts';
import type { RequestHead, ResponseReceiver } from './stream.ts';
import type { TimerWheel } from './timer-wheel.ts';

/** A request that waits for a connection; `cancel` gives it up. */
export interface PendingRequest {
  cancel(): void;
}

/** The connections to one endpoint that requests are sent over. */
export interface HttpPool extends EndpointPool {
  /** `receiver.onReady` is called with a stream, at once where a connection has room; or `onUpstreamReset`. */
  request(receiver: ResponseReceiver): PendingRequest | undefined;
}

/** What pools need of the process. */
export interface PoolRuntime {
  readonly context: { readonly clock: Clock };
  readonly wheel: TimerWheel;
}

type Protocol = RequestHead['protocol'];

/** What chooses the pool of an endpoint. */
export interface PoolChoice {
  /** The version of HTTP that the client speaks: it counts where the cluster says so. */
  readonly downstreamProtocol: Protocol;
  /** undefined: any connection will do. */
  readonly needs: ConnectionNeeds | undefined;
}

/** The pool of an endpoint for a request; made on first use, as the cluster says. */
export function poolOf(endpoint: UpstreamEndpoint, runtime: PoolRuntime, { downstreamProtocol, needs }: PoolChoice): HttpPool {
  const pools = poolsOf(endpoint, runtime);
  const { upstreamProtocol } = endpoint.cluster;
  return needs === undefined
    ? pools.for(upstreamProtocol, downstreamProtocol)
    : pools.with(needs).for(upstreamProtocol, downstreamProtocol);
}

function poolsOf(endpoint: UpstreamEndpoint, runtime: PoolRuntime): EndpointPools {
  if (endpoint.ordinary !== undefined) return poolsOf(endpoint.ordinary, runtime).ofPriority(endpoint);
  const { pool } = endpoint;
  if (pool instanceof EndpointPools) return pool;
  const pools = new EndpointPools(endpoint, runtime);
  endpoint.pool = pools;
  return pools;
}

const HTTP2_ALPN: readonly string[] = ['h2'];
const ANY_ALPN: readonly string[] = ['h2', 'http/1.1'];

/** One pool per version of HTTP that the endpoint is spoken to; nearly always there is one. */
class EndpointPools implements EndpointPool {
  readonly #endpoint: UpstreamEndpoint;
  readonly #runtime: PoolRuntime;
  #http1: HttpPool | undefined;
  #http2: HttpPool | undefined;
  #auto: HttpPool | undefined;
  /** Of connections that only some requests can use, by the keys of their needs. */
  #special: Map<string, EndpointPools> | undefined;
  #high: EndpointPools | undefined;

  constructor(endpoint: UpstreamEndpoint, runtime: PoolRuntime) {
    this.#endpoint = endpoint;
    this.#runtime = runtime;
  }

  /** Those of the same endpoint under another priority. */
  ofPriority(endpoint: UpstreamEndpoint): EndpointPools {
    this.#high ??= new EndpointPools(endpoint, this.#runtime);
    return this.#high;
  }

  with(needs: ConnectionNeeds): EndpointPools {
    this.#special ??= new Map();
    const special = this.#special;
    const known = special.get(needs.key);
    if (known !== undefined) return known;
    const onUnused = (): void => {
      if (special.get(needs.key) !== pools) return;
      special.delete(needs.key);
      pools.drain();
    };
    const pools: EndpointPools = new EndpointPools(new SpecialEndpoint(this.#endpoint, needs, onUnused), this.#runtime);
    special.set(needs.key, pools);
    return pools;
  }

  for(upstream: UpstreamProtocol, downstream: Protocol): HttpPool {
    if (upstream === 'http2' || (upstream === 'downstream' && downstream === 'HTTP/2')) {
      this.#http2 ??= this.#multiplex(HTTP2_ALPN);
      return this.#http2;
    }
    if (upstream === 'auto') {
      this.#auto ??= this.#multiplex(ANY_ALPN);
      return this.#auto;
    }
    this.#http1 ??= new Http1Pool(this.#endpoint, { clock: this.#runtime.context.clock, wheel: this.#runtime.wheel });
    return this.#http1;
  }

  #multiplex(alpn: readonly string[]): HttpPool {
    const { cluster } = this.#endpoint;
    const { wheel, context } = this.#runtime;
    const isOpenToChoice = alpn === ANY_ALPN;
    return new MultiplexPool(this.#endpoint, {
      clock: context.clock,
      wheel,
      alpn,
      expectedStreams: cluster.http2.maxConcurrentStreams,
      open(socket, tls, owner) {
        if (isOpenToChoice && tls?.alpn !== 'h2') {
          cluster.stats.upstreamCxHttp1Total++;
          return new ClientConnection(socket, { tls, owner, wheel });
        }
        cluster.stats.upstreamCxHttp2Total++;
        const connection = new Http2ClientConnection(socket, { tls, owner, codec: cluster.http2, wheel });
        connection.start();
        return connection;
      },
    });
  }

  drain(): void {
    this.#http1?.drain();
    this.#http2?.drain();
    this.#auto?.drain();
    this.#high?.drain();
    for (const pools of this.#special?.values() ?? []) pools.drain();
  }
}

/** An endpoint whose connections are all made with the same needs. Tells when there is none any more: needs come and go with clients. */
class SpecialEndpoint implements UpstreamEndpoint {
  pool: EndpointPool | undefined = undefined;
  readonly #endpoint: UpstreamEndpoint;
  readonly #needs: ConnectionNeeds;
  readonly #onUnused: () => void;
  #connections = 0;

  constructor(endpoint: UpstreamEndpoint, needs: ConnectionNeeds, onUnused: () => void) {
    this.#endpoint = endpoint;
    this.#needs = needs;
    this.#onUnused = onUnused;
    // The request that it is made for may be refused before it asks for a connection.
    this.#forgetUnused();
  }

  get address(): SocketAddress {
    return this.#endpoint.address;
  }

  get addressText(): string {
    return this.#endpoint.addressText;
  }

  get hostname(): string {
    return this.#endpoint.hostname;
  }

  get cluster(): UpstreamCluster {
    return this.#endpoint.cluster;
  }

  get peer(): PeerMetadata | undefined {
    return this.#endpoint.peer;
  }

  get stats(): EndpointStats {
    return this.#endpoint.stats;
  }

  get activeRequests(): number {
    return this.#endpoint.activeRequests;
  }

  set activeRequests(count: number) {
    this.#endpoint.activeRequests = count;
  }

  connect(handler: ConnectHandler): UpstreamConnecting {
    this.#connections++;
    return this.#endpoint.connect({
      ...handler,
      needs: this.#needs,
      onConnected: (socket, tls) => {
        socket.once('close', () => this.#left());
        handler.onConnected(socket, tls);
      },
      onFailed: (failure) => {
        handler.onFailed(failure);
        this.#left();
      },
    });
  }

  #left(): void {
    this.#connections--;
    this.#forgetUnused();
  }

  /** Whoever waits has asked for another connection by then. */
  #forgetUnused(): void {
    queueMicrotask(() => {
      if (this.#connections === 0) this.#onUnused();
    });
  }

  onResponse(status: number): void {
    this.#endpoint.onResponse(status);
  }

  onFailure(): void {
    this.#endpoint.onFailure();
  }
}
