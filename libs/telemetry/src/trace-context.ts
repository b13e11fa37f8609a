import type { Random } from '@mizzen/core';
import type { HeaderReader } from './stream-info.ts';

/** Where a request stands in a trace. */
export interface TraceContext {
  /** 32 lower-case hex digits. */
  readonly traceId: string;
  /** 16 lower-case hex digits. */
  readonly spanId: string;
  readonly isSampled: boolean;
  /** In which form it came, and so in which it is passed on. */
  readonly form: 'w3c' | 'b3' | 'b3Single';
  /** B3 alone tells it. */
  readonly parentSpanId?: string;
}

/** Which headers carry a context: W3C alone, B3 alone, or W3C and whatever a request came with. */
export type Propagation = 'w3c' | 'b3' | 'any';

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const NO_TRACE = '0'.repeat(32);
const NO_SPAN = '0'.repeat(16);

/**
 * The context that a request brings: W3C trace context, else B3. undefined without one, and for one that is not valid.
 * Sources: W3C Trace Context level 1 §3.2; B3 propagation (openzipkin/b3-propagation).
 */
export function readTraceContext(header: HeaderReader, propagation: Propagation = 'any'): TraceContext | undefined {
  const traceparent = propagation === 'b3' ? undefined : header('traceparent');
  if (traceparent !== undefined) {
    const context = parseTraceparent(traceparent);
    if (context !== undefined) return context;
  }
  if (propagation === 'w3c') return undefined;
  const single = header('b3');
  if (single !== undefined) return parseB3Single(single);
  return parseB3(header);
}

function parseTraceparent(value: string): TraceContext | undefined {
  const match = TRACEPARENT.exec(value);
  if (match === null) return undefined;
  const [, version, traceId, spanId, flags, rest] = match as unknown as [string, string, string, string, string, string | undefined];
  // Version ff is invalid; version 00 has nothing behind its flags; later versions may.
  if (version === 'ff' || (version === '00' && rest !== undefined) || traceId === NO_TRACE || spanId === NO_SPAN) return undefined;
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1, form: 'w3c' };
}

function parseB3Single(value: string): TraceContext | undefined {
  const match = /^([0-9a-fA-F]{16}|[0-9a-fA-F]{32})-([0-9a-fA-F]{16})(?:-([01d]))?(?:-([0-9a-fA-F]{16}))?$/.exec(value);
  if (match === null) return undefined;
  const isSampled = match[3] !== undefined && match[3] !== '0';
  return { ...b3Ids(match[1] as string, match[2] as string), isSampled, form: 'b3Single', ...parentOf(match[4]) };
}

function parseB3(header: HeaderReader): TraceContext | undefined {
  const traceId = header('x-b3-traceid');
  const spanId = header('x-b3-spanid');
  if (traceId === undefined || spanId === undefined) return undefined;
  if (!/^([0-9a-f]{16}|[0-9a-f]{32})$/i.test(traceId) || !/^[0-9a-f]{16}$/i.test(spanId)) return undefined;
  const sampled = header('x-b3-sampled');
  return {
    ...b3Ids(traceId, spanId),
    isSampled: sampled === '1' || sampled === 'true' || header('x-b3-flags') === '1',
    form: 'b3',
    ...parentOf(header('x-b3-parentspanid')),
  };
}

function parentOf(spanId: string | undefined): { parentSpanId?: string } {
  return spanId !== undefined && /^[0-9a-f]{16}$/i.test(spanId) ? { parentSpanId: spanId.toLowerCase() } : {};
}

/** What a caller decided who started no trace: B3 may come without ids. */
export function readB3Decision(header: HeaderReader): { readonly isSampled: boolean; readonly form: 'b3' | 'b3Single' } | undefined {
  const single = header('b3');
  if (single !== undefined && /^[01d]$/.test(single)) return { isSampled: single !== '0', form: 'b3Single' };
  const sampled = header('x-b3-flags') === '1' ? '1' : header('x-b3-sampled');
  if (sampled === undefined || header('x-b3-traceid') !== undefined) return undefined;
  return { isSampled: sampled === '1' || sampled === 'true', form: 'b3' };
}

function b3Ids(traceId: string, spanId: string): { traceId: string; spanId: string } {
  return { traceId: traceId.toLowerCase().padStart(32, '0'), spanId: spanId.toLowerCase() };
}

/** The headers that carry a context on: traceparent (unless B3 alone is spoken), and the B3 form where the request came with it. */
export function traceHeaders(
  context: TraceContext,
  { parentSpanId, propagation = 'any' }: { readonly parentSpanId: string; readonly propagation?: Propagation },
): readonly (readonly [string, string])[] {
  const { traceId, spanId, isSampled } = context;
  const sampled = isSampled ? '1' : '0';
  const headers: (readonly [string, string])[] = [];
  if (propagation !== 'b3') headers.push(['traceparent', `00-${traceId.padStart(32, '0')}-${spanId}-0${sampled}`]);
  if (context.form === 'b3Single') headers.push(['b3', `${traceId}-${spanId}-${sampled}${parentSpanId === '' ? '' : `-${parentSpanId}`}`]);
  if (context.form === 'b3') {
    headers.push(['x-b3-traceid', traceId], ['x-b3-spanid', spanId], ['x-b3-sampled', sampled]);
    if (parentSpanId !== '') headers.push(['x-b3-parentspanid', parentSpanId]);
  }
  return headers;
}

/** Never all zeros. */
export function randomHex(bytes: 8 | 16, random: Random): string {
  let text = '';
  for (let length = 0; length < bytes; length += 4)
    text += Math.floor(random() * 2 ** 32)
      .toString(16)
      .padStart(8, '0');
  return /^0+$/.test(text) ? `${text.slice(1)}1` : text;
}
