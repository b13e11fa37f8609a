import type { DescMessage, Message } from '@bufbuild/protobuf';
import type { Clock } from '@mizzen/core';
import { unpackAny } from '@mizzen/xds-api';
import type { ListenerFilter } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { HttpInspectorSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/http_inspector/v3/http_inspector';
import {
  type LocalRateLimit,
  LocalRateLimitSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/listener/local_ratelimit/v3/local_ratelimit';
import { OriginalDstSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/original_dst/v3/original_dst';
import { OriginalSrcSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/original_src/v3/original_src';
import {
  type ProxyProtocol,
  ProxyProtocolSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol';
import { TlsInspectorSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector';
import { ConfigError, collected, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { compileTokenRate, TokenBucket } from '../filters/token-bucket.ts';
import type { StatRegistry } from '../observe/stat-registry.ts';
import type { ProcessShare } from '../workers/process-share.ts';
import { isEnabled, RATE_LIMIT_STATS } from './connection-gates.ts';
import { compileFilterDisabled, type DisabledAt } from './filter-disabled.ts';
import { ProxyProtocolFilter } from './proxy-protocol-filter.ts';

/** What a listener does with a connection before it chooses the filter chain. Ports: the one that the client wanted. */
export interface ListenerFilters {
  /** undefined without the filter. */
  readonly inspectsTls: ((port: number) => boolean) | undefined;
  readonly inspectsHttp: ((port: number) => boolean) | undefined;
  readonly restoresDestination: boolean;
  readonly proxyProtocol: { readonly filter: ProxyProtocolFilter; readonly isAskedAt: (port: number) => boolean } | undefined;
  /** Asked on accept; a connection that one of them refuses is closed. */
  readonly rateLimits: readonly ListenerRateLimit[];
}

/** Whether one more connection may come; counts those that may not. */
export type ListenerRateLimit = () => boolean;

const SUPPORTED = {
  // Fingerprints are not made; the size of the first read is ours.
  [TlsInspectorSchema.typeName]: ['initial_read_buffer_size'],
  [HttpInspectorSchema.typeName]: [],
  [OriginalDstSchema.typeName]: [],
  [ProxyProtocolSchema.typeName]: [
    'rules',
    'allow_requests_without_proxy_protocol',
    'pass_through_tlvs',
    'disallowed_versions',
    'stat_prefix',
  ],
  [LocalRateLimitSchema.typeName]: ['stat_prefix', 'token_bucket', 'runtime_enabled'],
};

const SCHEMAS: readonly DescMessage[] = [
  TlsInspectorSchema,
  HttpInspectorSchema,
  OriginalDstSchema,
  ProxyProtocolSchema,
  LocalRateLimitSchema,
];

interface Compiled {
  readonly schema: DescMessage;
  readonly message: Message;
  readonly isAskedAt: (port: number) => boolean;
}

export interface ListenerFilterEnvironment {
  readonly clock: Clock;
  readonly stats: StatRegistry;
  readonly share?: ProcessShare | undefined;
}

/** Throws ConfigError with a path from `listener_filters` on. */
export function compileListenerFilters(filters: readonly ListenerFilter[], environment: ListenerFilterEnvironment): ListenerFilters {
  const { stats } = environment;
  const compiled = filters.map((filter, index) => within(`listener_filters[${index}]`, () => compile(filter)));
  const find = (schema: DescMessage): Compiled | undefined => compiled.find((filter) => filter.schema === schema);
  refuseLateProxyProtocol(compiled);
  const proxyProtocol = find(ProxyProtocolSchema);
  return {
    inspectsTls: find(TlsInspectorSchema)?.isAskedAt,
    inspectsHttp: find(HttpInspectorSchema)?.isAskedAt,
    restoresDestination: find(OriginalDstSchema) !== undefined,
    proxyProtocol:
      proxyProtocol === undefined
        ? undefined
        : {
            filter: within(`listener_filters[${compiled.indexOf(proxyProtocol)}].typed_config`, () => {
              return new ProxyProtocolFilter(proxyProtocol.message as ProxyProtocol, stats);
            }),
            isAskedAt: proxyProtocol.isAskedAt,
          },
    rateLimits: compiled.flatMap(({ schema, message }, index) =>
      schema === LocalRateLimitSchema
        ? [within(`listener_filters[${index}].typed_config`, () => compileRateLimit(message as LocalRateLimit, environment))]
        : [],
    ),
  };
}

function compile(filter: ListenerFilter): Compiled {
  if (filter.configType.case === 'configDiscovery')
    throw new ConfigError('config_discovery', 'is not supported by this proxy; give typed_config');
  const any = filter.configType.value;
  const schema = SCHEMAS.find(({ typeName }) => any?.typeUrl.endsWith(`/${typeName}`));
  const message = schema === undefined ? undefined : unpackAny(any, schema);
  if (schema === undefined || message === undefined) throw new ConfigError('typed_config', describeUnknown(any?.typeUrl ?? '', filter));
  refuseUnsupportedFields(schema, message, { supported: SUPPORTED, path: 'typed_config' });
  const isDisabledAt: DisabledAt = compileFilterDisabled(filter.filterDisabled);
  return { schema, message, isAskedAt: (port) => !isDisabledAt(port) };
}

function describeUnknown(typeUrl: string, filter: ListenerFilter): string {
  if (typeUrl.endsWith(`/${OriginalSrcSchema.typeName}`))
    return 'original_src is not supported by this proxy: it cannot connect from an address that is not its own; remove the filter';
  return `${typeUrl || filter.name} is not a listener filter that this proxy has`;
}

// An inspector that saw the header before it is taken off would see neither TLS nor HTTP.
function refuseLateProxyProtocol(compiled: readonly Compiled[]): void {
  const index = compiled.findIndex(({ schema }) => schema === ProxyProtocolSchema);
  const inspector = compiled.findIndex(({ schema }) => schema === TlsInspectorSchema || schema === HttpInspectorSchema);
  if (index >= 0 && inspector >= 0 && inspector < index)
    throw new ConfigError(`listener_filters[${index}]`, 'proxy_protocol must stand before tls_inspector and http_inspector');
}

function compileRateLimit(message: LocalRateLimit, { clock, stats, share }: ListenerFilterEnvironment): ListenerRateLimit {
  const rate = collected((field) => compileTokenRate(message.tokenBucket, field), 'token_bucket');
  const bucket = new TokenBucket(rate, clock, share);
  const counts = stats.counts(RATE_LIMIT_STATS, {
    prefix: `listener_local_ratelimit.${message.statPrefix}`,
    tags: [['envoy.local_listener_ratelimit_prefix', message.statPrefix]],
  });
  if (!isEnabled(message.runtimeEnabled)) return () => true;
  return () => {
    if (bucket.take()) return true;
    counts.rateLimited++;
    return false;
  };
}
