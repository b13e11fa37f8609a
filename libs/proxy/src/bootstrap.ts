import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { errorMessage, MizzenError } from '@mizzen/core';
import { xdsRegistry } from '@mizzen/xds-api';
import {
  AdminSchema,
  type Bootstrap,
  Bootstrap_DynamicResourcesSchema,
  Bootstrap_StaticResourcesSchema,
  BootstrapSchema,
  ClusterManagerSchema,
  LayeredRuntimeSchema,
  RuntimeLayerSchema,
} from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import type { ClusterManagerOptions } from './cluster/cluster-manager.ts';
import { ConfigError } from './config/config-error.ts';
import { refuseUnsupportedFields } from './config/unsupported-fields.ts';
import { maxConnectionsOf } from './listener/connection-limits.ts';

const SUPPORTED = {
  [BootstrapSchema.typeName]: [
    'node',
    'node_context_params',
    'static_resources',
    'dynamic_resources',
    'cluster_manager',
    'flags_path',
    'stats_sinks',
    'deferred_stat_options',
    'stats_config',
    'stats_flush_interval',
    'stats_flush_on_admin',
    'watchdog',
    'watchdogs',
    'layered_runtime',
    'admin',
    'enable_dispatcher_stats',
    'stats_server_version_override',
    'typed_dns_resolver_config',
    'bootstrap_extensions',
    'fatal_actions',
    'perf_tracing_file_path',
    'application_log_config',
    'memory_allocator_manager',
    'overload_manager',
  ],
  [Bootstrap_StaticResourcesSchema.typeName]: ['listeners', 'clusters', 'secrets'],
  [Bootstrap_DynamicResourcesSchema.typeName]: ['lds_config', 'cds_config', 'ads_config'],
  [ClusterManagerSchema.typeName]: ['local_cluster_name', 'outlier_detection', 'enable_deferred_cluster_creation'],
  [AdminSchema.typeName]: ['access_log', 'access_log_path', 'profile_path', 'address', 'socket_options', 'ignore_global_conn_limit'],
  // Runtime flags are Envoy's own; the layers may stand there as in Istio's bootstrap, and name nothing that this proxy reads.
  [LayeredRuntimeSchema.typeName]: ['layers'],
  [RuntimeLayerSchema.typeName]: ['name', 'static_layer', 'admin_layer'],
};

/**
 * Reads an Envoy bootstrap. Fields that Envoy does not know, and those that this proxy does not implement, are refused with their path.
 * Throws MIZZEN_BOOTSTRAP.
 */
export async function loadBootstrap(text: string, format: 'yaml' | 'json'): Promise<Bootstrap> {
  const value = await parse(text, format);
  let bootstrap: Bootstrap;
  try {
    bootstrap = fromJson(BootstrapSchema, value, { registry: xdsRegistry });
  } catch (thrown) {
    throw new MizzenError('MIZZEN_BOOTSTRAP', `the bootstrap is not an Envoy bootstrap: ${errorMessage(thrown)}`, { cause: thrown });
  }
  checkBootstrap(bootstrap);
  return bootstrap;
}

/** Throws MIZZEN_BOOTSTRAP for what this proxy cannot honour. */
export function checkBootstrap(bootstrap: Bootstrap): void {
  try {
    refuseUnsupportedFields(BootstrapSchema, bootstrap, { supported: SUPPORTED });
    maxConnectionsOf(bootstrap.overloadManager);
    checkLocalCluster(bootstrap);
    checkExtensions(bootstrap);
  } catch (thrown) {
    throw new MizzenError('MIZZEN_BOOTSTRAP', `the bootstrap cannot be used: ${errorMessage(thrown)}`, { cause: thrown });
  }
}

function checkLocalCluster(bootstrap: Bootstrap): void {
  const zone = localZoneOf(bootstrap);
  if (zone === undefined || bootstrap.staticResources?.clusters.some(({ name }) => name === zone.clusterName) === true) return;
  throw new ConfigError('cluster_manager.local_cluster_name', `names no cluster of static_resources: ${zone.clusterName}`);
}

/** The cluster of proxies like this one, and `region/zone/sub_zone` of this one; undefined where the bootstrap names no such cluster. */
export function localZoneOf({ clusterManager, node }: Bootstrap): ClusterManagerOptions['localZone'] {
  const clusterName = clusterManager?.localClusterName ?? '';
  if (clusterName === '') return undefined;
  const at = node?.locality;
  return { clusterName, locality: at === undefined ? undefined : `${at.region}/${at.zone}/${at.subZone}` };
}

/** Compiles what stands at `path` of a bootstrap. Throws MIZZEN_BOOTSTRAP with that place. */
export function atBootstrap<T>(path: string, compile: () => T): T {
  try {
    return compile();
  } catch (thrown) {
    const reason = errorMessage(thrown);
    throw new MizzenError('MIZZEN_BOOTSTRAP', `the bootstrap cannot be used: ${path}.${reason}`, { cause: thrown });
  }
}

/** Internal listeners need no extension here; of the others this proxy has none. */
const INTERNAL_LISTENER = 'envoy.extensions.bootstrap.internal_listener.v3.InternalListener';

function checkExtensions({ bootstrapExtensions }: Bootstrap): void {
  for (const [index, { name, typedConfig }] of bootstrapExtensions.entries()) {
    const type = typedConfig?.typeUrl.slice(typedConfig.typeUrl.lastIndexOf('/') + 1) ?? '';
    if (type === INTERNAL_LISTENER) continue;
    const hint =
      name === 'envoy.bootstrap.workload_discovery' ? '; leave METADATA_DISCOVERY off, proxies tell each other by headers' : '; remove it';
    throw new ConfigError(`bootstrap_extensions[${index}]`, `${name || type} is not supported by this proxy${hint}`);
  }
}

async function parse(text: string, format: 'yaml' | 'json'): Promise<JsonValue> {
  try {
    if (format === 'json') return JSON.parse(text) as JsonValue;
    // The parser is needed once, and not by a proxy that its agent starts.
    const { parse: parseYaml } = await import('yaml');
    return parseYaml(text, { maxAliasCount: 100 }) as JsonValue;
  } catch (thrown) {
    throw new MizzenError('MIZZEN_BOOTSTRAP', `the bootstrap is not valid ${format.toUpperCase()}: ${errorMessage(thrown)}`, {
      cause: thrown,
    });
  }
}
