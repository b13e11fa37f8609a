import { ExtAuthzPerRouteSchema, ExtAuthzSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/ext_authz/v3/ext_authz';
import type { AsyncCall } from '../../http/async-client.ts';
import { HeaderMap } from '../../http/headers.ts';
import {
  defineHttpFilter,
  type FilterDecision,
  type FilterEnvironment,
  type HttpFilter,
  type HttpFilterKind,
} from '../../http/http-filter.ts';
import type { HttpStream } from '../../http/http-stream.ts';
import type { ResponseHead } from '../../http/stream.ts';
import { countUpstreamResponse } from '../../observe/cluster-stats.ts';
import { type Counts, defineStats } from '../../observe/stat-registry.ts';
import { type AuthzBody, type AuthzConfig, type AuthzRoute, compileAuthz, compileAuthzRoute } from './authz-config.ts';
import { type AuthzDecision, applyChanges, applyToRequest, type HeaderChange, isValidChange } from './authz-decision.ts';
import { askGrpc } from './authz-grpc.ts';
import { askHttp } from './authz-http.ts';

const METADATA_NAMESPACE = 'envoy.filters.http.ext_authz';

/** Below `http.<stat_prefix>.ext_authz.`. */
const AUTHZ_STATS = defineStats({
  counters: {
    ok: 'ok',
    denied: 'denied',
    error: 'error',
    failureModeAllowed: 'failure_mode_allowed',
    disabled: 'disabled',
    ignoredMetadata: 'ignored_dynamic_metadata',
    invalid: 'invalid',
  },
});
/** Below `cluster.<name>.ext_authz.`, of the cluster that the request is for. */
const CLUSTER_STATS = defineStats({
  counters: { ok: 'ok', denied: 'denied', error: 'error', failureModeAllowed: 'failure_mode_allowed', invalid: 'invalid' },
});

/** Asks another server whether a request may pass. Source: Envoy, external authorization filter (1.40). */
export const authzFilter: HttpFilterKind = defineHttpFilter({
  schema: ExtAuthzSchema,
  create: (message, field, environment) => new AuthzFilter(compileAuthz(message, field, environment.context.runtimeValues), environment),
  perRoute: { schema: ExtAuthzPerRouteSchema, compile: compileAuthzRoute },
});

/** One request under way to the authorization server, and what its answer adds to the response. */
interface AuthzState {
  call: AsyncCall | undefined;
  responseHeaders: readonly HeaderChange[];
}

type ClusterOutcome = 'ok' | 'denied' | 'error' | 'failureModeAllowed' | 'invalid';

class AuthzFilter implements HttpFilter {
  readonly #config: AuthzConfig;
  readonly #environment: FilterEnvironment;
  readonly #routeKey: string;
  readonly #statSuffix: string;
  readonly #stats: Counts<typeof AUTHZ_STATS>;
  readonly #clusterStats = new Map<string, Counts<typeof CLUSTER_STATS>>();
  #lastId = 0;

  constructor(config: AuthzConfig, environment: FilterEnvironment) {
    this.#config = config;
    this.#environment = environment;
    this.#routeKey = environment.routeKey(ExtAuthzPerRouteSchema);
    const { statPrefix } = environment;
    this.#statSuffix = config.statPrefix === '' ? '' : `.${config.statPrefix}`;
    this.#stats = environment.context.stats.counts(AUTHZ_STATS, {
      prefix: `http.${statPrefix}.ext_authz${this.#statSuffix}`,
      tags: [['envoy.http_conn_manager_prefix', statPrefix]],
    });
  }

  onRequest(stream: HttpStream): FilterDecision {
    const routes = stream.filterConfigs(this.#routeKey) as readonly AuthzRoute[];
    const route = routes.at(-1);
    if (route?.isDisabled) return 'continue';
    if (!this.#isEnabled(stream)) return this.#skip(stream);
    const body = this.#bodyFor(stream, route);
    const contextExtensions = Object.assign({}, ...routes.map((each) => each.contextExtensions)) as Record<string, string>;
    if (body === undefined) {
      this.#ask(stream, { body: undefined, isPartial: false, contextExtensions });
      return 'stop';
    }
    stream.bufferRequest({
      limitBytes: body.maxBytes,
      onComplete: (bytes) => this.#ask(stream, { body: bytes, isPartial: false, contextExtensions }),
      onTooLarge: (bytes) => {
        if (body.allowsPartial) this.#ask(stream, { body: bytes.subarray(0, body.maxBytes), isPartial: true, contextExtensions });
        else stream.reply({ status: 413, details: 'request_payload_too_large', flag: undefined, body: 'Payload Too Large' });
      },
    });
    return 'stop';
  }

  #isEnabled(stream: HttpStream): boolean {
    const { isEnabledBy } = this.#config;
    const enabledRatio = this.#config.enabledRatio();
    if (enabledRatio < 1 && this.#environment.context.random() >= enabledRatio) return false;
    return isEnabledBy === undefined || isEnabledBy((namespace) => stream.info.dynamicMetadata?.get(namespace));
  }

  #skip(stream: HttpStream): FilterDecision {
    this.#stats.disabled++;
    if (!this.#config.deniesAtDisable()) return 'continue';
    this.#refuse(stream, this.#config.statusOnError, 'ext_authz_error');
    return 'stop';
  }

  #bodyFor(stream: HttpStream, route: AuthzRoute | undefined): AuthzBody | undefined {
    const body = route?.body ?? this.#config.body;
    // A tunnel's bytes are no body, and a request without one has none to show.
    if (
      body === undefined ||
      body === 'none' ||
      stream.isRequestReceived ||
      stream.info.head.upgrade !== '' ||
      stream.info.method === 'CONNECT'
    )
      return undefined;
    return body;
  }

  #ask(
    stream: HttpStream,
    parts: { readonly body: Buffer | undefined; readonly isPartial: boolean; readonly contextExtensions: Record<string, string> },
  ): void {
    const { service } = this.#config;
    if (service.kind === 'http' && stream.info.method === 'CONNECT') {
      // It has no path to be asked about, and a CONNECT to the authorization server would open a tunnel there. @deviation: Envoy sends it.
      this.#count(stream, 'denied');
      this.#refuse(stream, 403, 'ext_authz_denied');
      return;
    }
    const state: AuthzState = { call: undefined, responseHeaders: [] };
    stream.keep(this, state);
    const startMs = this.#environment.context.clock.monotonic();
    const question = { info: stream.info, id: String(++this.#lastId), ...parts };
    const done = (decision: AuthzDecision): void => {
      state.call = undefined;
      if (!stream.isOver) this.#follow(stream, decision, { state, startMs });
    };
    state.call =
      service.kind === 'http'
        ? askHttp(this.#environment, question, { config: this.#config, service, done })
        : askGrpc(this.#environment, question, { config: this.#config, service, done });
  }

  #follow(stream: HttpStream, decision: AuthzDecision, asked: { readonly state: AuthzState; readonly startMs: number }): void {
    const { info } = stream;
    if (decision.kind === 'error') {
      this.#fail(stream);
      return;
    }
    if (decision.metadata !== undefined && !this.#config.ingestsMetadata) this.#stats.ignoredMetadata++;
    else if (decision.metadata !== undefined) {
      const tookMs = Math.trunc(this.#environment.context.clock.monotonic() - asked.startMs);
      info.setDynamicMetadata(METADATA_NAMESPACE, {
        ...decision.metadata,
        ...(decision.kind === 'ok' ? { ext_authz_duration: tookMs } : {}),
      });
    }
    const changes = decision.kind === 'ok' ? [...decision.requestHeaders, ...decision.responseHeaders] : decision.headers;
    if (decision.kind === 'denied') this.#count(stream, 'denied');
    if (this.#config.validatesMutations && !changes.every(isValidChange)) {
      this.#count(stream, 'invalid');
      this.#refuse(stream, 500, 'ext_authz_invalid');
      return;
    }
    if (decision.kind === 'denied') {
      this.#deny(stream, decision);
      return;
    }
    this.#count(stream, 'ok');
    asked.state.responseHeaders = decision.responseHeaders;
    if (applyToRequest(decision, info) && this.#config.clearsRouteCache) stream.clearRouteCache();
    stream.continueRequest();
  }

  #fail(stream: HttpStream): void {
    this.#count(stream, 'error');
    const { allowsOnFailure, marksFailure, statusOnError } = this.#config;
    if (!allowsOnFailure) {
      this.#refuse(stream, statusOnError, 'ext_authz_error');
      return;
    }
    this.#count(stream, 'failureModeAllowed');
    if (marksFailure) stream.info.head.headers.set('x-envoy-auth-failure-mode-allowed', 'true');
    stream.continueRequest();
  }

  #refuse(stream: HttpStream, status: number, details: string): void {
    stream.reply({ status, details, flag: 'unauthorizedExternalService', body: '' });
  }

  #deny(stream: HttpStream, { status, body, headers }: Extract<AuthzDecision, { kind: 'denied' }>): void {
    if (this.#config.chargesCluster) {
      const cluster = this.#environment.context.cluster(stream.target?.cluster ?? '');
      if (cluster !== undefined) countUpstreamResponse(cluster.stats, status);
    }
    const made = new HeaderMap();
    applyChanges(headers, made);
    // It would speak of a body that is not there, or is none of gRPC.
    if (body.length === 0 || /^application\/grpc(?:[+;]|$)/.test(stream.info.requestHeader('content-type') ?? ''))
      made.remove('content-type');
    stream.reply({
      status,
      details: 'ext_authz_denied',
      flag: 'unauthorizedExternalService',
      body,
      headers: made.names.map((name, index) => [name, made.values[index] as string] as const),
    });
  }

  #count(stream: HttpStream, outcome: ClusterOutcome): void {
    this.#stats[outcome]++;
    const cluster = stream.target?.cluster;
    if (cluster === undefined) return;
    let stats = this.#clusterStats.get(cluster);
    if (stats === undefined) {
      stats = this.#environment.context.stats.counts(CLUSTER_STATS, {
        prefix: `cluster.${cluster}.ext_authz${this.#statSuffix}`,
        tags: [['envoy.cluster_name', cluster]],
      });
      this.#clusterStats.set(cluster, stats);
    }
    stats[outcome]++;
  }

  onResponse(stream: HttpStream, head: ResponseHead): void {
    const state = stream.kept(this) as AuthzState | undefined;
    if (state !== undefined && state.responseHeaders.length > 0) applyChanges(state.responseHeaders, head.headers);
  }

  onStreamEnd(stream: HttpStream): void {
    (stream.kept(this) as AuthzState | undefined)?.call?.cancel();
  }
}
