import {
  type FilterConfig,
  FilterConfigSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3/sni_dynamic_forward_proxy';
import { compileDnsCache } from '../cluster/dns-cache-config.ts';
import { ConfigError, within } from '../config/config-error.ts';
import { FILTER_STATE_KEYS } from '../config/filter-state.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import type { DownstreamConnection } from '../contract.ts';
import type { GateEntry, NetworkGate } from './network-gate.ts';
import type { GateEnvironment } from './network-gates.ts';

const SUPPORTED = { [FilterConfigSchema.typeName]: ['dns_cache_config', 'port_value'] };
const HTTPS_PORT = 443;

/**
 * Holds a TLS connection that passes until the name that it asks for is resolved, for a dynamic forward proxy behind it.
 * Source: envoy SniDynamicForwardProxy ProxyFilter (1.40).
 */
export class SniForwardProxyGate implements NetworkGate {
  readonly #cacheName: string;
  readonly #port: number;
  readonly #proxy: GateEnvironment['proxy'];

  /** Throws ConfigError. */
  constructor(message: FilterConfig, { proxy }: GateEnvironment) {
    refuseUnsupportedFields(FilterConfigSchema, message, { supported: SUPPORTED });
    const { dnsCacheConfig: cache, portSpecifier: port } = message;
    if (cache === undefined) throw new ConfigError('dns_cache_config', 'is required');
    this.#cacheName = within('dns_cache_config', () => compileDnsCache(cache)).name;
    this.#port = port.case === 'portValue' ? port.value : HTTPS_PORT;
    if (this.#port > 65_535) throw new ConfigError('port_value', `must be at most 65535, not ${this.#port}`);
    this.#proxy = proxy;
  }

  onConnection(entry: GateEntry): 'pass' | 'wait' {
    const { connection } = entry;
    const name = askedName(connection);
    const hosts = this.#proxy.dnsHosts?.(this.#cacheName);
    if (name === '' || hosts === undefined) return 'pass';
    connection.filterState.objects ??= new Map();
    const { objects } = connection.filterState;
    const port = objects.get(FILTER_STATE_KEYS.dynamicPort) ?? { value: String(this.#port), isReadOnly: false, sharing: 'none' };
    objects.set(FILTER_STATE_KEYS.dynamicPort, port);
    const load = hosts.load(name, Number(port.value), () => entry.pass());
    if (load.kind === 'known' || load.kind === 'failed') return 'pass';
    if (load.kind === 'pending') connection.socket.once('close', () => load.cancel());
    else entry.refuse('');
    return 'wait';
  }
}

/** The SNI of a connection that passes as TLS or ended here, or ''. */
export function askedName({ requestedServerName, tls }: DownstreamConnection): string {
  return requestedServerName ?? tls?.requestedServerName ?? '';
}
