import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { type Field, filterConfigKey } from '@mizzen/matching';
import { unpackAny } from '@mizzen/xds-api';
import type { ListenerInfo, ProxyContext } from '../contract.ts';
import type { HttpStream } from './http-stream.ts';
import type { ResponseHead } from './stream.ts';
import type { TimerWheel } from './timer-wheel.ts';

/** `stop`: the filter answered the request itself, or calls `stream.continueRequest()` later. */
export type FilterDecision = 'continue' | 'stop';

/**
 * One step of the chain in front of the router. One object for all streams of a connection manager: what it knows of a stream it keeps by
 * `stream.keep(this, …)`.
 */
export interface HttpFilter {
  onRequest?(stream: HttpStream): FilterDecision;
  /** Before the head of a response is sent, local ones included; in the reverse order. */
  onResponse?(stream: HttpStream, head: ResponseHead): void;
  onStreamEnd?(stream: HttpStream): void;
}

/** What the filters' configurations of routes are compiled with: what is the same for the whole process. */
export interface RouteFilterEnvironment {
  /** Clock, random numbers, clusters; `context.stats` for counters. */
  readonly context: ProxyContext;
  readonly wheel: TimerWheel;
}

/** Where a filter is made. */
export interface FilterEnvironment extends RouteFilterEnvironment {
  /** Of the filter in its chain. */
  readonly name: string;
  /** Of the connection manager: `http.<statPrefix>.…`. */
  readonly statPrefix: string;
  readonly listener: ListenerInfo;
  /** What routes say to this filter under a message: the key for `stream.filterConfig`. */
  routeKey(schema: DescMessage): string;
}

/** One kind of HTTP filter: how its own message and those of routes are compiled. */
export interface HttpFilterKind {
  /** Full name of its message. */
  readonly type: string;
  /** undefined where the message is rejected, or there is nothing to do. Throws where it does not decode. */
  create(config: Any, field: Field, environment: FilterEnvironment): HttpFilter | undefined;
  readonly perRoute:
    | { readonly type: string; compile(config: Any, field: Field, environment: RouteFilterEnvironment): unknown }
    | undefined;
}

/** Makes a kind of filter out of functions that take messages. `perRoute` is for what routes say to it. */
export function defineHttpFilter<C extends DescMessage, R extends DescMessage = C>(kind: {
  readonly schema: C;
  create(message: MessageShape<C>, field: Field, environment: FilterEnvironment): HttpFilter | undefined;
  readonly perRoute?: { readonly schema: R; compile(message: MessageShape<R>, field: Field, environment: RouteFilterEnvironment): unknown };
}): HttpFilterKind {
  const { perRoute } = kind;
  return {
    type: kind.schema.typeName,
    create(config, field, environment) {
      const message = unpackAny(config, kind.schema);
      return message === undefined ? undefined : kind.create(message, field, environment);
    },
    perRoute: perRoute && {
      type: perRoute.schema.typeName,
      compile(config, field, environment) {
        const message = unpackAny(config, perRoute.schema);
        return message === undefined ? undefined : perRoute.compile(message, field, environment);
      },
    },
  };
}

export function filterEnvironment(environment: Omit<FilterEnvironment, 'routeKey'>): FilterEnvironment {
  return { ...environment, routeKey: (schema) => filterConfigKey(environment.name, schema.typeName) };
}
