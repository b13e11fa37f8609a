import { GrpcWebSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/grpc_web/v3/grpc_web';
import { encodeGrpcMessage, grpcStatusOfHttp } from '../http/grpc.ts';
import { defineHttpFilter, type FilterDecision, type HttpFilter, type HttpFilterKind } from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import type { LocalReply } from '../http/local-reply.ts';
import { isGrpcContentType } from '../http/router-timeouts.ts';
import type { ResponseHead } from '../http/stream.ts';
import { Base64Body, DroppedBody, GrpcWebAnswer } from './grpc-web-bodies.ts';

export const grpcWebFilter: HttpFilterKind = defineHttpFilter({ schema: GrpcWebSchema, create: () => new GrpcWebFilter() });

const BINARY: ReadonlySet<string> = new Set(['application/grpc-web', 'application/grpc-web+proto']);
const TEXT: ReadonlySet<string> = new Set(['application/grpc-web-text', 'application/grpc-web-text+proto']);

/** Source: envoy GrpcWebFilter::decodeData (1.40). */
const INVALID_BASE64: LocalReply = {
  status: 400,
  details: 'grpc_base_64_decode_failed',
  flag: undefined,
  body: 'Bad gRPC-web request, invalid base64 data.',
};

/** Whether the answer is to be text too. */
interface State {
  readonly isTextAnswer: boolean;
}

/**
 * Lets browsers, which see no trailers, call gRPC services: their requests become gRPC, and the trailers of the answer a part of its body.
 * Source: gRPC-Web (grpc/doc/PROTOCOL-WEB.md); Envoy, gRPC-Web filter (1.40).
 */
class GrpcWebFilter implements HttpFilter {
  onRequest(stream: HttpStream): FilterDecision {
    const { head } = stream.info;
    const contentType = head.headers.get('content-type') ?? '';
    const isText = TEXT.has(contentType);
    if (!isText && !BINARY.has(contentType)) return 'continue';
    const state: State = { isTextAnswer: TEXT.has(head.headers.get('accept') ?? '') };
    stream.keep(this, state);
    stream.repliesAsGrpc = false;
    head.headers.set('content-type', 'application/grpc');
    head.headers.set('te', 'trailers');
    head.headers.set('grpc-accept-encoding', 'identity');
    if (stream.isRequestReceived) return 'continue';
    // It was the length of this form of the request.
    head.contentLength = -1;
    if (isText) stream.transformRequest(new Base64Body(() => stream.giveUp(INVALID_BASE64)));
    return 'continue';
  }

  onResponse(stream: HttpStream, head: ResponseHead): void {
    const state = stream.kept<State>(this);
    if (state === undefined) return;
    const { headers } = head;
    const isGrpc = isGrpcContentType(headers.get('content-type'));
    headers.set('content-type', state.isTextAnswer ? 'application/grpc-web-text+proto' : 'application/grpc-web+proto');
    if (!isGrpc) {
      becomeGrpcStatus(head, stream);
      return;
    }
    if (!head.hasBody) return;
    head.contentLength = -1;
    stream.transformResponse(
      new GrpcWebAnswer(state.isTextAnswer, (trailers) => {
        stream.info.responseTrailers = trailers;
      }),
    );
  }
}

/**
 * What is no gRPC becomes a status in the head. @deviation: the message is there for answers of the proxy itself; Envoy waits for the body of
 * any answer to put it there.
 */
function becomeGrpcStatus(head: ResponseHead, stream: HttpStream): void {
  head.headers.set('grpc-status', String(grpcStatusOfHttp(head.status)));
  const text = stream.localReplyBody?.toString() ?? '';
  if (text !== '') head.headers.set('grpc-message', encodeGrpcMessage(text));
  head.contentLength = 0;
  if (stream.localReplyBody === undefined && head.hasBody) stream.transformResponse(new DroppedBody());
  else head.hasBody = false;
}
