import type { Clock } from '@mizzen/core';
import type { EndpointPool, UpstreamEndpoint, UpstreamProtocol } from '../contract.ts';
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

/** The pool of an endpoint for a request that came by `downstreamProtocol`; made on first use, as the cluster says. */
export function poolOf(endpoint: UpstreamEndpoint, runtime: PoolRuntime, downstreamProtocol: Protocol): HttpPool {
  const { pool } = endpoint;
  const pools = pool instanceof EndpointPools ? pool : new EndpointPools(endpoint, runtime);
  return pools.for(endpoint.cluster.upstreamProtocol, downstreamProtocol);
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

  constructor(endpoint: UpstreamEndpoint, runtime: PoolRuntime) {
    this.#endpoint = endpoint;
    this.#runtime = runtime;
    endpoint.pool = this;
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
          return new ClientConnection(socket, { tls, owner });
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
  }
}
