import { ConfigSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/set_filter_state/v3/set_filter_state';
import type { Config as NetworkConfig } from '@mizzen/xds-api/envoy/extensions/filters/network/set_filter_state/v3/set_filter_state';
import { collected } from '../config/config-error.ts';
import { compileFilterState, type FilterStateSetter } from '../config/filter-state.ts';
import { defineHttpFilter, type FilterDecision, type HttpFilter, type HttpFilterKind } from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import type { GateEntry, NetworkGate } from '../listener/network-gate.ts';
import type { GateEnvironment } from '../listener/network-gates.ts';
import { createStreamInfo } from '../observe/stream-info.ts';

export const setFilterStateFilter: HttpFilterKind = defineHttpFilter({
  schema: ConfigSchema,
  create: (message, field, { routeKey }) =>
    new SetFilterStateFilter(compileFilterState(message.onRequestHeaders, field.child('on_request_headers')), routeKey(ConfigSchema)),
  perRoute: {
    schema: ConfigSchema,
    compile: (message, field) => compileFilterState(message.onRequestHeaders, field.child('on_request_headers')),
  },
});

/** Leaves texts for other parts when a request comes: the filter's own, then the route's. Source: Envoy, Set-Filter-State filter (1.40). */
class SetFilterStateFilter implements HttpFilter {
  readonly #set: FilterStateSetter;
  readonly #key: string;

  constructor(set: FilterStateSetter, key: string) {
    this.#set = set;
    this.#key = key;
  }

  onRequest(stream: HttpStream): FilterDecision {
    const { info } = stream;
    info.filterState ??= new Map();
    this.#set(info.filterState, info);
    stream.filterConfig<FilterStateSetter>(this.#key)?.(info.filterState, info);
    return 'continue';
  }
}

/** The same for a connection, before the filters after it see it. Source: envoy docs, Set-Filter-State network filter (1.40). */
export class SetFilterStateGate implements NetworkGate {
  readonly #set: FilterStateSetter;
  readonly #clock: GateEnvironment['proxy']['clock'];

  /** Throws ConfigError. */
  constructor(message: NetworkConfig, { proxy }: GateEnvironment) {
    this.#set = collected((field) => compileFilterState(message.onNewConnection, field), 'on_new_connection');
    this.#clock = proxy.clock;
  }

  onConnection({ connection }: GateEntry): 'pass' {
    connection.filterState.objects ??= new Map();
    this.#set(connection.filterState.objects, createStreamInfo(connection, this.#clock));
    return 'pass';
  }
}
