import { sharedObjects } from '../config/filter-state.ts';
import type { DownstreamConnection } from '../contract.ts';
import { HeaderMap } from './headers.ts';
import type { HttpStream } from './http-stream.ts';

/** The other end of a tunnel is a listener of this process: the connection itself goes there, or what of it is this stream. */
export function handToInternalListener(stream: HttpStream, name: string): void {
  // What the present read brought behind an HTTP/1 head is kept by the codec, and is not to be lost on the way: later. What HTTP/2 brings
  // is told to whoever has the stream: at once.
  if (stream.info.head.protocol === 'HTTP/2') handOver(stream, name);
  else queueMicrotask(() => handOver(stream, name));
}

function handOver(stream: HttpStream, name: string): void {
  if (stream.isOver) return;
  stream.info.responseCodeDetails = 'via_upstream';
  stream.info.upstreamAttempts = 1;
  stream.sendHead({ status: 200, headers: new HeaderMap(), hasBody: true, contentLength: -1, upgrade: 'connect', wireBytes: 0 });
  const { socket, initialData } = stream.sender.handOver();
  stream.finish('handed-over');
  const { connection } = stream.info.facts;
  const objects = sharedObjects([...(connection.filterState?.objects ?? []), ...(stream.info.filterState ?? [])]);
  const { filterState: _, ...rest } = connection;
  const handed: DownstreamConnection = { ...rest, ...(objects && { filterState: { objects } }), socket, initialData };
  if (!stream.runtime.context.handToInternalListener(name, handed)) socket.destroy();
}
