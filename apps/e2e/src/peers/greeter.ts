import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';

/** A gRPC message as it stands in a body: not compressed, its length, its bytes. Source: gRPC over HTTP/2, "Length-Prefixed-Message". */
export function grpcMessage(text: string): Buffer {
  const bytes = Buffer.from(text);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

/** Hands on each whole message of a body, whatever pieces it comes in. */
export function grpcMessages(onMessage: (text: string) => void): (chunk: Buffer) => void {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) {
      const end = 5 + rest.readUInt32BE(1);
      onMessage(rest.subarray(5, end).toString());
      rest = rest.subarray(end);
    }
  };
}

/**
 * A gRPC server over HTTP/2 without TLS: `/greeter.Greeter/Chat` greets whoever names himself, each as soon as he does; the message `leave`
 * ends the call with ABORTED. `/greeter.Greeter/Waver` is UNAVAILABLE twice before it is fine. Anything else is UNIMPLEMENTED, by trailers alone.
 */
export async function startGreeter(port: number): Promise<AsyncDisposable> {
  const sessions = new Set<ServerHttp2Session>();
  const server = createServer();
  let wavers = 0;
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => stream.destroy());
    if (headers[':path'] === '/greeter.Greeter/Chat') chat(stream);
    else if (headers[':path'] === '/greeter.Greeter/Waver') endWith(stream, wavers++ % 3 < 2 ? '14' : '0');
    else endWith(stream, '12');
  });
  await new Promise<void>((resolve) => server.listen(port, resolve));
  return {
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** By trailers alone. */
function endWith(stream: ServerHttp2Stream, status: string): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': status }, { endStream: true });
}

function chat(stream: ServerHttp2Stream): void {
  let status = '0';
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status, 'grpc-message': 'bye' }));
  const read = grpcMessages((text) => {
    if (stream.writableEnded) return;
    if (text === 'leave') {
      status = '10';
      stream.end();
    } else stream.write(grpcMessage(`hello ${text}`));
  });
  stream.on('data', read);
  stream.on('end', () => stream.end());
}
