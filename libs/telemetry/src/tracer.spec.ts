import { describe, expect, it } from '@jest/globals';
import { systemClock } from '@mizzen/core';
import { describePeerNode } from './peer-metadata.ts';
import { aStream } from './testing/stream-info.ts';
import { readTraceContext } from './trace-context.ts';
import { createTracer, type FinishedSpan } from './tracer.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';

function read(headers: Readonly<Record<string, string>>) {
  return readTraceContext((name) => headers[name]);
}

function tracer(samplingRatio: number) {
  const spans: FinishedSpan[] = [];
  const local = describePeerNode({
    workload: 'productpage-v1',
    namespace: 'default',
    clusterId: 'local',
    labels: { app: 'productpage', version: 'v1' },
  });
  const made = createTracer({
    clock: systemClock,
    random: Math.random,
    samplingRatio,
    kind: 'client',
    nodeId: 'node',
    meshId: 'mesh',
    local,
    sink: { add: (span) => spans.push(span) },
  });
  return { made, spans };
}

describe('trace context', () => {
  it.each([
    [{ traceparent: `00-${TRACE}-${SPAN}-01` }, { traceId: TRACE, spanId: SPAN, isSampled: true, form: 'w3c' }],
    [{ traceparent: `cc-${TRACE}-${SPAN}-00-more` }, { traceId: TRACE, spanId: SPAN, isSampled: false, form: 'w3c' }],
    [{ b3: `${TRACE}-${SPAN}-1` }, { traceId: TRACE, spanId: SPAN, isSampled: true, form: 'b3Single' }],
    [
      { 'x-b3-traceid': 'A3CE929D0E0E4736', 'x-b3-spanid': SPAN, 'x-b3-sampled': '1' },
      { traceId: `${'0'.repeat(16)}a3ce929d0e0e4736`, spanId: SPAN, isSampled: true, form: 'b3' },
    ],
  ])('reads %j', (headers, expected) => {
    expect(read(headers as Record<string, string>)).toEqual(expected);
  });

  it.each([
    {},
    { traceparent: `00-${'0'.repeat(32)}-${SPAN}-01` },
    { traceparent: `ff-${TRACE}-${SPAN}-01` },
    { traceparent: `00-${TRACE}-${SPAN}-01-more` },
    { traceparent: `00-${TRACE.toUpperCase()}-${SPAN}-01` },
    { b3: '1' },
    { 'x-b3-traceid': 'zz', 'x-b3-spanid': SPAN },
  ])('takes %j for no context', (headers) => {
    expect(read(headers as Record<string, string>)).toBeUndefined();
  });
});

describe('tracer', () => {
  it('continues the trace of the caller with a span of its own', () => {
    const { made, spans } = tracer(0);
    const info = aStream({ responseCode: 503, flags: ['noHealthyUpstream'] });
    const handle = made.start((name) => (name === 'traceparent' ? `00-${TRACE}-${SPAN}-01` : undefined), info);
    handle.end(info);
    expect(spans[0]).toMatchObject({
      traceId: TRACE,
      parentSpanId: SPAN,
      kind: 'client',
      name: 'reviews.default.svc.cluster.local:9080/*',
      isError: true,
    });
    expect(spans[0]?.spanId).not.toBe(SPAN);
    expect(handle.headersToSet).toEqual([['traceparent', `00-${TRACE}-${spans[0]?.spanId}-01`]]);
    expect(Object.fromEntries(spans[0]?.tags ?? [])).toMatchObject({
      'guid:x-request-id': 'id-1',
      'http.method': 'GET',
      'http.status_code': '503',
      'http.url': 'http://reviews:9080/reviews/1?a=b',
      response_flags: 'UH',
      component: 'proxy',
      'istio.canonical_service': 'productpage',
    });
    expect(info.traceId).toBe(TRACE);
  });

  it('calls the span what the route says', () => {
    const { made, spans } = tracer(1);
    const info = aStream({ operation: 'reviews.default.svc.cluster.local:9080/reviews*' });
    made.start(() => undefined, info).end(info);
    expect(spans[0]?.name).toBe('reviews.default.svc.cluster.local:9080/reviews*');
  });

  it('respects a caller that decided against it, and passes its headers on untouched', () => {
    const { made, spans } = tracer(1);
    const info = aStream();
    const handle = made.start((name) => (name === 'traceparent' ? `00-${TRACE}-${SPAN}-00` : undefined), info);
    handle.end(info);
    expect([handle.headersToSet, spans]).toEqual([[], []]);
  });

  it('decides by the ratio at the edge, and tells those behind what was decided', () => {
    const on = tracer(1);
    const off = tracer(0);
    const sampled = on.made.start(() => undefined, aStream());
    const unsampled = off.made.start(() => undefined, aStream());
    expect(sampled.headersToSet[0]?.[1]).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    expect(unsampled.headersToSet[0]?.[1]).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
    unsampled.end(aStream());
    expect(off.spans).toEqual([]);
  });

  it('answers B3 with B3', () => {
    const { made } = tracer(1);
    const headers: Readonly<Record<string, string>> = { 'x-b3-traceid': TRACE, 'x-b3-spanid': SPAN, 'x-b3-sampled': '1' };
    const names = made.start((name) => headers[name], aStream()).headersToSet.map(([name]) => name);
    expect(names).toEqual(['traceparent', 'x-b3-traceid', 'x-b3-spanid', 'x-b3-sampled', 'x-b3-parentspanid']);
  });
});
