import { unpackAny } from '@mizzen/xds-api';
import { type OverloadManager, OverloadManagerSchema } from '@mizzen/xds-api/envoy/config/overload/v3/overload';
import { DownstreamConnectionsConfigSchema as MaxConnectionsSchema } from '@mizzen/xds-api/envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections';
import { ConfigError } from '../config/config-error.ts';
import type { RuntimeValues } from '../config/runtime-values.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';

/**
 * How many connections may be open: one listener's by the runtime key `envoy.resource_limits.listener.<name>.connection_limit`, those of all
 * listeners by the overload manager's global_downstream_max_connections. Source: envoy docs, "Limit connections" and overload manager (1.40).
 */
export class ConnectionLimits {
  readonly #maxConnections: number;
  readonly #runtime: Pick<RuntimeValues, 'number'> | undefined;
  #open = 0;

  /** `maxConnections` of all listeners together; without it there is no limit. */
  constructor({
    maxConnections = Number.POSITIVE_INFINITY,
    runtime,
  }: {
    readonly maxConnections?: number | undefined;
    readonly runtime?: Pick<RuntimeValues, 'number'> | undefined;
  }) {
    this.#maxConnections = maxConnections;
    this.#runtime = runtime;
  }

  get isFull(): boolean {
    return this.#open >= this.#maxConnections;
  }

  ofListener(name: string): number {
    return (
      this.#runtime?.number(`envoy.resource_limits.listener.${name}.connection_limit`, Number.POSITIVE_INFINITY) ?? Number.POSITIVE_INFINITY
    );
  }

  opened(): void {
    this.#open++;
  }

  closed(): void {
    this.#open--;
  }
}

/** What the overload manager of a bootstrap limits connections to; undefined where it does not. Throws ConfigError with a path from `overload_manager` on. */
export function maxConnectionsOf(message: OverloadManager | undefined): number | undefined {
  if (message === undefined) return undefined;
  refuseUnsupportedFields(OverloadManagerSchema, message, {
    supported: { [OverloadManagerSchema.typeName]: ['refresh_interval', 'resource_monitors'] },
    path: 'overload_manager',
  });
  let limit: number | undefined;
  message.resourceMonitors.forEach(({ name, configType }, index) => {
    const path = `overload_manager.resource_monitors[${index}]`;
    const config = unpackAny(configType.value, MaxConnectionsSchema);
    if (config === undefined)
      throw new ConfigError(
        path,
        `${name} is not a resource monitor that this proxy has; global_downstream_max_connections is the only one`,
      );
    if (config.maxActiveDownstreamConnections < 1n)
      throw new ConfigError(`${path}.typed_config.max_active_downstream_connections`, 'must be at least 1');
    limit = Number(config.maxActiveDownstreamConnections);
  });
  return limit;
}
