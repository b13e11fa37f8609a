import type { MeshConfig } from '@mizzen/mesh-api';
import { ANNOTATION, listOf, parseBoolean } from './annotations.ts';
import { annotationOf, type Pod, PROXY_CONTAINER, withContainer } from './pod.ts';

const SCRAPED = /^prometheus[./_]io[./_](scrape|port|path)$/;

interface ScrapeConfiguration {
  readonly scrape: string;
  readonly path: string;
  readonly port: string;
  readonly targets?: readonly { readonly port: string; readonly path: string }[];
}

/**
 * Points Prometheus at the agent, which serves the program's metrics with the proxy's; where the program's are goes to the proxy as
 * ISTIO_PROMETHEUS_ANNOTATIONS. Throws an Error for a port that cannot be scraped.
 * Source: istio pkg/kube/inject/webhook.go applyPrometheusMerge (1.32 dev).
 */
export function mergePrometheus(pod: Pod, meshConfig: MeshConfig, statusPort: number): Pod {
  const annotations = pod.metadata?.annotations ?? {};
  const said = scrapeConfigurationOf(pod);
  if (!mergesMetrics(pod, meshConfig) || parseBoolean(said.scrape) === false || statusPort === 0) return pod;
  if (said.port === String(statusPort)) return pod;
  checkPorts(said, statusPort);

  const others = Object.entries(annotations).filter(([name]) => !SCRAPED.test(name) && name !== ANNOTATION.scrapeTargets);
  const ours = { 'prometheus.io/scrape': 'true', 'prometheus.io/port': String(statusPort), 'prometheus.io/path': '/stats/prometheus' };
  const pointed: Pod = { ...pod, metadata: { ...pod.metadata, annotations: { ...Object.fromEntries(others), ...ours } } };
  if (said.scrape === '' && said.path === '' && said.port === '' && !said.targets) return pointed;
  const variable = { name: 'ISTIO_PROMETHEUS_ANNOTATIONS', value: JSON.stringify(said) };
  return withContainer(pointed, PROXY_CONTAINER, (proxy) => ({ ...proxy, env: [...(proxy.env ?? []), variable] }));
}

function mergesMetrics(pod: Pod, meshConfig: MeshConfig): boolean {
  const said = annotationOf(pod, ANNOTATION.mergeMetrics);
  return (said === undefined ? undefined : parseBoolean(said)) ?? meshConfig.enablePrometheusMerge;
}

// Prometheus turns every character of an annotation's name that a label cannot have into "_", so that prometheus/io/port means the same.
function scrapeConfigurationOf(pod: Pod): ScrapeConfiguration {
  const said: Record<string, string> = {};
  for (const [name, value] of Object.entries(pod.metadata?.annotations ?? {})) {
    const field = SCRAPED.exec(name)?.[1];
    if (field !== undefined) said[field] = value;
  }
  const { scrape = '', path = '', port = '' } = said;
  const targets = listOf(annotationOf(pod, ANNOTATION.scrapeTargets) ?? '').map((target) => {
    const [targetPort = '', ...rest] = target.split(':');
    return { port: targetPort, path: rest.join(':') || '/metrics' };
  });
  const [first] = targets;
  // The first is given in the old form too, for agents that know no other.
  return first ? { scrape, path: first.path, port: first.port, targets } : { scrape, path, port };
}

const MESH_PORTS = [15_000, 15_001, 15_004, 15_006, 15_008, 15_020, 15_021, 15_053, 15_090];

function checkPorts({ port, targets = [] }: ScrapeConfiguration, statusPort: number): void {
  for (const text of targets.length > 0 ? targets.map((target) => target.port) : port === '' ? [] : [port]) {
    const number = Number(text);
    if (!/^\d{1,5}$/.test(text) || number < 1 || number > 65_535)
      throw new Error(`metrics cannot be scraped from port "${text}": it is no port`);
    if (number === statusPort || MESH_PORTS.includes(number))
      throw new Error(`metrics cannot be scraped from port ${text}: it is one of the sidecar's own`);
  }
}
