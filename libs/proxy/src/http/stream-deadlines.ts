import type { HttpStream } from './http-stream.ts';
import { Deadline } from './timer-wheel.ts';

/** What ends an exchange that takes too long: idleness, the request's time, the whole stream's. One object and one timer for most streams. */
export class StreamDeadlines {
  readonly #stream: HttpStream;
  #idle: Deadline<StreamDeadlines> | undefined = undefined;
  #idleMs: number;
  /** When something moved last, in monotonic milliseconds; 0: nothing did since the deadline was armed. */
  #movedMs = 0;
  #request: Deadline<StreamDeadlines> | undefined = undefined;
  #maxDuration: Deadline<StreamDeadlines> | undefined = undefined;

  constructor(stream: HttpStream) {
    this.#stream = stream;
    this.#idleMs = stream.runtime.config.streamIdleTimeoutMs;
    if (this.#idleMs > 0) this.setIdleMs(this.#idleMs);
  }

  /** Something moved. The deadline is put off when it expires, not with every piece of a body. */
  touch(): void {
    if (this.#idle !== undefined) this.#movedMs = this.#stream.runtime.wheel.nowMs();
  }

  /** The route's own idle timeout; 0: none. */
  setIdleMs(idleMs: number): void {
    this.#idleMs = idleMs;
    this.#movedMs = 0;
    this.#idle ??= new Deadline<StreamDeadlines>(this.#stream.runtime.wheel, StreamDeadlines.#idleExpired, this);
    this.#idle.arm(idleMs);
  }

  /** Until the request is there as a whole. */
  armRequest(): void {
    const { config, wheel } = this.#stream.runtime;
    if (config.requestTimeoutMs <= 0) return;
    this.#request = new Deadline<StreamDeadlines>(wheel, StreamDeadlines.#requestExpired, this);
    this.#request.arm(config.requestTimeoutMs);
  }

  cancelRequest(): void {
    this.#request?.cancel();
  }

  armMaxDuration(maxMs: number): void {
    this.#maxDuration ??= new Deadline<StreamDeadlines>(this.#stream.runtime.wheel, StreamDeadlines.#durationExpired, this);
    this.#maxDuration.arm(maxMs);
  }

  cancel(): void {
    this.#idle?.cancel();
    this.#request?.cancel();
    this.#maxDuration?.cancel();
  }

  static #idleExpired(deadlines: StreamDeadlines): void {
    deadlines.#onIdle();
  }

  static #requestExpired(deadlines: StreamDeadlines): void {
    deadlines.#onRequestTimeout();
  }

  static #durationExpired(deadlines: StreamDeadlines): void {
    deadlines.#onMaxDuration();
  }

  #onIdle(): void {
    const stream = this.#stream;
    const leftMs = this.#movedMs === 0 ? 0 : this.#movedMs + this.#idleMs - stream.runtime.wheel.nowMs();
    if (leftMs > 0) {
      this.#idle?.arm(leftMs);
      return;
    }
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
