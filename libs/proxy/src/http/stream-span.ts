import type { TrySpan } from '@mizzen/telemetry';
import type { HeaderMap } from './headers.ts';
import type { HttpStream } from './http-stream.ts';

const OPERATION_HEADER = 'x-envoy-decorator-operation';

/** Starts the span of a request where somebody traces, and tells the upstream of it. */
export function startSpan(stream: HttpStream): void {
  const { info, runtime } = stream;
  const start = runtime.observers.startSpan;
  if (start === undefined) return;
  stream.span = start((name) => info.requestHeader(name), info);
  for (const [name, value] of stream.span.headersToSet) info.head.headers.set(name, value);
  tellOperation(stream, info.head.headers);
}

/** The span of a try; undefined where tries have none. */
export function startTrySpan({ info, span }: HttpStream): TrySpan | undefined {
  const ofTry = span?.startTry?.();
  if (ofTry !== undefined) for (const [name, value] of ofTry.headersToSet) info.head.headers.set(name, value);
  return ofTry;
}

/** A client's proxy tells the server's proxy what it calls the request, which goes by that. Source: envoy ActiveStream::traceRequest (1.40). */
function tellOperation({ info, route, runtime }: HttpStream, headers: HeaderMap): void {
  if (runtime.listener.direction === 'outbound') {
    if (route?.propagatesOperation === true) headers.set(OPERATION_HEADER, route.decoratorOperation);
    return;
  }
  const told = headers.get(OPERATION_HEADER);
  if (told === undefined) return;
  info.operation = told;
  headers.remove(OPERATION_HEADER);
}

/** And back: who was not told tells what it calls the request. Source: envoy ActiveStream::encodeHeaders (1.40). */
export function answerOperation({ info, route, runtime }: HttpStream, headers: HeaderMap): void {
  if (runtime.listener.direction === 'outbound') {
    const told = headers.get(OPERATION_HEADER);
    if (told !== undefined) info.operation = told;
    headers.remove(OPERATION_HEADER);
  } else if (route?.propagatesOperation === true && info.operation === route.decoratorOperation)
    headers.set(OPERATION_HEADER, route.decoratorOperation);
}
