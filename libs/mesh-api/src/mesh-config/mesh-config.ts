import { clientTlsSchema, connectionPoolSchema, localityLbSettingSchema, outlierDetectionSchema } from '../kinds/destination-rule.ts';
import {
  durationOrZero,
  fields,
  flag,
  listOf,
  oneOf,
  opaqueObject,
  optional,
  portOrZero,
  type Spec,
  text,
  textList,
} from '../kinds/schema.ts';
import { retriesSchema } from '../kinds/virtual-service.ts';
import { type ExtensionProvider, extensionProviderSchema } from './extension-providers.ts';
import { type ProxySettingsInput, proxySettingsSchema } from './proxy-config.ts';

const tlsDefaults = fields({
  minProtocolVersion: optional(oneOf(['TLS_AUTO', 'TLSV1_2', 'TLSV1_3'])),
  ecdhCurves: optional(textList),
  cipherSuites: optional(textList),
});

/** `meshConfig`: the key `mesh` of Istio's ConfigMap. */
export const meshConfigSchema = fields({
  proxyListenPort: optional(portOrZero),
  proxyInboundListenPort: optional(portOrZero),
  proxyHttpPort: optional(portOrZero),
  connectTimeout: optional(durationOrZero),
  hboneIdleTimeout: optional(durationOrZero),
  protocolDetectionTimeout: optional(durationOrZero),
  tcpKeepalive: optional(opaqueObject),
  ingressClass: optional(text),
  ingressService: optional(text),
  ingressControllerMode: optional(oneOf(['UNSPECIFIED', 'OFF', 'DEFAULT', 'STRICT'])),
  ingressSelector: optional(text),
  enableTracing: optional(flag),
  accessLogFile: optional(text),
  accessLogFormat: optional(text),
  accessLogEncoding: optional(oneOf(['TEXT', 'JSON'])),
  enableEnvoyAccessLogService: optional(flag),
  disableEnvoyListenerLog: optional(flag),
  defaultConfig: optional(proxySettingsSchema),
  outboundTrafficPolicy: optional(
    fields({ mode: optional(oneOf(['REGISTRY_ONLY', 'ALLOW_ANY', 'ALLOW_ANY_DYNAMIC_DNS'])), tls: optional(clientTlsSchema) }),
  ),
  inboundTrafficPolicy: optional(fields({ mode: optional(oneOf(['PASSTHROUGH', 'LOCALHOST'])) })),
  configSources: optional(listOf(opaqueObject)),
  enableAutoMtls: optional(flag),
  trustDomain: optional(text),
  trustDomainAliases: optional(textList),
  caCertificates: optional(
    listOf(
      fields({ pem: optional(text), spiffeBundleUrl: optional(text), certSigners: optional(textList), trustDomains: optional(textList) }),
    ),
  ),
  defaultServiceExportTo: optional(textList),
  defaultVirtualServiceExportTo: optional(textList),
  defaultDestinationRuleExportTo: optional(textList),
  rootNamespace: optional(text),
  localityLbSetting: optional(localityLbSettingSchema),
  zoneAwareLbSetting: optional(opaqueObject),
  dnsRefreshRate: optional(durationOrZero),
  h2UpgradePolicy: optional(oneOf(['DO_NOT_UPGRADE', 'UPGRADE'])),
  inboundClusterStatName: optional(text),
  outboundClusterStatName: optional(text),
  certificates: optional(listOf(opaqueObject)),
  serviceSettings: optional(listOf(fields({ settings: optional(fields({ clusterLocal: optional(flag) })), hosts: optional(textList) }))),
  serviceScopeConfigs: optional(listOf(opaqueObject)),
  enablePrometheusMerge: optional(flag),
  verifyCertificateAtClient: optional(flag),
  ca: optional(opaqueObject),
  extensionProviders: optional(listOf(extensionProviderSchema)),
  defaultProviders: optional(fields({ tracing: optional(textList), metrics: optional(textList), accessLogging: optional(textList) })),
  discoverySelectors: optional(listOf(opaqueObject)),
  pathNormalization: optional(
    fields({ normalization: optional(oneOf(['DEFAULT', 'NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'])) }),
  ),
  defaultHttpRetryPolicy: optional(retriesSchema),
  defaultInboundHttpRetryPolicy: optional(retriesSchema),
  meshMTLS: optional(tlsDefaults),
  tlsDefaults: optional(tlsDefaults),
  defaultTrafficPolicy: optional(
    fields({ connectionPool: optional(connectionPoolSchema), outlierDetection: optional(outlierDetectionSchema) }),
  ),
  serviceEntryVisibility: optional(opaqueObject),
});

/** As written: nothing defaulted. */
export type MeshConfigInput = Spec<typeof meshConfigSchema>;

type Filled<T, K extends keyof T> = Omit<T, K> & { readonly [P in K]-?: Exclude<T[P], undefined> };

export interface ProxySettings
  extends Filled<
    ProxySettingsInput,
    | 'drainDuration'
    | 'terminationDrainDuration'
    | 'discoveryAddress'
    | 'proxyAdminPort'
    | 'statusPort'
    | 'statNameLength'
    | 'proxyMetadata'
    | 'holdApplicationUntilProxyStarts'
  > {
  readonly tracing: Filled<NonNullable<ProxySettingsInput['tracing']>, 'sampling'>;
}

/** The mesh's configuration with Istio's defaults filled in. */
export interface MeshConfig
  extends Filled<
    MeshConfigInput,
    | 'proxyListenPort'
    | 'proxyInboundListenPort'
    | 'proxyHttpPort'
    | 'connectTimeout'
    | 'protocolDetectionTimeout'
    | 'ingressClass'
    | 'ingressService'
    | 'ingressControllerMode'
    | 'ingressSelector'
    | 'enableTracing'
    | 'accessLogFile'
    | 'accessLogFormat'
    | 'accessLogEncoding'
    | 'enableAutoMtls'
    | 'trustDomain'
    | 'trustDomainAliases'
    | 'defaultServiceExportTo'
    | 'defaultVirtualServiceExportTo'
    | 'defaultDestinationRuleExportTo'
    | 'rootNamespace'
    | 'localityLbSetting'
    | 'dnsRefreshRate'
    | 'enablePrometheusMerge'
    | 'extensionProviders'
    | 'defaultHttpRetryPolicy'
    | 'defaultInboundHttpRetryPolicy'
  > {
  readonly defaultConfig: ProxySettings;
  readonly outboundTrafficPolicy: Filled<NonNullable<MeshConfigInput['outboundTrafficPolicy']>, 'mode'>;
  readonly inboundTrafficPolicy: Required<NonNullable<MeshConfigInput['inboundTrafficPolicy']>>;
  readonly pathNormalization: Required<NonNullable<MeshConfigInput['pathNormalization']>>;
  readonly defaultProviders: Required<NonNullable<MeshConfigInput['defaultProviders']>>;
}

const DEFAULT_PROVIDERS: readonly ExtensionProvider[] = [
  { name: 'prometheus', prometheus: {} },
  { name: 'stackdriver', stackdriver: {} },
  { name: 'envoy', envoyFileAccessLog: { path: '/dev/stdout' } },
];

const DEFAULT_MESH_CONFIG: MeshConfig = {
  proxyListenPort: 15_001,
  proxyInboundListenPort: 15_006,
  proxyHttpPort: 0,
  connectTimeout: '10s',
  protocolDetectionTimeout: '0s',
  ingressClass: 'istio',
  ingressService: 'istio-ingressgateway',
  ingressControllerMode: 'STRICT',
  ingressSelector: 'ingressgateway',
  enableTracing: true,
  accessLogFile: '',
  accessLogFormat: '',
  accessLogEncoding: 'TEXT',
  enableAutoMtls: true,
  trustDomain: 'cluster.local',
  trustDomainAliases: [],
  outboundTrafficPolicy: { mode: 'ALLOW_ANY' },
  inboundTrafficPolicy: { mode: 'PASSTHROUGH' },
  defaultServiceExportTo: ['*'],
  defaultVirtualServiceExportTo: ['*'],
  defaultDestinationRuleExportTo: ['*'],
  rootNamespace: 'istio-system',
  localityLbSetting: { enabled: true },
  dnsRefreshRate: '60s',
  enablePrometheusMerge: true,
  extensionProviders: DEFAULT_PROVIDERS,
  defaultProviders: { tracing: [], metrics: ['prometheus'], accessLogging: [] },
  pathNormalization: { normalization: 'DEFAULT' },
  defaultHttpRetryPolicy: { attempts: 2, retryOn: 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes' },
  defaultInboundHttpRetryPolicy: { attempts: 2, retryOn: 'reset-before-request' },
  defaultConfig: {
    drainDuration: '45s',
    terminationDrainDuration: '5s',
    discoveryAddress: 'istiod.istio-system.svc:15012',
    proxyAdminPort: 15_000,
    statusPort: 15_020,
    statNameLength: 189,
    proxyMetadata: {},
    holdApplicationUntilProxyStarts: false,
    tracing: { sampling: 1 },
  },
};

/** Istio's defaults. Source: istio pkg/config/mesh/mesh.go, 1.32 dev; sampling 1 % is PILOT_TRACE_SAMPLING's. */
export function defaultMeshConfig(): MeshConfig {
  return DEFAULT_MESH_CONFIG;
}

/**
 * Lays what was written over the defaults: objects field by field (`defaultConfig`, policies), lists replaced whole,
 * except `extensionProviders`, where a provider replaces the default one of its name and the others stay.
 */
export function fillMeshConfig(written: MeshConfigInput): MeshConfig {
  const base = DEFAULT_MESH_CONFIG;
  const {
    defaultConfig,
    extensionProviders = [],
    defaultProviders,
    outboundTrafficPolicy,
    inboundTrafficPolicy,
    pathNormalization,
    localityLbSetting,
  } = written;
  const given = new Set(extensionProviders.map((provider) => provider.name));
  return {
    ...base,
    ...written,
    outboundTrafficPolicy: { ...base.outboundTrafficPolicy, ...outboundTrafficPolicy },
    inboundTrafficPolicy: { ...base.inboundTrafficPolicy, ...inboundTrafficPolicy },
    pathNormalization: { ...base.pathNormalization, ...pathNormalization },
    localityLbSetting: { ...base.localityLbSetting, ...localityLbSetting },
    defaultProviders: { ...base.defaultProviders, ...defaultProviders },
    extensionProviders: [...base.extensionProviders.filter((provider) => !given.has(provider.name)), ...extensionProviders],
    defaultConfig: { ...base.defaultConfig, ...defaultConfig, tracing: { ...base.defaultConfig.tracing, ...defaultConfig?.tracing } },
  };
}
