import type { HttpStream } from './http-stream.ts';
import type { ResponseHead } from './stream.ts';

/** `stop`: the filter answered the request itself, or calls `stream.continueRequest()` later. */
export type FilterDecision = 'continue' | 'stop';

/** One step of the chain in front of the router. One object for all streams of a connection manager: it keeps nothing of a stream. */
export interface HttpFilter {
  onRequest?(stream: HttpStream): FilterDecision;
  /** Before the head of a response is sent, local ones included; in the reverse order. */
  onResponse?(stream: HttpStream, head: ResponseHead): void;
  onStreamEnd?(stream: HttpStream): void;
}
