import type { Any } from '@bufbuild/protobuf/wkt';
import { refuseFields } from '@mizzen/matching';
import { compileExpression, type MetricOverride } from '@mizzen/telemetry';
import { unpackAny } from '@mizzen/xds-api';
import { type MetricConfig, type PluginConfig, PluginConfigSchema } from '@mizzen/xds-api/stats/config';
import { ConfigError, collected, within } from '../config/config-error.ts';
import { durationMs } from '../config/values.ts';

/** What a filter's message says of Istio's standard metrics. */
export interface IstioStatsConfig {
  /** Equal for configurations that say the same. */
  readonly key: string;
  readonly overrides: readonly MetricOverride[];
  readonly disablesHostFallback: boolean;
}

// TCP sessions report this often, whatever longer time is asked for. Source: istio proxy, tcp_reporting_duration.
const TCP_REPORTING_MS = 5000;

/**
 * Compiles `stats.PluginConfig`; a message of another type has no settings. Throws ConfigError with the place below `typed_config`. The
 * fields debug, max_peer_cache_size, stat_prefix, field_separator and value_separator have no effect in Istio's proxy either.
 * Source: istio/proxy source/extensions/filters/http/istio_stats/config.proto (1.32).
 */
export function compileIstioStats(any: Any): IstioStatsConfig {
  const config = unpackAny(any, PluginConfigSchema);
  if (durationMs(config?.tcpReportingDuration, TCP_REPORTING_MS) < TCP_REPORTING_MS)
    throw new ConfigError('tcp_reporting_duration', `must be ${TCP_REPORTING_MS / 1000}s or longer in this proxy`);
  refuseDefinitions(config);
  return {
    key: Buffer.from(any.value).toString('base64'),
    overrides: (config?.metrics ?? []).map((metric, index) => within(`metrics[${index}]`, () => compileOverride(metric))),
    disablesHostFallback: config?.disableHostHeaderFallback ?? false,
  };
}

function refuseDefinitions(config: PluginConfig | undefined): void {
  if (config === undefined) return;
  collected((field) => refuseFields(field, config, ['definitions']));
}

function compileOverride(metric: MetricConfig): MetricOverride {
  if (metric.match !== '') throw new ConfigError('match', 'is not supported by this proxy; remove it');
  return {
    metric: metric.name.replace(/^istio_/, ''),
    isDropped: metric.drop,
    removedLabels: metric.tagsToRemove,
    labels: Object.entries(metric.dimensions).map(([label, text]) => {
      try {
        return [label, compileExpression(text)] as const;
      } catch (thrown) {
        throw new ConfigError(`dimensions["${label}"]`, (thrown as Error).message);
      }
    }),
  };
}
