import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { unpackAny } from '@mizzen/xds-api';
import { ConnectionLimitSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/connection_limit/v3/connection_limit';
import { ExtAuthzSchema as NetworkAuthzSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/ext_authz/v3/ext_authz';
import { LocalRateLimitSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/local_ratelimit/v3/local_rate_limit';
import { RBACSchema as NetworkRbacSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/rbac/v3/rbac';
import { ConfigSchema as SetFilterStateSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/set_filter_state/v3/set_filter_state';
import { SniClusterSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/sni_cluster/v3/sni_cluster';
import { FilterConfigSchema as SniForwardProxySchema } from '@mizzen/xds-api/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3/sni_dynamic_forward_proxy';
import { MetadataExchangeSchema } from '@mizzen/xds-api/envoy/tcp/metadataexchange/config/metadata_exchange';
import type { ListenerInfo, ProxyContext } from '../contract.ts';
import { createNetworkAuthz } from '../filters/security/network-authz.ts';
import { createNetworkRbac } from '../filters/security/network-rbac.ts';
import { SetFilterStateGate } from '../filters/set-filter-state.ts';
import { MetadataExchangeGate } from '../tcp/metadata-exchange.ts';
import { ConnectionLimitGate, LocalRateLimitGate, SNI_CLUSTER_GATE } from './connection-gates.ts';
import type { NetworkGate } from './network-gate.ts';
import { SniForwardProxyGate } from './sni-forward-proxy.ts';

/** What a gate is compiled with. */
export interface GateEnvironment {
  readonly proxy: ProxyContext;
  readonly listener: ListenerInfo;
}

/** Throws ConfigError with a path below `typed_config`. */
type GateFactory = (any: Any, environment: GateEnvironment) => NetworkGate;

function gate<Desc extends DescMessage>(
  schema: Desc,
  compile: (message: MessageShape<Desc>, environment: GateEnvironment) => NetworkGate,
): readonly [typeName: string, factory: GateFactory] {
  return [schema.typeName, (any, environment) => compile(unpackAny(any, schema) as MessageShape<Desc>, environment)];
}

/** The network filters that may stand before the last one of a chain, by the type of their message. */
const GATES: ReadonlyMap<string, GateFactory> = new Map([
  gate(ConnectionLimitSchema, (message, environment) => new ConnectionLimitGate(message, environment)),
  gate(LocalRateLimitSchema, (message, environment) => new LocalRateLimitGate(message, environment)),
  gate(NetworkAuthzSchema, (message, { proxy }) => createNetworkAuthz(message, proxy)),
  gate(NetworkRbacSchema, (message, { proxy }) => createNetworkRbac(message, proxy.stats)),
  gate(SetFilterStateSchema, (message, environment) => new SetFilterStateGate(message, environment)),
  gate(SniClusterSchema, () => SNI_CLUSTER_GATE),
  gate(SniForwardProxySchema, (message, environment) => new SniForwardProxyGate(message, environment)),
  gate(MetadataExchangeSchema, (message, environment) => new MetadataExchangeGate(message, environment)),
]);

/** The gate for a network filter's message; undefined where this proxy has none of that type. Throws ConfigError. */
export function compileGate(any: Any, environment: GateEnvironment): NetworkGate | undefined {
  return GATES.get(any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1))?.(any, environment);
}
