import type { Field } from '@mizzen/matching';
import { BufferPerRouteSchema, BufferSchema, type Buffer as Message } from '@mizzen/xds-api/envoy/extensions/filters/http/buffer/v3/buffer';
import { defineHttpFilter, type FilterDecision, type HttpFilter, type HttpFilterKind } from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import type { LocalReply } from '../http/local-reply.ts';

/** Source: envoy FilterManager::handleDataIfStopAll, Code::PayloadTooLarge (1.40). */
const TOO_LARGE: LocalReply = { status: 413, details: 'request_payload_too_large', flag: undefined, body: 'Payload Too Large' };

interface Limit {
  /** undefined: requests pass as they come. */
  readonly maxBytes: number | undefined;
}

export const bufferFilter: HttpFilterKind = defineHttpFilter({
  schema: BufferSchema,
  create: (message, field, environment) => new BufferFilter(compileLimit(message, field), environment.routeKey(BufferPerRouteSchema)),
  perRoute: {
    schema: BufferPerRouteSchema,
    compile({ override }, field): Limit {
      switch (override.case) {
        case 'buffer':
          return compileLimit(override.value, field.child('buffer'));
        case 'disabled':
          if (!override.value) field.child('disabled').reject('can only be true');
          return { maxBytes: undefined };
        default:
          field.reject('needs one of disabled, buffer');
          return { maxBytes: undefined };
      }
    },
  },
});

function compileLimit({ maxRequestBytes }: Message, field: Field): Limit {
  if (maxRequestBytes === undefined || maxRequestBytes === 0) field.child('max_request_bytes').reject('must be above 0');
  return { maxBytes: maxRequestBytes };
}

/** Sends a request on once it is there as a whole, with its length; refuses those that are too large. Source: Envoy, Buffer filter (1.40). */
class BufferFilter implements HttpFilter {
  readonly #limit: Limit;
  readonly #key: string;

  constructor(limit: Limit, key: string) {
    this.#limit = limit;
    this.#key = key;
  }

  onRequest(stream: HttpStream): FilterDecision {
    const { maxBytes } = stream.filterConfig<Limit>(this.#key) ?? this.#limit;
    const { head } = stream.info;
    if (maxBytes === undefined || stream.isRequestReceived || head.upgrade !== '' || head.method === 'CONNECT') return 'continue';
    stream.bufferRequest({
      limitBytes: maxBytes,
      onComplete: (body) => {
        if (head.contentLength < 0) head.contentLength = body.length;
        stream.continueRequest();
      },
      onTooLarge: () => stream.reply(TOO_LARGE),
    });
    return 'stop';
  }
}
