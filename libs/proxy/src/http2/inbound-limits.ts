import { FLAG, FRAME } from './frames.ts';
import type { Http2Options } from './options.ts';
import type { Http2Stats } from './stats.ts';

/** A header block is refused when it comes in more CONTINUATION frames than this. Source: nghttp2, as Envoy 1.40 uses it. */
const MAX_CONTINUATION_FRAMES = 512;

/**
 * Counts the frames that cost their sender next to nothing. Each check returns false where there are too many; the connection is closed
 * then, and the counter of the flood says why. Source: envoy ProtocolConstraints (1.40).
 */
export class InboundLimits {
  readonly #options: Http2Options;
  readonly #stats: Http2Stats;
  #consecutiveEmpty = 0;
  #priorityFrames = 0;
  #windowUpdateFrames = 0;
  #continuationFrames = 0;
  /** Streams that were answered (server) or opened (client). */
  openedStreams = 0;
  sentDataFrames = 0;

  constructor(options: Http2Options, stats: Http2Stats) {
    this.#options = options;
    this.#stats = stats;
  }

  /** HEADERS, CONTINUATION or DATA with this many bytes behind padding. */
  onPayload(bytes: number, flags: number): boolean {
    if (bytes > 0 || (flags & FLAG.endStream) !== 0) {
      this.#consecutiveEmpty = 0;
      return true;
    }
    if (++this.#consecutiveEmpty <= this.#options.maxConsecutiveEmptyFrames) return true;
    this.#stats.inboundEmptyFramesFlood++;
    return false;
  }

  /** HEADERS or CONTINUATION. */
  onBlockFrame(type: number): boolean {
    if (type === FRAME.headers) this.#continuationFrames = 0;
    else if (++this.#continuationFrames > MAX_CONTINUATION_FRAMES) {
      this.#stats.inboundContinuationFramesFlood++;
      return false;
    }
    return true;
  }

  onPriority(): boolean {
    if (++this.#priorityFrames <= this.#options.maxPriorityFramesPerStream * (1 + this.openedStreams)) return true;
    this.#stats.inboundPriorityFramesFlood++;
    return false;
  }

  onWindowUpdate(): boolean {
    const allowed = 5 + 2 * (this.openedStreams + this.#options.maxWindowUpdateFramesPerDataFrame * this.sentDataFrames);
    if (++this.#windowUpdateFrames <= allowed) return true;
    this.#stats.inboundWindowUpdateFramesFlood++;
    return false;
  }
}
