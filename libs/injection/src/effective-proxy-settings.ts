import { formatDiagnostic } from '@mizzen/core';
import { type MeshConfig, type ProxySettings, type ProxySettingsInput, parseProxySettings, type Resource } from '@mizzen/mesh-api';
import { ANNOTATION } from './annotations.ts';
import { annotationOf, type Pod } from './pod.ts';

export interface EffectiveProxySettings {
  readonly settings: ProxySettings;
  readonly warnings: readonly string[];
  /** What is wrong with the pod's own; such a pod is refused. */
  readonly errors: readonly string[];
}

/**
 * The mesh's `defaultConfig`, with the ProxyConfig resources of the root namespace, of the pod's namespace and for the pod laid over it, and
 * the pod's annotation over all. Source: istio pilot/pkg/model/proxy_config.go EffectiveProxyConfig, pkg/kube/inject (1.32 dev).
 */
export function effectiveProxySettings(
  pod: Pod,
  namespace: string,
  mesh: { readonly meshConfig: MeshConfig; readonly proxyConfigs: readonly Resource<'ProxyConfig'>[] },
): EffectiveProxySettings {
  const { meshConfig, proxyConfigs } = mesh;
  const inOrder = applicable(proxyConfigs, { pod, namespace, rootNamespace: meshConfig.rootNamespace });
  let settings = meshConfig.defaultConfig;
  for (const { spec } of inOrder) settings = layOver(settings, settingsOf(spec));

  const text = annotationOf(pod, ANNOTATION.proxyConfig);
  if (text === undefined) return { settings, warnings: [], errors: [] };
  const parsed = parseProxySettings(text, ANNOTATION.proxyConfig);
  const messages = (wanted: 'error' | 'warning'): string[] =>
    parsed.diagnostics
      .filter(({ severity }) => (severity === 'error') === (wanted === 'error'))
      .map((diagnostic) => formatDiagnostic(diagnostic));
  if (parsed.settings) settings = layOver(settings, parsed.settings);
  return { settings, warnings: messages('warning'), errors: messages('error') };
}

interface Place {
  readonly pod: Pod;
  readonly namespace: string;
  readonly rootNamespace: string;
}

// From the widest to the narrowest; of several that reach equally far the oldest counts.
function applicable(resources: readonly Resource<'ProxyConfig'>[], { pod, namespace, rootNamespace }: Place): Resource<'ProxyConfig'>[] {
  const labels = pod.metadata?.labels ?? {};
  const byAge = [...resources].sort((a, b) => a.metadata.creationTimestamp.localeCompare(b.metadata.creationTimestamp));
  const matchLabelsOf = ({ spec }: Resource<'ProxyConfig'>): [string, string][] => Object.entries(spec.selector?.matchLabels ?? {});
  const forNamespace = (wanted: string): Resource<'ProxyConfig'> | undefined =>
    byAge.find((resource) => resource.metadata.namespace === wanted && matchLabelsOf(resource).length === 0);
  const forPod = byAge.find((resource) => {
    const wanted = matchLabelsOf(resource);
    return resource.metadata.namespace === namespace && wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value);
  });
  const inNamespace = namespace === rootNamespace ? undefined : forNamespace(namespace);
  return [forNamespace(rootNamespace), inNamespace, forPod].filter((resource) => resource !== undefined);
}

function settingsOf({ concurrency, environmentVariables, image }: Resource<'ProxyConfig'>['spec']): ProxySettingsInput {
  return {
    ...(concurrency !== undefined && { concurrency }),
    ...(environmentVariables && { proxyMetadata: environmentVariables }),
    ...(image && { image }),
  };
}

function layOver(base: ProxySettings, over: ProxySettingsInput): ProxySettings {
  return {
    ...base,
    ...over,
    proxyMetadata: { ...base.proxyMetadata, ...over.proxyMetadata },
    tracing: { ...base.tracing, ...over.tracing },
  };
}
