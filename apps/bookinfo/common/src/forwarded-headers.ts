import type { IncomingHttpHeaders } from 'node:http';

/** What a service of a mesh has to pass on so that its calls belong to the trace of the request. */
export const TRACE_HEADERS: readonly string[] = [
  'x-request-id',
  'x-ot-span-context',
  'x-datadog-trace-id',
  'x-datadog-parent-id',
  'x-datadog-sampling-priority',
  'traceparent',
  'tracestate',
  'x-cloud-trace-context',
  'grpc-trace-bin',
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-parentspanid',
  'x-b3-sampled',
  'x-b3-flags',
  'sw8',
  'user-agent',
];

/** What says who the user is, for services of the mesh and nobody else. */
export const USER_HEADERS: readonly string[] = ['end-user', 'cookie', 'authorization', 'jwt'];

/** Those of the incoming headers that go along with a call. */
export function forwardHeaders(incoming: IncomingHttpHeaders, names: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const name of names) {
    const value = incoming[name];
    if (value !== undefined) headers[name] = String(value);
  }
  return headers;
}
