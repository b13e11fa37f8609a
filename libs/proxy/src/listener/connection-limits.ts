import { unpackAny } from '@mizzen/xds-api';
import { type OverloadManager, OverloadManagerSchema } from '@mizzen/xds-api/envoy/config/overload/v3/overload';
import { DownstreamConnectionsConfigSchema as MaxConnectionsSchema } from '@mizzen/xds-api/envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections';
import { ConfigError } from '../config/config-error.ts';
import type { RuntimeValues } from '../config/runtime-values.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import type { ProcessShare } from '../workers/process-share.ts';
import { OwnNumbers, type SharedNumbers } from '../workers/shared-memory.ts';

/**
 * How many connections may be open: one listener's by the runtime key `envoy.resource_limits.listener.<name>.connection_limit`, those of all
 * listeners by the overload manager's global_downstream_max_connections. They hold for the process, whichever event loop has the connection.
 * Source: envoy docs, "Limit connections" and overload manager (1.40).
 */
export class ConnectionLimits {
  readonly #maxConnections: number;
  readonly #runtime: Pick<RuntimeValues, 'number'> | undefined;
  readonly #share: ProcessShare | undefined;
  readonly #open: SharedNumbers;

  /** `maxConnections` of all listeners together; without it there is no limit. */
  constructor({
    maxConnections = Number.POSITIVE_INFINITY,
    runtime,
    share,
  }: {
    readonly maxConnections?: number | undefined;
    readonly runtime?: Pick<RuntimeValues, 'number'> | undefined;
    readonly share?: ProcessShare | undefined;
  }) {
    this.#maxConnections = maxConnections;
    this.#runtime = runtime;
    this.#share = share;
    this.#open = share?.acquire('connections') ?? new OwnNumbers(1);
  }

  /** The count of a listener's connections; its holder releases it. */
  countOf(listener: string): SharedNumbers {
    return this.#share?.acquire(`listener|${listener}`) ?? new OwnNumbers(1);
  }

  /** Counts one more connection, or says which limit keeps it out. */
  open(
    count: SharedNumbers,
    listener: { readonly name: string; readonly ignoresGlobalLimit: boolean },
  ): 'opened' | 'listener-full' | 'full' {
    if (count.add(0, 1) > this.#ofListener(listener.name)) {
      count.add(0, -1);
      return 'listener-full';
    }
    if (this.#open.add(0, 1) > this.#maxConnections && !listener.ignoresGlobalLimit) {
      this.close(count);
      return 'full';
    }
    return 'opened';
  }

  close(count: SharedNumbers): void {
    count.add(0, -1);
    this.#open.add(0, -1);
  }

  #ofListener(name: string): number {
    return (
      this.#runtime?.number(`envoy.resource_limits.listener.${name}.connection_limit`, Number.POSITIVE_INFINITY) ?? Number.POSITIVE_INFINITY
    );
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
