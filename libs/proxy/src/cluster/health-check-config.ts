import { type HeaderValueOption, RequestMethod } from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  type HealthCheck,
  type HealthCheck_GrpcHealthCheck,
  HealthCheck_GrpcHealthCheckSchema,
  type HealthCheck_HttpHealthCheck,
  HealthCheck_HttpHealthCheckSchema,
  type HealthCheck_Payload,
  type HealthCheck_TcpHealthCheck,
  HealthCheck_TcpHealthCheckSchema,
  HealthCheckSchema,
} from '@mizzen/xds-api/envoy/config/core/v3/health_check';
import { CodecClientType } from '@mizzen/xds-api/envoy/type/v3/http';
import { ConfigError, within } from '../config/config-error.ts';
import { durationMs } from '../config/values.ts';

/** A range of statuses, the end not included. */
export type StatusRange = readonly [start: number, end: number];

export type HealthProbe =
  | {
      readonly kind: 'http';
      readonly isHttp2: boolean;
      readonly method: string;
      readonly path: string;
      /** '' for the cluster's name. */
      readonly host: string;
      /** Lower-case names. */
      readonly headers: readonly (readonly [name: string, value: string])[];
      readonly expected: readonly StatusRange[];
      /** Failures that count towards the threshold even where a status not expected would fail at once. */
      readonly retriable: readonly StatusRange[];
      /** Must come in this order in the body. */
      readonly receive: readonly Buffer[];
      readonly responseBufferBytes: number;
    }
  | { readonly kind: 'tcp'; readonly send: Buffer | undefined; readonly receive: readonly Buffer[] }
  | {
      readonly kind: 'grpc';
      readonly serviceName: string;
      /** '' for the cluster's name. */
      readonly authority: string;
      readonly metadata: readonly (readonly [name: string, value: string])[];
    };

export interface HealthCheckConfig {
  readonly probe: HealthProbe;
  readonly timeoutMs: number;
  readonly intervalMs: number;
  readonly initialJitterMs: number;
  readonly intervalJitterMs: number;
  readonly intervalJitterPercent: number;
  readonly unhealthyThreshold: number;
  readonly healthyThreshold: number;
  readonly port: number | undefined;
  readonly reusesConnection: boolean;
  /** While nobody uses the cluster, of unhealthy and of healthy endpoints. */
  readonly noTrafficMs: number;
  readonly noTrafficHealthyMs: number;
  readonly unhealthyMs: number;
  /** Right after the change. */
  readonly unhealthyEdgeMs: number;
  readonly healthyEdgeMs: number;
  readonly logsFailures: boolean;
  readonly logsSuccesses: boolean;
}

export const SUPPORTED_HEALTH_CHECK_FIELDS = {
  [HealthCheckSchema.typeName]: [
    'timeout',
    'interval',
    'initial_jitter',
    'interval_jitter',
    'interval_jitter_percent',
    'unhealthy_threshold',
    'healthy_threshold',
    'alt_port',
    'reuse_connection',
    'http_health_check',
    'tcp_health_check',
    'grpc_health_check',
    'no_traffic_interval',
    'no_traffic_healthy_interval',
    'unhealthy_interval',
    'unhealthy_edge_interval',
    'healthy_edge_interval',
    'always_log_health_check_failures',
    'always_log_health_check_success',
  ],
  [HealthCheck_HttpHealthCheckSchema.typeName]: [
    'host',
    'path',
    'receive',
    'response_buffer_size',
    'request_headers_to_add',
    'expected_statuses',
    'retriable_statuses',
    'codec_client_type',
    'method',
  ],
  [HealthCheck_TcpHealthCheckSchema.typeName]: ['send', 'receive'],
  [HealthCheck_GrpcHealthCheckSchema.typeName]: ['service_name', 'authority', 'initial_metadata'],
};

const NO_CHECKS: readonly HealthCheckConfig[] = [];
const DEFAULT_NO_TRAFFIC_MS = 60_000;

/** Throws ConfigError. Defaults are Envoy's. Source: envoy docs, HealthCheck (1.40). */
export function compileHealthChecks(messages: readonly HealthCheck[]): readonly HealthCheckConfig[] {
  if (messages.length === 0) return NO_CHECKS;
  if (messages.length > 1) throw new ConfigError('health_checks', `only one health check is supported, not ${messages.length}`);
  return messages.map((message, index) => within(`health_checks[${index}]`, () => compileHealthCheck(message)));
}

function compileHealthCheck(message: HealthCheck): HealthCheckConfig {
  const intervalMs = required(message.interval, 'interval');
  const noTrafficMs = durationMs(message.noTrafficInterval, DEFAULT_NO_TRAFFIC_MS);
  const unhealthyMs = durationMs(message.unhealthyInterval, intervalMs);
  if (message.unhealthyThreshold === undefined) throw new ConfigError('unhealthy_threshold', 'is required');
  if (message.healthyThreshold === undefined) throw new ConfigError('healthy_threshold', 'is required');
  return {
    probe: compileProbe(message.healthChecker),
    timeoutMs: required(message.timeout, 'timeout'),
    intervalMs,
    initialJitterMs: durationMs(message.initialJitter, 0),
    intervalJitterMs: durationMs(message.intervalJitter, 0),
    intervalJitterPercent: message.intervalJitterPercent,
    unhealthyThreshold: message.unhealthyThreshold,
    healthyThreshold: message.healthyThreshold,
    port: message.altPort,
    reusesConnection: message.reuseConnection ?? true,
    noTrafficMs,
    noTrafficHealthyMs: durationMs(message.noTrafficHealthyInterval, noTrafficMs),
    unhealthyMs,
    unhealthyEdgeMs: durationMs(message.unhealthyEdgeInterval, unhealthyMs),
    healthyEdgeMs: durationMs(message.healthyEdgeInterval, intervalMs),
    logsFailures: message.alwaysLogHealthCheckFailures,
    logsSuccesses: message.alwaysLogHealthCheckSuccess,
  };
}

function required(duration: HealthCheck['interval'], name: string): number {
  const ms = durationMs(duration, 0);
  if (ms <= 0) throw new ConfigError(name, 'is required and must be above 0');
  return ms;
}

function compileProbe(checker: HealthCheck['healthChecker']): HealthProbe {
  switch (checker.case) {
    case 'httpHealthCheck':
      return within('http_health_check', () => compileHttpProbe(checker.value));
    case 'tcpHealthCheck':
      return within('tcp_health_check', () => compileTcpProbe(checker.value));
    case 'grpcHealthCheck':
      return compileGrpcProbe(checker.value);
    default:
      throw new ConfigError('', 'needs one of http_health_check, tcp_health_check, grpc_health_check');
  }
}

const METHODS: Readonly<Record<number, string>> = Object.fromEntries(Object.entries(RequestMethod).map(([name, number]) => [number, name]));

function compileHttpProbe(message: HealthCheck_HttpHealthCheck): HealthProbe {
  if (message.path === '') throw new ConfigError('path', 'is required');
  if (message.codecClientType === CodecClientType.HTTP3)
    throw new ConfigError('codec_client_type', 'HTTP/3 is not supported by this proxy');
  const method = message.method === RequestMethod.METHOD_UNSPECIFIED ? 'GET' : METHODS[message.method];
  if (method === undefined || method === 'CONNECT') throw new ConfigError('method', 'CONNECT cannot check anything');
  return {
    kind: 'http',
    isHttp2: message.codecClientType === CodecClientType.HTTP2,
    method,
    path: message.path,
    host: message.host,
    headers: compileHeaders(message.requestHeadersToAdd),
    expected: message.expectedStatuses.length === 0 ? [[200, 201]] : compileRanges(message.expectedStatuses, 'expected_statuses'),
    retriable: compileRanges(message.retriableStatuses, 'retriable_statuses'),
    receive: message.receive.map((payload, index) => payloadBytes(payload, `receive[${index}]`)),
    responseBufferBytes: Number(message.responseBufferSize ?? 1024n),
  };
}

function compileRanges(ranges: readonly { readonly start: bigint; readonly end: bigint }[], name: string): readonly StatusRange[] {
  return ranges.map(({ start, end }, index) => {
    if (start < 100n || end > 600n || start >= end)
      throw new ConfigError(`${name}[${index}]`, 'must be a range within 100 to 600 with its start below its end');
    return [Number(start), Number(end)];
  });
}

function compileHeaders(options: readonly HeaderValueOption[]): readonly (readonly [string, string])[] {
  return options.flatMap(({ header }) => (header === undefined ? [] : [[header.key.toLowerCase(), header.value] as const]));
}

function compileTcpProbe(message: HealthCheck_TcpHealthCheck): HealthProbe {
  return {
    kind: 'tcp',
    send: message.send === undefined ? undefined : payloadBytes(message.send, 'send'),
    receive: message.receive.map((payload, index) => payloadBytes(payload, `receive[${index}]`)),
  };
}

/** Text is hexadecimal, as Envoy has it. */
function payloadBytes({ payload }: HealthCheck_Payload, path: string): Buffer {
  if (payload.case === 'binary') return Buffer.from(payload.value);
  const text = payload.value ?? '';
  if (!/^(?:[0-9a-fA-F]{2})+$/.test(text)) throw new ConfigError(`${path}.text`, `"${text}" is not hexadecimal`);
  return Buffer.from(text, 'hex');
}

function compileGrpcProbe(message: HealthCheck_GrpcHealthCheck): HealthProbe {
  return {
    kind: 'grpc',
    serviceName: message.serviceName,
    authority: message.authority,
    metadata: compileHeaders(message.initialMetadata),
  };
}
