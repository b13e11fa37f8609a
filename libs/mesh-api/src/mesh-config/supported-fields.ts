import type { Diagnostic } from '@mizzen/core';
import { uncoveredParts } from '../field-paths.ts';
import { type MeshConfigInput, meshConfigSchema } from './mesh-config.ts';

const RETRIES = ['attempts', 'perTryTimeout', 'retryOn', 'retryIgnorePreviousHosts', 'backoff'];

/** The fields of the mesh's configuration that something reads. */
const SUPPORTED_FIELDS: readonly string[] = [
  'accessLogEncoding',
  'accessLogFile',
  'accessLogFormat',
  'connectTimeout',
  'defaultConfig.tracing.sampling',
  'defaultDestinationRuleExportTo',
  ...RETRIES.map((field) => `defaultHttpRetryPolicy.${field}`),
  ...RETRIES.map((field) => `defaultInboundHttpRetryPolicy.${field}`),
  'defaultProviders.tracing',
  'defaultServiceExportTo',
  'defaultVirtualServiceExportTo',
  'discoverySelectors',
  'dnsRefreshRate',
  'enableAutoMtls',
  'enableTracing',
  'extensionProviders[].name',
  'extensionProviders[].opentelemetry.port',
  'extensionProviders[].opentelemetry.service',
  'ingressClass',
  'ingressControllerMode',
  'ingressSelector',
  'ingressService',
  'meshMTLS.cipherSuites',
  'meshMTLS.minProtocolVersion',
  'outboundTrafficPolicy.mode',
  'pathNormalization.normalization',
  'rootNamespace',
  'trustDomain',
  'trustDomainAliases',
];

/** Those that decide how pods are injected: read where there are pods. */
const FIELDS_OF_INJECTION: readonly string[] = [
  'defaultConfig.discoveryAddress',
  'defaultConfig.holdApplicationUntilProxyStarts',
  'defaultConfig.interceptionMode',
  'defaultConfig.proxyAdminPort',
  'defaultConfig.proxyMetadata',
  'defaultConfig.statusPort',
  'defaultConfig.terminationDrainDuration',
  'enablePrometheusMerge',
];

/** Where a mesh lives: in a cluster pods are injected, and what decides that is read. */
export type MeshHome = 'local' | 'kubernetes';

/** The collector whose address proxies have from their bootstrap: the only one that spans go to. */
const COLLECTOR = 'otlp-collector';

type Finding = Pick<Diagnostic, 'code' | 'severity' | 'message'> & { readonly path: readonly (string | number)[] };

/** What was written and has no effect: a warning for each part. */
export function unsupportedMeshFields(written: MeshConfigInput, home: MeshHome): Finding[] {
  const supported = home === 'kubernetes' ? [...SUPPORTED_FIELDS, ...FIELDS_OF_INJECTION] : SUPPORTED_FIELDS;
  const unread = uncoveredParts({ schema: meshConfigSchema, value: written, root: '' }, supported);
  return [
    ...unread.map(({ pattern, path }) => finding(path, `${pattern} is valid but not supported yet; it has no effect`)),
    ...otherCollectors(written),
    ...otherModes(written),
  ];
}

function otherCollectors({ extensionProviders = [] }: MeshConfigInput): Finding[] {
  return extensionProviders.flatMap(({ opentelemetry }, index) =>
    opentelemetry === undefined || opentelemetry.service.split('.')[0] === COLLECTOR
      ? []
      : [
          finding(
            ['extensionProviders', index, 'opentelemetry', 'service'],
            `spans go to the collector that proxies are started with (${COLLECTOR}), not to ${opentelemetry.service}`,
          ),
        ],
  );
}

function otherModes({ outboundTrafficPolicy }: MeshConfigInput): Finding[] {
  if (outboundTrafficPolicy?.mode !== 'ALLOW_ANY_DYNAMIC_DNS') return [];
  return [finding(['outboundTrafficPolicy', 'mode'], 'ALLOW_ANY_DYNAMIC_DNS is not supported yet; it is treated as ALLOW_ANY')];
}

function finding(path: readonly (string | number)[], message: string): Finding {
  return { code: 'unsupported-field', severity: 'warning', path, message };
}
