import { compileHeaderMatchers, compileMetadataMatcher, fractionOf, hash32, valueAt } from '@mizzen/matching';
import { RESPONSE_FLAG, type StreamInfo } from '@mizzen/telemetry';
import {
  type AccessLogFilter,
  type ComparisonFilter,
  ComparisonFilter_Op,
  type GrpcStatusFilter,
  type MetadataFilter,
  type RuntimeFilter,
} from '@mizzen/xds-api/envoy/config/accesslog/v3/accesslog';
import { AccessLogType } from '@mizzen/xds-api/envoy/data/accesslog/v3/accesslog';
import { ConfigError, collected, within } from '../config/config-error.ts';
import type { RuntimeValues } from '../config/runtime-values.ts';
import { grpcStatusOfHttp } from '../http/grpc.ts';

export type StreamPredicate = (info: StreamInfo) => boolean;

export interface FilterContext {
  readonly runtime: RuntimeValues;
  readonly random: () => number;
}

/** Whether a stream is logged. Throws ConfigError. Source: envoy source/common/access_log/access_log_impl.cc (1.40). */
export function compileAccessLogFilter(filter: AccessLogFilter, context: FilterContext): StreamPredicate {
  const specifier = filter.filterSpecifier;
  switch (specifier.case) {
    case 'statusCodeFilter': {
      const compare = within('status_code_filter', () => compileComparison(specifier.value.comparison, context));
      return (info) => compare(info.responseCode);
    }
    case 'durationFilter': {
      const compare = within('duration_filter', () => compileComparison(specifier.value.comparison, context));
      return (info) => compare(Math.round(info.endMonotonicMs - info.startMonotonicMs));
    }
    case 'notHealthCheckFilter':
      return (info) => info.isHealthCheck !== true;
    case 'traceableFilter':
      return (info) => info.isTraced === true;
    case 'runtimeFilter':
      return compileRuntime(specifier.value, context);
    case 'andFilter': {
      const all = compileAll('and_filter', specifier.value.filters, context);
      return (info) => all.every((matches) => matches(info));
    }
    case 'orFilter': {
      const any = compileAll('or_filter', specifier.value.filters, context);
      return (info) => any.some((matches) => matches(info));
    }
    case 'headerFilter': {
      const { header } = specifier.value;
      if (header === undefined) throw new ConfigError('header_filter.header', 'is required');
      const conditions = collected((field) => compileHeaderMatchers([header], field.child('header_filter').child('header')));
      return (info) => conditions.every((matches) => matches((name) => info.requestHeader(name)));
    }
    case 'responseFlagFilter':
      return compileFlags(specifier.value.flags);
    case 'grpcStatusFilter':
      return compileGrpcStatus(specifier.value);
    case 'metadataFilter':
      return compileMetadata(specifier.value);
    case 'logTypeFilter': {
      const { types, exclude } = specifier.value;
      return (info) => types.includes(info.protocol === '' ? AccessLogType.TcpConnectionEnd : AccessLogType.DownstreamEnd) !== exclude;
    }
    case 'extensionFilter':
      throw new ConfigError(
        'extension_filter',
        `${specifier.value.name} (an expression) is not supported by this proxy; use the other filters`,
      );
    case undefined:
      throw new ConfigError('', 'needs one filter');
  }
}

function compileAll(path: string, filters: readonly AccessLogFilter[], context: FilterContext): readonly StreamPredicate[] {
  if (filters.length < 2) throw new ConfigError(`${path}.filters`, 'needs two filters at least');
  return filters.map((filter, index) => within(`${path}.filters[${index}]`, () => compileAccessLogFilter(filter, context)));
}

// NE is newer than the messages that this proxy is built with. Source: envoy ComparisonFilter.Op (1.40).
const COMPARISON_NE = 3;

function compileComparison(message: ComparisonFilter | undefined, { runtime }: FilterContext): (value: number) => boolean {
  if (message?.value === undefined) throw new ConfigError('comparison.value', 'is required');
  const { defaultValue, runtimeKey } = message.value;
  const limit = (): number => (runtimeKey === '' ? defaultValue : runtime.number(runtimeKey, defaultValue));
  switch (message.op) {
    case ComparisonFilter_Op.EQ:
      return (value) => value === limit();
    case ComparisonFilter_Op.GE:
      return (value) => value >= limit();
    case ComparisonFilter_Op.LE:
      return (value) => value <= limit();
    case COMPARISON_NE:
      return (value) => value !== limit();
    default:
      throw new ConfigError('comparison.op', 'is not known');
  }
}

/** A share of streams: those of one x-request-id fall on the same side in every proxy, unless randomness is to be independent. */
function compileRuntime(message: RuntimeFilter, { runtime, random }: FilterContext): StreamPredicate {
  if (message.runtimeKey === '') throw new ConfigError('runtime_filter.runtime_key', 'is required');
  const share = message.percentSampled === undefined ? 0 : fractionOf(message.percentSampled);
  return (info) => {
    const wanted = runtime.number(message.runtimeKey, share * 100) / 100;
    const isRandom = message.useIndependentRandomness || info.requestId === '';
    return (isRandom ? random() : hash32(info.requestId) / 2 ** 32) < wanted;
  };
}

function compileFlags(flags: readonly string[]): StreamPredicate {
  const known = new Set<string>(Object.values(RESPONSE_FLAG));
  const unknown = flags.find((flag) => !known.has(flag));
  if (unknown !== undefined) throw new ConfigError('response_flag_filter.flags', `${unknown} is a flag that this proxy never sets`);
  if (flags.length === 0) return (info) => info.flags.length > 0;
  return (info) => info.flags.some((flag) => flags.includes(RESPONSE_FLAG[flag]));
}

// Envoy goes by the trailer, then the header, then what the HTTP status stands for.
function compileGrpcStatus({ statuses, exclude }: GrpcStatusFilter): StreamPredicate {
  return (info) => {
    const { grpcStatus, responseCode } = info;
    const status = grpcStatus !== '' ? Number(grpcStatus) : responseCode === 200 ? 0 : grpcStatusOfHttp(responseCode);
    return statuses.some((wanted) => Number(wanted) === status) !== exclude;
  };
}

function compileMetadata({ matcher, matchIfKeyNotFound = true }: MetadataFilter): StreamPredicate {
  if (matcher === undefined) return () => true;
  const matches = collected((field) => compileMetadataMatcher(matcher, field.child('metadata_filter').child('matcher')));
  const keys = matcher.path.map(({ segment }) => segment.value ?? '');
  return (info) => {
    const found = valueAt(info.dynamicMetadata?.get(matcher.filter), keys);
    return found === undefined ? matchIfKeyNotFound : matches((namespace) => info.dynamicMetadata?.get(namespace));
  };
}
