import type { Labels } from './sample.ts';

export interface StoredSpan {
  /** Lower-case hexadecimal, as the next two. */
  readonly traceId: string;
  readonly spanId: string;
  /** Absent in a root. */
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: 'unspecified' | 'internal' | 'server' | 'client' | 'producer' | 'consumer';
  /** The workload that reported it. */
  readonly service: string;
  readonly namespace: string;
  /** Since the epoch, with fractions. */
  readonly startTimeMs: number;
  readonly durationMs: number;
  readonly status: 'unset' | 'ok' | 'error';
  readonly statusMessage: string;
  readonly attributes: Labels;
}

export interface TraceSummary {
  readonly traceId: string;
  /** Name and service of the root or, while that has not come, of the earliest span. */
  readonly name: string;
  readonly service: string;
  readonly startTimeMs: number;
  /** From the first start to the last end. */
  readonly durationMs: number;
  readonly spans: number;
  readonly services: readonly string[];
  readonly hasError: boolean;
}

/** The newest spans, grouped by trace. When it is full, the oldest span makes room for each new one. */
export class SpanStore {
  readonly #maxSpans: number;
  readonly #traces = new Map<string, StoredSpan[]>();
  /** Trace ids in the order in which spans arrived; a ring once it is full. */
  readonly #arrivals: string[] = [];
  #next = 0;
  #evicted = 0;

  constructor(options: { maxSpans: number }) {
    this.#maxSpans = options.maxSpans;
  }

  get spanCount(): number {
    return this.#arrivals.length;
  }

  /** How many spans have made room for newer ones. */
  get evicted(): number {
    return this.#evicted;
  }

  record(spans: readonly StoredSpan[]): void {
    for (const span of spans) {
      this.#evictIfFull();
      this.#arrivals[this.#next] = span.traceId;
      this.#next = (this.#next + 1) % this.#maxSpans;
      const trace = this.#traces.get(span.traceId) ?? [];
      trace.push(span);
      this.#traces.set(span.traceId, trace);
    }
  }

  /** The traces that started last, the newest first. */
  newest(limit: number): TraceSummary[] {
    return [...this.#traces]
      .map(([traceId, spans]) => summarize(traceId, spans))
      .sort((a, b) => b.startTimeMs - a.startTimeMs)
      .slice(0, limit);
  }

  /** The spans of a trace by their start, or `undefined` if none is kept. */
  find(traceId: string): StoredSpan[] | undefined {
    return this.#traces.get(traceId)?.toSorted((a, b) => a.startTimeMs - b.startTimeMs);
  }

  #evictIfFull(): void {
    const traceId = this.#arrivals[this.#next];
    if (traceId === undefined) return;
    this.#evicted += 1;
    const trace = this.#traces.get(traceId);
    trace?.shift();
    if (trace?.length === 0) this.#traces.delete(traceId);
  }
}

function summarize(traceId: string, spans: readonly StoredSpan[]): TraceSummary {
  const byStart = spans.toSorted((a, b) => a.startTimeMs - b.startTimeMs);
  const head = byStart.find((span) => span.parentSpanId === undefined) ?? (byStart[0] as StoredSpan);
  const startTimeMs = (byStart[0] as StoredSpan).startTimeMs;
  return {
    traceId,
    name: head.name,
    service: head.service,
    startTimeMs,
    durationMs: Math.max(...spans.map((span) => span.startTimeMs + span.durationMs)) - startTimeMs,
    spans: spans.length,
    services: [...new Set(byStart.map((span) => span.service))],
    hasError: spans.some((span) => span.status === 'error'),
  };
}
