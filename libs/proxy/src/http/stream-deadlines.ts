import type { HttpStream } from './http-stream.ts';
import { Deadline } from './timer-wheel.ts';

/** What ends an exchange that takes too long: idleness, the request's time, the whole stream's. One object and one timer for most streams. */
export class StreamDeadlines {
  readonly #stream: HttpStream;
  #idle: Deadline | undefined;
  #idleMs: number;
  #request: Deadline | undefined;
  #maxDuration: Deadline | undefined;

  constructor(stream: HttpStream) {
    this.#stream = stream;
    this.#idleMs = stream.runtime.config.streamIdleTimeoutMs;
    if (this.#idleMs > 0) this.setIdleMs(this.#idleMs);
  }

  /** Something moved. */
  touch(): void {
    this.#idle?.arm(this.#idleMs);
  }

  /** The route's own idle timeout; 0: none. */
  setIdleMs(idleMs: number): void {
    this.#idleMs = idleMs;
    this.#idle ??= new Deadline(this.#stream.runtime.wheel, () => this.#onIdle());
    this.#idle.arm(idleMs);
  }

  /** Until the request is there as a whole. */
  armRequest(): void {
    const { config, wheel } = this.#stream.runtime;
    if (config.requestTimeoutMs <= 0) return;
    this.#request = new Deadline(wheel, () => this.#onRequestTimeout());
    this.#request.arm(config.requestTimeoutMs);
  }

  cancelRequest(): void {
    this.#request?.cancel();
  }

  armMaxDuration(maxMs: number): void {
    this.#maxDuration ??= new Deadline(this.#stream.runtime.wheel, () => this.#onMaxDuration());
    this.#maxDuration.arm(maxMs);
  }

  cancel(): void {
    this.#idle?.cancel();
    this.#request?.cancel();
    this.#maxDuration?.cancel();
  }

  #onIdle(): void {
    const stream = this.#stream;
    stream.runtime.stats.downstreamRqIdleTimeout++;
    stream.giveUp({
      status: stream.isRequestReceived ? 504 : 408,
      details: 'stream_idle_timeout',
      flag: 'streamIdleTimeout',
      body: 'stream timeout',
    });
  }

  #onRequestTimeout(): void {
    this.#stream.runtime.stats.downstreamRqTimeout++;
    this.#stream.giveUp({ status: 408, details: 'request_overall_timeout', flag: undefined, body: 'request timeout' });
  }

  #onMaxDuration(): void {
    const stream = this.#stream;
    stream.giveUp({
      status: stream.isRequestReceived ? 504 : 408,
      details: 'max_duration_timeout',
      flag: undefined,
      body: 'downstream duration timeout',
    });
  }
}
