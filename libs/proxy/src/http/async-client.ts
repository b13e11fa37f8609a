import type { ProxyContext, UpstreamEndpoint } from '../contract.ts';
import { connectionNeeds } from './connection-needs.ts';
import { HeaderMap } from './headers.ts';
import type { RequestHead, ResetReason, ResponseHead } from './stream.ts';
import { Deadline, type TimerWheel } from './timer-wheel.ts';
import { type AttemptOwner, UpstreamAttempt } from './upstream-attempt.ts';

/** What calls of the proxy itself need of the process. */
export interface CallRuntime {
  readonly context: Pick<ProxyContext, 'clock' | 'random' | 'cluster'>;
  readonly wheel: TimerWheel;
}

/** A request that the proxy makes itself, with its whole body. */
export interface AsyncRequest {
  readonly cluster: string;
  readonly method: string;
  /** With query. */
  readonly path: string;
  readonly authority: string;
  readonly headers: HeaderMap;
  readonly body: Buffer;
  /** Until the answer is complete. 0: without end. */
  readonly timeoutMs: number;
  /** gRPC: the cluster is spoken to by HTTP/2 where it speaks as the client does. */
  readonly isHttp2?: boolean;
  /** Says `content-length: 0` where there is no body, whatever the method. */
  readonly saysEmptyBody?: boolean;
}

export interface AsyncResponse {
  readonly status: number;
  readonly headers: HeaderMap;
  readonly body: Buffer;
  readonly trailers: HeaderMap | undefined;
}

/** Why no complete answer came. */
export type AsyncFailure = 'no-cluster' | 'no-endpoint' | 'overflow' | 'timeout' | 'too-large' | ResetReason;

/** One of the two is called once, never before `sendAsyncRequest` has returned. */
export interface AsyncCallbacks {
  onResponse(response: AsyncResponse): void;
  onFailure(failure: AsyncFailure, details: string): void;
}

export interface AsyncCall {
  /** Gives the call up; no callback follows. */
  cancel(): void;
}

const MAX_RESPONSE_BYTES = 4 * 1024 * 1024;

/**
 * Sends a request of the proxy itself (keys, authorization, rate limits) to a cluster, over the cluster's pools and within its limits.
 * Never throws. An answer of more than 4 MiB is a failure.
 */
export function sendAsyncRequest(runtime: CallRuntime, request: AsyncRequest, callbacks: AsyncCallbacks): AsyncCall {
  const exchange = new AsyncExchange(runtime, request, callbacks);
  exchange.start();
  return exchange;
}

class AsyncExchange implements AttemptOwner, AsyncCall {
  readonly #runtime: CallRuntime;
  readonly #request: AsyncRequest;
  readonly #callbacks: AsyncCallbacks;
  readonly #deadline: Deadline;
  #attempt: UpstreamAttempt | undefined;
  #head: ResponseHead | undefined;
  #trailers: HeaderMap | undefined;
  #body: Buffer[] = [];
  #bodyBytes = 0;
  #isOver = false;
  #isStarting = true;

  constructor(runtime: CallRuntime, request: AsyncRequest, callbacks: AsyncCallbacks) {
    this.#runtime = runtime;
    this.#request = request;
    this.#callbacks = callbacks;
    this.#deadline = new Deadline(runtime.wheel, () => this.#abort('timeout', 'timeout'));
  }

  start(): void {
    this.#send();
    this.#isStarting = false;
  }

  #send(): void {
    const { cluster: name, timeoutMs } = this.#request;
    const cluster = this.#runtime.context.cluster(name);
    if (cluster === undefined) {
      this.#fail('no-cluster', `cluster ${name} is not known`);
      return;
    }
    if (cluster.active.requests >= cluster.limits.maxRequests) {
      this.#fail('overflow', 'overflow');
      return;
    }
    const endpoint: UpstreamEndpoint | undefined = cluster.chooseEndpoint({
      hash: undefined,
      isExcluded: undefined,
      originalDestination: undefined,
      header: undefined,
    });
    if (endpoint === undefined) {
      this.#fail('no-endpoint', 'no healthy upstream');
      return;
    }
    // As Envoy's own requests have them. Source: envoy Http::AsyncStreamImpl (1.40).
    this.#request.headers.set('x-envoy-internal', 'true');
    if (timeoutMs > 0) this.#request.headers.set('x-envoy-expected-rq-timeout-ms', String(Math.ceil(timeoutMs)));
    this.#deadline.arm(timeoutMs);
    this.#attempt = new UpstreamAttempt(endpoint, this, this.#runtime);
    const { authority, headers, isHttp2 } = this.#request;
    const needs = connectionNeeds(cluster, { authority, header: (name) => headers.get(name) });
    this.#attempt.start(undefined, { downstreamProtocol: isHttp2 ? 'HTTP/2' : 'HTTP/1.1', needs });
  }

  cancel(): void {
    if (this.#isOver) return;
    this.#end();
    this.#attempt?.cancel();
  }

  #end(): void {
    this.#isOver = true;
    this.#deadline.cancel();
  }

  #abort(failure: AsyncFailure, details: string): void {
    if (this.#isOver) return;
    this.cancel();
    this.#callbacks.onFailure(failure, details);
  }

  // A pool may refuse at once; whoever calls is not told before it has the call in its hands.
  #fail(failure: AsyncFailure, details: string): void {
    if (this.#isOver) return;
    if (!this.#isStarting) {
      this.#end();
      this.#callbacks.onFailure(failure, details);
      return;
    }
    queueMicrotask(() => this.#fail(failure, details));
  }

  onAttemptReady({ stream, endpoint }: UpstreamAttempt): void {
    if (stream === undefined) return;
    const { method, path, authority, headers, body, isHttp2 = false, saysEmptyBody = false } = this.#request;
    const hasBody = body.length > 0;
    const head: RequestHead = {
      protocol: isHttp2 ? 'HTTP/2' : 'HTTP/1.1',
      method,
      path,
      authority: authority === '' ? endpoint.addressText : authority,
      scheme: stream.tls === undefined ? 'http' : 'https',
      headers,
      hasBody,
      // gRPC says no length; a POST without a body says that it has none (RFC 9110 §8.6).
      contentLength: !isHttp2 && (hasBody || saysEmptyBody || method === 'POST' || method === 'PUT') ? body.length : -1,
      upgrade: '',
      expectsContinue: false,
      wireBytes: 0,
    };
    stream.sendHead(head, '');
    if (hasBody) stream.sendData(body);
    stream.end();
    stream.flush();
  }

  onAttemptContinue(): void {}

  onAttemptHead(_attempt: UpstreamAttempt, head: ResponseHead): void {
    this.#head = head;
  }

  onAttemptData(chunk: Buffer): void {
    if (this.#isOver) return;
    this.#bodyBytes += chunk.length;
    if (this.#bodyBytes > MAX_RESPONSE_BYTES) this.#abort('too-large', `the answer is larger than ${MAX_RESPONSE_BYTES} bytes`);
    else this.#body.push(chunk);
  }

  onAttemptTrailers(trailers: HeaderMap): void {
    this.#trailers = trailers;
  }

  onAttemptEnd(): void {
    if (this.#isOver) return;
    this.#end();
    const { status = 0, headers = new HeaderMap() } = this.#head ?? {};
    this.#callbacks.onResponse({ status, headers, body: Buffer.concat(this.#body), trailers: this.#trailers });
  }

  onAttemptReadEnd(): void {}
  onAttemptWritable(): void {}

  onAttemptReset(_attempt: UpstreamAttempt, reason: ResetReason, transportFailure: string): void {
    this.#fail(reason, transportFailure === '' ? reason : transportFailure);
  }

  onAttemptTimeout(): void {
    this.#abort('timeout', 'timeout');
  }
}
