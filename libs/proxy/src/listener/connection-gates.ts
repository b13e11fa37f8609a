import type { Clock } from '@mizzen/core';
import type { RuntimeFeatureFlag } from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  type ConnectionLimit,
  ConnectionLimitSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/network/connection_limit/v3/connection_limit';
import {
  type LocalRateLimit,
  LocalRateLimitSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/network/local_ratelimit/v3/local_rate_limit';
import { ConfigError, collected } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { durationMs } from '../config/values.ts';
import { compileTokenRate, TokenBucket } from '../filters/token-bucket.ts';
import { type Counts, defineStats } from '../observe/stat-registry.ts';
import { OwnNumbers, type SharedNumbers } from '../workers/shared-memory.ts';
import type { GateEntry, NetworkGate } from './network-gate.ts';
import type { GateEnvironment } from './network-gates.ts';

const CONNECTION_LIMIT_STATS = defineStats({
  counters: { limitedConnections: 'limited_connections' },
  gauges: { activeConnections: 'active_connections' },
});
/** Of the network filter and the listener filter alike. */
export const RATE_LIMIT_STATS = defineStats({ counters: { rateLimited: 'rate_limited' } });

/**
 * Closes connections above a number of them, at once or after a delay that slows down who comes again.
 * Source: envoy docs, Connection limit filter (1.40).
 */
export class ConnectionLimitGate implements NetworkGate {
  readonly #stats: Counts<typeof CONNECTION_LIMIT_STATS>;
  readonly #maxConnections: number;
  readonly #delayMs: number;
  readonly #isEnabled: boolean;
  readonly #clock: Clock;
  readonly #active: SharedNumbers;

  /** Throws ConfigError. */
  constructor(message: ConnectionLimit, { proxy }: GateEnvironment) {
    refuseUnsupportedFields(ConnectionLimitSchema, message, {
      supported: { [ConnectionLimitSchema.typeName]: ['stat_prefix', 'max_connections', 'delay', 'runtime_enabled'] },
    });
    if (message.maxConnections === undefined || message.maxConnections < 1n) throw new ConfigError('max_connections', 'must be at least 1');
    this.#maxConnections = Number(message.maxConnections);
    this.#delayMs = durationMs(message.delay, 0);
    this.#isEnabled = isEnabled(message.runtimeEnabled);
    this.#clock = proxy.clock;
    this.#active = proxy.share?.acquireCompiled(this) ?? new OwnNumbers(1);
    this.#stats = proxy.stats.counts(CONNECTION_LIMIT_STATS, {
      prefix: `connection_limit.${message.statPrefix}`,
      tags: [['envoy.connection_limit_prefix', message.statPrefix]],
    });
  }

  onConnection(entry: GateEntry): 'pass' | 'wait' {
    if (!this.#isEnabled) return 'pass';
    if (this.#active.add(0, 1) <= this.#maxConnections) {
      this.#stats.activeConnections++;
      entry.connection.socket.once('close', () => {
        this.#active.add(0, -1);
        this.#stats.activeConnections--;
      });
      return 'pass';
    }
    this.#active.add(0, -1);
    this.#stats.limitedConnections++;
    if (this.#delayMs === 0) entry.refuse('connection_limit');
    else {
      const timer = this.#clock.after(this.#delayMs, () => entry.refuse('connection_limit'));
      entry.connection.socket.once('close', () => timer.cancel());
    }
    return 'wait';
  }
}

/** Closes connections that come faster than tokens do. Source: envoy docs, Local rate limit (network, 1.40). */
export class LocalRateLimitGate implements NetworkGate {
  readonly #stats: Counts<typeof RATE_LIMIT_STATS>;
  readonly #bucket: TokenBucket;
  readonly #isEnabled: boolean;

  /** Throws ConfigError. */
  constructor(message: LocalRateLimit, { proxy }: GateEnvironment) {
    refuseUnsupportedFields(LocalRateLimitSchema, message, {
      supported: { [LocalRateLimitSchema.typeName]: ['stat_prefix', 'token_bucket', 'runtime_enabled'] },
    });
    const rate = collected((field) => compileTokenRate(message.tokenBucket, field), 'token_bucket');
    this.#bucket = new TokenBucket(rate, proxy.clock, proxy.share);
    this.#isEnabled = isEnabled(message.runtimeEnabled);
    this.#stats = proxy.stats.counts(RATE_LIMIT_STATS, {
      prefix: `local_rate_limit.${message.statPrefix}`,
      tags: [['envoy.local_network_ratelimit_prefix', message.statPrefix]],
    });
  }

  onConnection(entry: GateEntry): 'pass' | 'wait' {
    if (!this.#isEnabled || this.#bucket.take()) return 'pass';
    this.#stats.rateLimited++;
    entry.refuse('local_ratelimit_close_over_connection_limit');
    return 'wait';
  }
}

/** Sends a TCP connection to the cluster that is named as the client's SNI. Source: envoy docs, Upstream cluster from SNI (1.40). */
export const SNI_CLUSTER_GATE: NetworkGate = {
  onConnection({ connection }) {
    const serverName = connection.requestedServerName ?? connection.tls?.requestedServerName ?? '';
    if (serverName !== '') connection.filterState.clusterName = serverName;
    return 'pass';
  },
};

// A key that the runtime has a value for is not looked up: the flag's default stands, as where nobody set the key.
export function isEnabled(flag: RuntimeFeatureFlag | undefined): boolean {
  return flag?.defaultValue ?? true;
}
