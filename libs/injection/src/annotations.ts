import { isIP } from 'node:net';
import type { Pod } from './pod.ts';

/** Annotations of a pod that injection reads. Source: istio.io/api annotation (1.32 dev). */
export const ANNOTATION = {
  inject: 'sidecar.istio.io/inject',
  status: 'sidecar.istio.io/status',
  templates: 'inject.istio.io/templates',
  proxyConfig: 'proxy.istio.io/config',
  proxyImage: 'sidecar.istio.io/proxyImage',
  proxyCpu: 'sidecar.istio.io/proxyCPU',
  proxyCpuLimit: 'sidecar.istio.io/proxyCPULimit',
  proxyMemory: 'sidecar.istio.io/proxyMemory',
  proxyMemoryLimit: 'sidecar.istio.io/proxyMemoryLimit',
  logLevel: 'sidecar.istio.io/logLevel',
  agentLogLevel: 'sidecar.istio.io/agentLogLevel',
  interceptionMode: 'sidecar.istio.io/interceptionMode',
  rewriteProbes: 'sidecar.istio.io/rewriteAppHTTPProbers',
  userVolume: 'sidecar.istio.io/userVolume',
  userVolumeMount: 'sidecar.istio.io/userVolumeMount',
  nativeSidecar: 'sidecar.istio.io/nativeSidecar',
  discoveryAddress: 'sidecar.istio.io/discoveryAddress',
  statusPort: 'status.sidecar.istio.io/port',
  readinessInitialDelaySeconds: 'readiness.status.sidecar.istio.io/initialDelaySeconds',
  readinessPeriodSeconds: 'readiness.status.sidecar.istio.io/periodSeconds',
  readinessFailureThreshold: 'readiness.status.sidecar.istio.io/failureThreshold',
  includeOutboundIPRanges: 'traffic.sidecar.istio.io/includeOutboundIPRanges',
  excludeOutboundIPRanges: 'traffic.sidecar.istio.io/excludeOutboundIPRanges',
  includeInboundPorts: 'traffic.sidecar.istio.io/includeInboundPorts',
  excludeInboundPorts: 'traffic.sidecar.istio.io/excludeInboundPorts',
  includeOutboundPorts: 'traffic.sidecar.istio.io/includeOutboundPorts',
  excludeOutboundPorts: 'traffic.sidecar.istio.io/excludeOutboundPorts',
  excludeInterfaces: 'traffic.sidecar.istio.io/excludeInterfaces',
  kubevirtInterfaces: 'traffic.sidecar.istio.io/kubevirtInterfaces',
  rerouteVirtualInterfaces: 'istio.io/reroute-virtual-interfaces',
  mergeMetrics: 'prometheus.istio.io/merge-metrics',
  scrapeTargets: 'prometheus.istio.io/scrape-targets',
} as const;

// Istio has them, Mizzen's proxy has nothing that they could change.
const WITHOUT_EFFECT: Readonly<Record<string, string>> = {
  'sidecar.istio.io/proxyImageType': 'there is one variant of the image; name another with sidecar.istio.io/proxyImage',
  'sidecar.istio.io/componentLogLevel': 'the proxy has one log level: sidecar.istio.io/logLevel',
  'sidecar.istio.io/bootstrapOverride': 'the bootstrap cannot be overridden',
  'sidecar.istio.io/statsInclusionPrefixes': 'all statistics are kept',
  'sidecar.istio.io/statsInclusionSuffixes': 'all statistics are kept',
  'sidecar.istio.io/statsInclusionRegexps': 'all statistics are kept',
  'sidecar.istio.io/statsHistogramBuckets': 'the buckets are Istio’s standard ones',
  'sidecar.istio.io/statsEvictionInterval': 'statistics are not evicted',
  'sidecar.istio.io/statsFlushInterval': 'statistics are not flushed',
  'sidecar.istio.io/statsCompression': 'statistics are not compressed',
  'sidecar.istio.io/extraStatTags': 'tags are added by the Telemetry resource',
  'sidecar.istio.io/capNetBindService': 'the proxy needs no capability; use port numbers above 1023',
  'readiness.status.sidecar.istio.io/applicationPorts': 'readiness follows the proxy alone',
  'prometheus.istio.io/secure-port': 'metrics are served in plaintext only',
  'istio.io/dataplane-mode': 'there is no ambient mode',
  'ambient.istio.io/redirection': 'there is no ambient mode',
  'ambient.istio.io/bypass-inbound-capture': 'there is no ambient mode',
};

/** One sentence for each annotation that Istio knows and that has no effect here. */
export function annotationWarnings(pod: Pod): string[] {
  return Object.keys(pod.metadata?.annotations ?? {})
    .filter((name) => Object.hasOwn(WITHOUT_EFFECT, name))
    .map((name) => `annotation ${name} has no effect: ${WITHOUT_EFFECT[name]}`);
}

type Check = (value: string) => string | undefined;

const CHECKS: Readonly<Record<string, Check>> = {
  [ANNOTATION.interceptionMode]: checkInterceptionMode,
  [ANNOTATION.statusPort]: (value) => (isPort(value) || value === '0' ? undefined : 'must be a port'),
  [ANNOTATION.readinessInitialDelaySeconds]: checkWholeNumber,
  [ANNOTATION.readinessPeriodSeconds]: checkWholeNumber,
  [ANNOTATION.readinessFailureThreshold]: checkWholeNumber,
  [ANNOTATION.includeOutboundIPRanges]: (value) => (value === '*' ? undefined : checkIpRanges(value)),
  [ANNOTATION.excludeOutboundIPRanges]: checkIpRanges,
  [ANNOTATION.includeInboundPorts]: (value) => (value === '*' ? undefined : checkPorts(value)),
  [ANNOTATION.excludeInboundPorts]: checkPorts,
  [ANNOTATION.includeOutboundPorts]: (value) => (value === '*' ? undefined : checkPorts(value)),
  [ANNOTATION.excludeOutboundPorts]: checkPorts,
  [ANNOTATION.excludeInterfaces]: checkInterfaces,
  [ANNOTATION.kubevirtInterfaces]: checkInterfaces,
  [ANNOTATION.rerouteVirtualInterfaces]: checkInterfaces,
  [ANNOTATION.mergeMetrics]: checkBoolean,
  [ANNOTATION.rewriteProbes]: checkBoolean,
  [ANNOTATION.nativeSidecar]: checkBoolean,
  [ANNOTATION.proxyCpu]: checkQuantity,
  [ANNOTATION.proxyCpuLimit]: checkQuantity,
  [ANNOTATION.proxyMemory]: checkQuantity,
  [ANNOTATION.proxyMemoryLimit]: checkQuantity,
  [ANNOTATION.userVolume]: checkJson,
  [ANNOTATION.userVolumeMount]: checkJson,
};

/** One sentence for each annotation whose value cannot be used. Such a pod is refused, as Istio does. */
export function annotationErrors(pod: Pod): string[] {
  return Object.entries(pod.metadata?.annotations ?? {}).flatMap(([name, value]) => {
    const wrong = CHECKS[name]?.(value);
    return wrong === undefined ? [] : [`annotation ${name} ${wrong}, not "${value}"`];
  });
}

function checkInterceptionMode(value: string): string | undefined {
  if (value === 'TPROXY') return 'cannot be TPROXY: the proxy cannot bind to addresses that are not its own; use REDIRECT';
  return value === 'REDIRECT' || value === 'NONE' ? undefined : 'must be REDIRECT or NONE';
}

function checkWholeNumber(value: string): string | undefined {
  return /^\d{1,9}$/.test(value) ? undefined : 'must be a whole number';
}

function checkBoolean(value: string): string | undefined {
  return parseBoolean(value) === undefined ? 'must be true or false' : undefined;
}

/** As Go's strconv.ParseBool reads it, since Istio's annotations are; undefined for anything else. */
export function parseBoolean(value: string): boolean | undefined {
  if (/^(1|t|T|true|True|TRUE)$/.test(value)) return true;
  return /^(0|f|F|false|False|FALSE)$/.test(value) ? false : undefined;
}

function checkPorts(value: string): string | undefined {
  return listOf(value).every(isPort) ? undefined : 'must be ports with commas between';
}

function checkInterfaces(value: string): string | undefined {
  return listOf(value).every((name) => /^[^/\s]{1,15}$/.test(name)) ? undefined : 'must be names of network interfaces with commas between';
}

function checkIpRanges(value: string): string | undefined {
  return listOf(value).every(isIpRange) ? undefined : 'must be IP ranges such as 10.0.0.0/8 with commas between';
}

function isIpRange(text: string): boolean {
  const [address = '', bits, more] = text.split('/');
  const family = isIP(address);
  return family !== 0 && more === undefined && bits !== undefined && /^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128);
}

function checkQuantity(value: string): string | undefined {
  return /^(\d+(\.\d*)?|\.\d+)([numkKMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?$/.test(value) ? undefined : 'must be a quantity such as 100m or 128Mi';
}

function checkJson(value: string): string | undefined {
  try {
    const parsed: unknown = JSON.parse(value);
    return typeof parsed === 'object' && parsed !== null ? undefined : 'must be a JSON object or list';
  } catch {
    return 'must be JSON';
  }
}

function isPort(text: string): boolean {
  return /^\d{1,5}$/.test(text) && Number(text) > 0 && Number(text) <= 65_535;
}

export function listOf(value: string): string[] {
  return value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}
