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
  } catch (thrown) {
    throw new MizzenError('MIZZEN_BOOTSTRAP', `the bootstrap cannot be used: ${errorMessage(thrown)}`, { cause: thrown });
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
