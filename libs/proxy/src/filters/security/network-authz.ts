import { compileMetadataMatcher, type Field, type MetadataReader, refuseFields } from '@mizzen/matching';
import { ApiVersion } from '@mizzen/xds-api/envoy/config/core/v3/config_source';
import type { ExtAuthz as NetworkAuthz } from '@mizzen/xds-api/envoy/extensions/filters/network/ext_authz/v3/ext_authz';
import { collected } from '../../config/config-error.ts';
import type { ProxyContext } from '../../contract.ts';
import { compileGrpcService, type GrpcTarget } from '../../grpc/grpc-service.ts';
import type { CallRuntime } from '../../http/async-client.ts';
import { wheelOf } from '../../http/timer-wheel.ts';
import type { GateEntry, NetworkGate } from '../../listener/network-gate.ts';
import { type Counts, defineStats } from '../../observe/stat-registry.ts';
import type { AuthzDecision } from './authz-decision.ts';
import { askGrpcOfConnection, type ShownOfTls } from './authz-grpc.ts';

const METADATA_NAMESPACE = 'envoy.filters.network.ext_authz';
const DEFAULT_TIMEOUT_MS = 200;

/** Below `ext_authz.<stat_prefix>.`. */
const STATS = defineStats({
  counters: {
    total: 'total',
    ok: 'ok',
    denied: 'denied',
    error: 'error',
    failureModeAllowed: 'failure_mode_allowed',
    disabled: 'disabled',
    closed: 'cx_closed',
  },
  gauges: { active: 'active' },
});

/**
 * Asks a gRPC server whether a connection may pass. Throws ConfigError. Source: Envoy, network external authorization filter (1.40).
 * @deviation: asked when the connection is there, Envoy asks at its first byte: a server that speaks first says nothing to who is refused.
 */
export function createNetworkAuthz(message: NetworkAuthz, context: ProxyContext): NetworkGate {
  const config = collected((field) => compileNetworkAuthz(message, field));
  const stats = context.stats.counts(STATS, {
    prefix: `ext_authz.${message.statPrefix}`,
    tags: [['envoy.ext_authz_prefix', message.statPrefix]],
  });
  return new NetworkAuthzGate(config, { context, wheel: wheelOf(context.clock) }, stats);
}

function compileNetworkAuthz(message: NetworkAuthz, field: Field): NetworkAuthzConfig {
  refuseFields(field, message, ['bootstrapMetadataLabelsKey']);
  if (message.statPrefix === '') field.child('stat_prefix').reject('is required');
  if (message.transportApiVersion !== ApiVersion.V3) field.child('transport_api_version').reject('must be V3');
  const target = compileGrpcService(message.grpcService, field.child('grpc_service'));
  const isEnabledBy =
    message.filterEnabledMetadata && compileMetadataMatcher(message.filterEnabledMetadata, field.child('filter_enabled_metadata'));
  return {
    service: { ...target, timeoutMs: target.timeoutMs ?? DEFAULT_TIMEOUT_MS },
    allowsOnFailure: message.failureModeAllow,
    isEnabledBy,
    includesPeerCertificate: message.includePeerCertificate,
    includesTlsSession: message.includeTlsSession,
  };
}

interface NetworkAuthzConfig extends ShownOfTls {
  readonly service: GrpcTarget;
  readonly allowsOnFailure: boolean;
  readonly isEnabledBy: ((read: MetadataReader) => boolean) | undefined;
}

class NetworkAuthzGate implements NetworkGate {
  readonly #config: NetworkAuthzConfig;
  readonly #runtime: CallRuntime;
  readonly #stats: Counts<typeof STATS>;

  constructor(config: NetworkAuthzConfig, runtime: CallRuntime, stats: Counts<typeof STATS>) {
    this.#config = config;
    this.#runtime = runtime;
    this.#stats = stats;
  }

  onConnection(entry: GateEntry): 'pass' | 'wait' {
    const { connection } = entry;
    const { isEnabledBy, service } = this.#config;
    if (isEnabledBy?.((namespace) => connection.filterState.dynamicMetadata?.[namespace]) === false) {
      this.#stats.disabled++;
      return 'pass';
    }
    this.#stats.total++;
    this.#stats.active++;
    const onClose = (): void => {
      call.cancel();
      this.#stats.active--;
    };
    const call = askGrpcOfConnection(this.#runtime, connection, {
      includesPeerCertificate: this.#config.includesPeerCertificate,
      includesTlsSession: this.#config.includesTlsSession,
      service,
      done: (decision) => {
        connection.socket.off('close', onClose);
        this.#stats.active--;
        this.#follow(entry, decision);
      },
    });
    connection.socket.once('close', onClose);
    return 'wait';
  }

  #follow(entry: GateEntry, decision: AuthzDecision): void {
    const { filterState } = entry.connection;
    if (decision.kind === 'ok') {
      this.#stats.ok++;
      if (decision.metadata !== undefined)
        filterState.dynamicMetadata = { ...filterState.dynamicMetadata, [METADATA_NAMESPACE]: decision.metadata };
      entry.pass();
      return;
    }
    if (decision.kind === 'error') this.#stats.error++;
    else this.#stats.denied++;
    if (decision.kind === 'error' && this.#config.allowsOnFailure) {
      this.#stats.failureModeAllowed++;
      entry.pass();
      return;
    }
    this.#stats.closed++;
    entry.refuse('', 'unauthorizedExternalService');
  }
}
