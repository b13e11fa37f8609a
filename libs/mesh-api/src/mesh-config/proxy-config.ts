import { Type } from 'typebox';
import { clientTlsSchema } from '../kinds/destination-rule.ts';
import {
  count,
  durationOrZero,
  fields,
  flag,
  oneOf,
  opaqueObject,
  optional,
  percentage,
  portOrZero,
  type Spec,
  text,
  textList,
  textMap,
  uint32,
} from '../kinds/schema.ts';
import { probeSchema } from '../kinds/workload-group.ts';

const customTag = fields({
  literal: optional(fields({ value: text })),
  environment: optional(fields({ name: text, defaultValue: optional(text) })),
  header: optional(fields({ name: text, defaultValue: optional(text) })),
});

const tracerAddress = fields({ address: optional(text) });

const tracing = fields({
  zipkin: optional(tracerAddress),
  datadog: optional(tracerAddress),
  lightstep: optional(fields({ address: optional(text), accessToken: optional(text) })),
  stackdriver: optional(opaqueObject),
  openCensusAgent: optional(opaqueObject),
  customTags: optional(Type.Record(Type.String(), customTag)),
  maxPathTagLength: optional(uint32),
  sampling: optional(percentage),
  tlsSettings: optional(clientTlsSchema),
  enableIstioTags: optional(flag),
});

const remoteService = fields({ address: optional(text), tlsSettings: optional(clientTlsSchema), tcpKeepalive: optional(opaqueObject) });

/** How a proxy starts: `meshConfig.defaultConfig`, and the annotation `proxy.istio.io/config`. */
export const proxySettingsSchema = fields({
  configPath: optional(text),
  binaryPath: optional(text),
  serviceCluster: optional(text),
  tracingServiceName: optional(oneOf(['APP_LABEL_AND_NAMESPACE', 'CANONICAL_NAME_ONLY', 'CANONICAL_NAME_AND_NAMESPACE'])),
  drainDuration: optional(durationOrZero),
  terminationDrainDuration: optional(durationOrZero),
  discoveryAddress: optional(text),
  discoveryRefreshDelay: optional(durationOrZero),
  zipkinAddress: optional(text),
  statsdUdpAddress: optional(text),
  envoyMetricsServiceAddress: optional(text),
  availabilityZone: optional(text),
  controlPlaneAuthPolicy: optional(oneOf(['NONE', 'MUTUAL_TLS', 'INHERIT'])),
  customConfigFile: optional(text),
  proxyBootstrapTemplatePath: optional(text),
  sds: optional(opaqueObject),
  proxyAdminPort: optional(portOrZero),
  statusPort: optional(portOrZero),
  statNameLength: optional(count),
  concurrency: optional(count),
  interceptionMode: optional(oneOf(['REDIRECT', 'TPROXY', 'NONE'])),
  tracing: optional(tracing),
  envoyAccessLogService: optional(remoteService),
  envoyMetricsService: optional(remoteService),
  proxyMetadata: optional(textMap),
  runtimeValues: optional(textMap),
  extraStatTags: optional(textList),
  gatewayTopology: optional(
    fields({
      numTrustedProxies: optional(uint32),
      forwardClientCertDetails: optional(
        oneOf(['UNDEFINED', 'SANITIZE', 'FORWARD_ONLY', 'APPEND_FORWARD', 'SANITIZE_SET', 'ALWAYS_FORWARD_ONLY']),
      ),
      proxyProtocol: optional(fields({})),
    }),
  ),
  meshId: optional(text),
  readinessProbe: optional(probeSchema),
  proxyStatsMatcher: optional(
    fields({ inclusionPrefixes: optional(textList), inclusionSuffixes: optional(textList), inclusionRegexps: optional(textList) }),
  ),
  holdApplicationUntilProxyStarts: optional(flag),
  caCertificatesPem: optional(textList),
  image: optional(fields({ imageType: optional(text) })),
  privateKeyProvider: optional(opaqueObject),
  proxyHeaders: optional(opaqueObject),
  fileFlushInterval: optional(durationOrZero),
  fileFlushMinSizeKb: optional(uint32),
  statsCompression: optional(flag),
  connectionSettings: optional(opaqueObject),
});

/** As written: nothing defaulted. */
export type ProxySettingsInput = Spec<typeof proxySettingsSchema>;
