import type { Field } from '@mizzen/matching';
import {
  type StatefulSession,
  type StatefulSessionPerRoute,
  StatefulSessionPerRouteSchema,
  StatefulSessionSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/http/stateful_session/v3/stateful_session';
import { defineHttpFilter, type FilterDecision, type HttpFilter, type HttpFilterKind } from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import type { ResponseHead } from '../http/stream.ts';
import { compileSessionState, type SessionState } from './session-state.ts';

interface Session {
  /** undefined: the filter does nothing. */
  readonly state: SessionState | undefined;
  /** A client whose endpoint is not to be had is given none. */
  readonly isStrict: boolean;
}

const NO_SESSION: Session = { state: undefined, isStrict: false };

export const statefulSessionFilter: HttpFilterKind = defineHttpFilter({
  schema: StatefulSessionSchema,
  create: (message, field, environment) =>
    new StatefulSessionFilter(compileSession(message, field), environment.routeKey(StatefulSessionPerRouteSchema)),
  perRoute: { schema: StatefulSessionPerRouteSchema, compile: compileRoute },
});

function compileSession({ sessionState, strict }: StatefulSession, field: Field): Session {
  if (sessionState === undefined) return NO_SESSION;
  return { state: compileSessionState(sessionState, field.child('session_state')), isStrict: strict };
}

function compileRoute({ override }: StatefulSessionPerRoute, field: Field): Session {
  if (override.case === undefined) field.reject('needs one of disabled, stateful_session');
  return override.case === 'statefulSession' ? compileSession(override.value, field.child('stateful_session')) : NO_SESSION;
}

/** Sends the requests of one client to one endpoint, which the client itself remembers. Source: Envoy, Stateful session filter (1.40). */
class StatefulSessionFilter implements HttpFilter {
  readonly #session: Session;
  readonly #key: string;

  constructor(session: Session, key: string) {
    this.#session = session;
    this.#key = key;
  }

  onRequest(stream: HttpStream): FilterDecision {
    const { state, isStrict } = stream.filterConfig<Session>(this.#key) ?? this.#session;
    const endpoint = state?.endpointOf(stream.info, stream.runtime.context.clock.now());
    if (state === undefined || endpoint === undefined) return 'continue';
    stream.keep(this, { state, endpoint } satisfies Remembered);
    if (endpoint !== '') stream.askedEndpoint = { address: endpoint, isStrict };
    return 'continue';
  }

  onResponse(stream: HttpStream, { headers }: ResponseHead): void {
    const { upstreamHost } = stream.info;
    const remembered = stream.kept<Remembered>(this);
    if (remembered === undefined || upstreamHost === '' || upstreamHost === remembered.endpoint) return;
    remembered.state.tell(upstreamHost, headers, stream.runtime.context.clock.now());
  }
}

interface Remembered {
  readonly state: SessionState;
  readonly endpoint: string;
}
