import { grpcReplyHeaders } from './grpc.ts';
import { HeaderMap } from './headers.ts';
import type { HttpStream } from './http-stream.ts';
import type { LocalReply } from './local-reply.ts';
import { isGrpcContentType } from './router-timeouts.ts';
import type { ResponseHead } from './stream.ts';

/** Sends an answer of the proxy itself, as the connection manager has it mapped: a response with a text, or the trailers of a gRPC call. */
export function sendReply(stream: HttpStream, original: LocalReply): void {
  const { info, runtime } = stream;
  const reply = runtime.config.localReplies?.(original, info) ?? original;
  if (stream.repliesAsGrpc ?? isGrpcContentType(info.requestHeader('content-type'))) sendAsGrpc(stream, reply);
  else sendAsText(stream, reply);
  stream.endResponse();
}

function sendAsGrpc(stream: HttpStream, reply: LocalReply): void {
  const headers = grpcReplyHeaders(reply);
  for (const [name, value] of reply.headers ?? []) if (name !== 'content-type') headers.append(name, value);
  stream.sendHead({ status: 200, headers, hasBody: false, contentLength: -1, upgrade: '', wireBytes: 0 });
}

function sendAsText(stream: HttpStream, reply: LocalReply): void {
  const { status } = reply;
  const body = Buffer.from(reply.body);
  const headers = new HeaderMap();
  for (const [name, value] of reply.headers ?? []) headers.append(name, value);
  if (body.length > 0 && !headers.has('content-type')) headers.push('content-type', 'text/plain');
  const hasBody = body.length > 0 && stream.info.method !== 'HEAD' && status !== 204 && status !== 304;
  const contentLength = body.length > 0 ? body.length : -1;
  const head: ResponseHead = { status, headers, hasBody, contentLength, upgrade: '', wireBytes: 0 };
  stream.localReplyBody = body;
  stream.sendHead(head);
  // A filter may have put the body into the head.
  if (head.hasBody && body.length > 0) stream.sendData(body);
}
