import { compileHeaderMutations, type Field, type HeaderMutations } from '@mizzen/matching';
import type { HeaderMutation as MutationMessage } from '@mizzen/xds-api/envoy/config/common/mutation_rules/v3/mutation_rules';
import {
  HeaderMutationPerRouteSchema,
  HeaderMutationSchema,
  type Mutations,
} from '@mizzen/xds-api/envoy/extensions/filters/http/header_mutation/v3/header_mutation';
import { defineHttpFilter, type FilterDecision, type HttpFilter, type HttpFilterKind } from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import type { ResponseHead } from '../http/stream.ts';

interface CompiledMutations {
  readonly request: readonly HeaderMutations[];
  readonly response: readonly HeaderMutations[];
}

export const headerMutationFilter: HttpFilterKind = defineHttpFilter({
  schema: HeaderMutationSchema,
  create: (message, field, environment) =>
    new HeaderMutationFilter(
      compileMutations(message.mutations, field.child('mutations')),
      message.mostSpecificHeaderMutationsWins,
      environment.routeKey(HeaderMutationPerRouteSchema),
    ),
  perRoute: {
    schema: HeaderMutationPerRouteSchema,
    compile: (message, field) => compileMutations(message.mutations, field.child('mutations')),
  },
});

function compileMutations(message: Mutations | undefined, field: Field): CompiledMutations {
  return {
    request: compileList(message?.requestMutations ?? [], field.child('request_mutations')),
    response: compileList(message?.responseMutations ?? [], field.child('response_mutations')),
  };
}

/** One by one: unlike the additions of a route, each sees what the one before it did. */
function compileList(messages: readonly MutationMessage[], field: Field): readonly HeaderMutations[] {
  return messages.flatMap(({ action }, index) => {
    const fields = { add: field.at(index).child('append'), remove: field.at(index).child('remove') };
    const compiled =
      action.case === 'append'
        ? compileHeaderMutations([action.value], [], fields)
        : action.case === 'remove'
          ? compileHeaderMutations([], [action.value], fields)
          : undefined;
    if (action.case === undefined) field.at(index).reject('needs one of remove, append');
    return compiled === undefined ? [] : [compiled];
  });
}

/** Changes headers in its place of the chain: its own mutations first, then those of the levels of the route. Source: Envoy, Header mutation filter (1.40). */
class HeaderMutationFilter implements HttpFilter {
  readonly #own: CompiledMutations;
  readonly #mostSpecificWins: boolean;
  readonly #key: string;

  constructor(own: CompiledMutations, mostSpecificWins: boolean, key: string) {
    this.#own = own;
    this.#mostSpecificWins = mostSpecificWins;
    this.#key = key;
  }

  onRequest(stream: HttpStream): FilterDecision {
    const { info } = stream;
    for (const mutation of this.#own.request) mutation.apply(info.head.headers, info);
    for (const level of this.#levels(stream)) for (const mutation of level.request) mutation.apply(info.head.headers, info);
    return 'continue';
  }

  onResponse(stream: HttpStream, head: ResponseHead): void {
    for (const mutation of this.#own.response) mutation.apply(head.headers, stream.info);
    for (const level of this.#levels(stream)) for (const mutation of level.response) mutation.apply(head.headers, stream.info);
  }

  /** The level that applies last wins. */
  #levels(stream: HttpStream): readonly CompiledMutations[] {
    const levels = stream.filterConfigs<CompiledMutations>(this.#key);
    return this.#mostSpecificWins || levels.length < 2 ? levels : levels.toReversed();
  }
}
