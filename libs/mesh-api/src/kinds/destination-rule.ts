import { Type } from 'typebox';
import {
  count,
  deprecated,
  duration,
  durationOrZero,
  fields,
  flag,
  listOf,
  nonEmptyText,
  oneOf,
  optional,
  percentage,
  portOrZero,
  type Spec,
  size,
  text,
  textList,
  textMap,
  uint32,
  wholePercentage,
} from './schema.ts';
import { portSelectorSchema, workloadSelectorSchema } from './shared.ts';

export const connectionPoolSchema = fields({
  tcp: optional(
    fields({
      maxConnections: optional(count),
      connectTimeout: optional(duration),
      tcpKeepalive: optional(fields({ probes: optional(uint32), time: optional(duration), interval: optional(duration) })),
      maxConnectionDuration: optional(duration),
      idleTimeout: optional(durationOrZero),
    }),
  ),
  http: optional(
    fields({
      http1MaxPendingRequests: optional(count),
      http2MaxRequests: optional(count),
      maxRequestsPerConnection: optional(count),
      maxRetries: optional(count),
      idleTimeout: optional(duration),
      h2UpgradePolicy: optional(oneOf(['DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE'])),
      useClientProtocol: optional(flag),
      maxConcurrentStreams: optional(count),
      http2KeepAlive: optional(fields({ interval: optional(duration), timeout: optional(duration) })),
    }),
  ),
});

const failoverSchema = listOf(fields({ from: optional(text), to: optional(text) }));

export const localityLbSettingSchema = fields({
  distribute: optional(listOf(fields({ from: optional(text), to: optional(Type.Record(Type.String(), uint32)) }))),
  failover: optional(failoverSchema),
  failoverPriority: optional(textList),
  enabled: optional(flag),
});

const consistentHashSchema = fields({
  httpHeaderName: optional(text),
  httpCookie: optional(
    fields({
      name: nonEmptyText,
      path: optional(text),
      ttl: optional(durationOrZero),
      attributes: optional(listOf(fields({ name: nonEmptyText, value: optional(text) }))),
    }),
  ),
  useSourceIp: optional(flag),
  httpQueryParameterName: optional(text),
  ringHash: optional(fields({ minimumRingSize: optional(size) })),
  maglev: optional(fields({ tableSize: optional(size) })),
  minimumRingSize: optional(deprecated(size)),
});

const loadBalancerSchema = fields({
  simple: optional(oneOf(['UNSPECIFIED', 'LEAST_CONN', 'RANDOM', 'PASSTHROUGH', 'ROUND_ROBIN', 'LEAST_REQUEST'])),
  consistentHash: optional(consistentHashSchema),
  localityLbSetting: optional(localityLbSettingSchema),
  zoneAwareLbSetting: optional(
    fields({
      enabled: optional(flag),
      failover: optional(failoverSchema),
      failoverPriority: optional(textList),
      minClusterSize: optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })),
    }),
  ),
  warmup: optional(fields({ duration, minimumPercent: optional(percentage), aggression: optional(Type.Number({ minimum: 1 })) })),
  warmupDurationSecs: optional(deprecated(duration)),
  backendUtilization: optional(
    fields({
      metricNamesForComputingUtilization: optional(textList),
      errorUtilizationPenaltyPercent: optional(uint32),
      weightUpdatePeriod: optional(durationOrZero),
      weightExpirationPeriod: optional(durationOrZero),
      weightStabilizationPeriod: optional(durationOrZero),
    }),
  ),
});

export const outlierDetectionSchema = fields({
  consecutiveErrors: optional(deprecated(count)),
  splitExternalLocalOriginErrors: optional(flag),
  consecutiveLocalOriginFailures: optional(uint32),
  consecutiveGatewayErrors: optional(uint32),
  consecutive5xxErrors: optional(uint32),
  interval: optional(duration),
  baseEjectionTime: optional(duration),
  maxEjectionPercent: optional(wholePercentage),
  minHealthPercent: optional(wholePercentage),
  outlierDetectionHttpErrorCodes: optional(listOf(Type.Integer({ minimum: 100, maximum: 599 }))),
});

export const clientTlsSchema = fields({
  mode: optional(oneOf(['DISABLE', 'SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL'])),
  clientCertificate: optional(text),
  privateKey: optional(text),
  caCertificates: optional(text),
  credentialName: optional(text),
  subjectAltNames: optional(textList),
  sni: optional(text),
  insecureSkipVerify: optional(flag),
  caCrl: optional(text),
});

// The blocks that a port can set for itself.
const portPolicy = {
  loadBalancer: optional(loadBalancerSchema),
  connectionPool: optional(connectionPoolSchema),
  outlierDetection: optional(outlierDetectionSchema),
  tls: optional(clientTlsSchema),
};

export const trafficPolicySchema = fields({
  ...portPolicy,
  portLevelSettings: optional(Type.Array(fields({ port: optional(portSelectorSchema), ...portPolicy }), { maxItems: 4096 })),
  tunnel: optional(fields({ protocol: optional(text), targetHost: nonEmptyText, targetPort: portOrZero })),
  proxyProtocol: optional(fields({ version: optional(oneOf(['V1', 'V2'])) })),
  retryBudget: optional(
    fields({ percent: optional(percentage), budgetInterval: optional(durationOrZero), minRetryConcurrency: optional(uint32) }),
  ),
});

const subsetSchema = fields({ name: nonEmptyText, labels: optional(textMap), trafficPolicy: optional(trafficPolicySchema) });

export const destinationRuleSchema = fields({
  host: nonEmptyText,
  trafficPolicy: optional(trafficPolicySchema),
  subsets: optional(listOf(subsetSchema)),
  exportTo: optional(textList),
  workloadSelector: optional(workloadSelectorSchema),
});

export type DestinationRuleSpec = Spec<typeof destinationRuleSchema>;
export type TrafficPolicy = Spec<typeof trafficPolicySchema>;
export type PortTrafficPolicy = NonNullable<TrafficPolicy['portLevelSettings']>[number];
export type ConnectionPoolSettings = Spec<typeof connectionPoolSchema>;
export type LoadBalancerSettings = Spec<typeof loadBalancerSchema>;
export type LocalityLbSetting = Spec<typeof localityLbSettingSchema>;
export type OutlierDetection = Spec<typeof outlierDetectionSchema>;
export type ClientTlsSettings = Spec<typeof clientTlsSchema>;
export type Subset = Spec<typeof subsetSchema>;
