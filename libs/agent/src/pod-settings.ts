import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { errorMessage, MizzenError, type SettingsOf, settings } from '@mizzen/core';
import { parseAppProbes } from './app-probe-config.ts';
import type { DnsOptions, PodOptions, PodPort, PrometheusTarget } from './options.ts';
import { detectAddresses } from './own-address.ts';

/** Istio's ports of a pod; on a host that many sidecars share each takes any free one. Source: istio pkg/ports. */
const POD_PORT = { admin: 15000, status: 15020, readiness: 15021, dns: 15053, metrics: 15090 } as const;
const AUTO = 'auto';

/** The settings of a workload that has a network namespace of its own: a pod, a compose service, a machine. */
export const podSettings = {
  address: settings.string<string | undefined>('address', {
    help: `the workload's own address, several separated by commas, or "${AUTO}" for that of the first network interface (default: 127.0.0.1, or ${AUTO} with capture)`,
    fallback: undefined,
    placeholder: 'IP',
  }),
  labelsFile: settings.string<string | undefined>('labels-file', {
    help: 'file with the labels of the workload, KEY="VALUE" per line, as the downward API writes it',
    fallback: undefined,
    placeholder: 'FILE',
  }),
  clusterId: settings.string<string | undefined>('cluster-id', {
    help: 'name of the cluster that the workload is in (default: local)',
    fallback: undefined,
    placeholder: 'NAME',
  }),
  nodeName: settings.string<string | undefined>('node-name', {
    help: 'node that the workload runs on',
    fallback: undefined,
    placeholder: 'NAME',
  }),
  owner: settings.string<string | undefined>('owner', {
    help: 'what the workload belongs to: kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1',
    fallback: undefined,
    placeholder: 'URI',
  }),
  podPorts: settings.string<string>('pod-ports', {
    help: 'ports of the containers as JSON: [{"name":"http","containerPort":9080,"protocol":"TCP"}]; a workload that joins a WorkloadGroup is registered once they listen',
    fallback: '[]',
    placeholder: 'JSON',
  }),
  readinessPort: settings.port<number | undefined>('readiness-port', {
    help: `port of readiness alone (default: ${POD_PORT.readiness} with --address; none without)`,
    fallback: undefined,
  }),
  metricsPort: settings.port<number | undefined>('metrics-port', {
    help: `port of the proxy's own metrics (default: ${POD_PORT.metrics} with --address; none without)`,
    fallback: undefined,
  }),
  outlivesProgram: settings.flag('outlives-program', {
    help: 'the program has ended when this process is told to, as with a native sidecar: go with the last connection',
  }),
  exitOnZeroActiveConnections: settings.flag('exit-on-zero-active-connections', {
    help: 'at the end, wait until no connection is left, without a limit, instead of for the time of --termination-drain-duration',
    env: 'EXIT_ON_ZERO_ACTIVE_CONNECTIONS',
  }),
  minimumDrainDuration: settings.durationMs('minimum-drain-duration', {
    help: 'with --exit-on-zero-active-connections: drain at least for so long',
    env: 'MINIMUM_DRAIN_DURATION',
    fallback: 5000,
  }),
};

/** Those of a sidecar only. */
export const captureSettings = {
  interceptionMode: settings.oneOf<'NONE' | 'REDIRECT' | 'TPROXY'>('interception-mode', ['NONE', 'REDIRECT', 'TPROXY'], {
    help: 'how traffic comes to the proxy: REDIRECT by iptables (mizzen iptables), NONE as the program sends it; TPROXY is not supported',
    fallback: 'NONE',
  }),
  dnsCapture: settings.flag('dns-capture', { help: 'answer DNS questions for names of the mesh, and forward the others' }),
  dnsPort: settings.port('dns-port', { help: 'port of the DNS proxy on 127.0.0.1, UDP and TCP', fallback: POD_PORT.dns }),
  resolvConf: settings.string<string>('resolv-conf', {
    help: 'file that names the DNS servers to forward to, and the search domains',
    fallback: '/etc/resolv.conf',
    placeholder: 'FILE',
  }),
  appProbes: settings.string<string>('app-probes', {
    help: 'probes of the containers that the status port carries out, as Istio writes them: {"/app-health/reviews/livez":{"httpGet":{"path":"/health","port":9080},"timeoutSeconds":1}}',
    env: 'ISTIO_KUBE_APP_PROBERS',
    fallback: '{}',
    placeholder: 'JSON',
  }),
  prometheusApp: settings.string<string | undefined>('prometheus-app', {
    help: 'where the program serves metrics that /stats/prometheus is to contain: 9080/metrics, or as Istio writes it {"scrape":"true","path":"/metrics","port":"9080"}',
    env: 'ISTIO_PROMETHEUS_ANNOTATIONS',
    fallback: undefined,
    placeholder: 'PORT/PATH',
  }),
};

export type PodSettings = SettingsOf<typeof podSettings>;
export type CaptureSettings = SettingsOf<typeof captureSettings>;

const NO_CAPTURE: CaptureSettings = {
  interceptionMode: 'NONE',
  dnsCapture: false,
  dnsPort: POD_PORT.dns,
  resolvConf: '',
  appProbes: '{}',
  prometheusApp: undefined,
};

/** What the settings say of the workload's own network namespace; undefined where it shares the host's. Throws MIZZEN_SETTINGS. */
export function podOptionsOf(
  values: PodSettings & { readonly statusPort: number | undefined },
  capture: CaptureSettings = NO_CAPTURE,
): PodOptions | undefined {
  if (capture.interceptionMode === 'TPROXY')
    throw new MizzenError('MIZZEN_SETTINGS', '--interception-mode TPROXY is not supported; use REDIRECT');
  const { address } = values;
  if (address === undefined && capture.interceptionMode === 'NONE') return undefined;
  return {
    addresses: address === undefined || address === AUTO ? detectAddresses() : parseAddresses(address),
    interceptionMode: capture.interceptionMode,
    clusterId: values.clusterId,
    nodeName: values.nodeName,
    owner: values.owner,
    ports: parsePodPorts(values.podPorts),
    readinessPort: values.readinessPort ?? POD_PORT.readiness,
    metricsPort: values.metricsPort ?? POD_PORT.metrics,
    dns: capture.dnsCapture ? dnsOptionsOf(capture) : undefined,
    appProbes: parseAppProbes(capture.appProbes),
    outlivesProgram: values.outlivesProgram,
    prometheus: parsePrometheusTarget(capture.prometheusApp, values.statusPort ?? POD_PORT.status),
    ...(values.exitOnZeroActiveConnections && { minimumDrainMs: values.minimumDrainDuration }),
  };
}

/** The admin and the status port: what was asked for, Istio's in a namespace of its own, any free one on a shared host. */
export function ownPortsOf(
  values: { readonly adminPort: number | undefined; readonly statusPort: number | undefined },
  pod: PodOptions | undefined,
): { adminPort: number; statusPort: number } {
  const fallback = pod === undefined ? { admin: 0, status: 0 } : POD_PORT;
  return { adminPort: values.adminPort ?? fallback.admin, statusPort: values.statusPort ?? fallback.status };
}

function dnsOptionsOf({ dnsPort, resolvConf }: CaptureSettings): DnsOptions {
  return { port: dnsPort, resolvConfFile: resolvConf };
}

function parseAddresses(text: string): PodOptions['addresses'] {
  const addresses = text
    .split(',')
    .map((address) => address.trim())
    .filter((address) => address !== '');
  const [first, ...others] = addresses;
  if (first === undefined || addresses.some((address) => isIP(address) === 0))
    throw new MizzenError('MIZZEN_SETTINGS', `--address must be an IP address, several separated by commas, or "${AUTO}", not "${text}"`);
  return [first, ...others];
}

/** `[{"name":"http","containerPort":9080,"protocol":"TCP"}]`. Source: istio's ISTIO_META_POD_PORTS. Throws MIZZEN_SETTINGS. */
function parsePodPorts(text: string): readonly PodPort[] {
  const parsed = parseJson('pod-ports', text);
  if (!Array.isArray(parsed)) throw new MizzenError('MIZZEN_SETTINGS', `--pod-ports must be a JSON list, not ${text}`);
  return parsed.map((entry: unknown) => {
    const { name, containerPort, protocol } = (typeof entry === 'object' && entry !== null ? entry : {}) as Record<string, unknown>;
    if (typeof containerPort !== 'number' || !Number.isInteger(containerPort) || containerPort < 1 || containerPort > 65_535)
      throw new MizzenError('MIZZEN_SETTINGS', `--pod-ports: containerPort must be a port, not ${JSON.stringify(entry)}`);
    return {
      ...(typeof name === 'string' && name !== '' && { name }),
      containerPort,
      protocol: typeof protocol === 'string' && protocol !== '' ? protocol : 'TCP',
    };
  });
}

/** Istio's annotations as JSON, or `9080/metrics`. undefined where nothing is to be scraped. Throws MIZZEN_SETTINGS. */
function parsePrometheusTarget(text: string | undefined, statusPort: number): PrometheusTarget | undefined {
  if (text === undefined || text === '') return undefined;
  const short = /^(\d{1,5})(\/.*)?$/.exec(text);
  const {
    scrape,
    port = '80',
    path = '/metrics',
  } = (short ? { port: short[1], path: short[2] } : parseJson('prometheus-app', text)) as Record<string, string | undefined>;
  if (scrape === 'false') return undefined;
  const number = Number(port === '' ? '80' : port);
  if (!Number.isInteger(number) || number < 1 || number > 65_535)
    throw new MizzenError('MIZZEN_SETTINGS', `--prometheus-app: port must be a port, not "${port}"`);
  // Source: istio pilot/cmd/pilot-agent/status/server.go (1.32): the agent would ask itself.
  if (number === statusPort)
    throw new MizzenError(
      'MIZZEN_SETTINGS',
      `--prometheus-app: port ${number} is the agent's own; remove the annotation prometheus.io/port, or see whether the pod was injected twice`,
    );
  return { port: number, path: path === '' ? '/metrics' : path };
}

/** `app="reviews"` per line, values quoted as Go quotes. Source: Kubernetes downward API. Throws MIZZEN_SETTINGS. */
export function readLabelsFile(file: string | undefined): Record<string, string> {
  if (file === undefined) return {};
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (thrown) {
    throw new MizzenError('MIZZEN_SETTINGS', `--labels-file ${file} cannot be read: ${errorMessage(thrown)}`, { cause: thrown });
  }
  return parseLabelsFile(text, file);
}

export function parseLabelsFile(text: string, file: string): Record<string, string> {
  const labels: Record<string, string> = {};
  text.split('\n').forEach((line, index) => {
    if (line.trim() === '') return;
    const [, key, quoted] = /^([^=\s]+)=("(?:[^"\\]|\\.)*")$/.exec(line.trim()) ?? [];
    if (key === undefined || quoted === undefined)
      throw new MizzenError('MIZZEN_SETTINGS', `--labels-file ${file}, line ${index + 1}: must be KEY="VALUE", not ${line}`);
    labels[key] = unquote(quoted);
  });
  return labels;
}

// Values of labels have no character that Go quotes in a way of its own.
function unquote(quoted: string): string {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted.slice(1, -1);
  }
}

function parseJson(flag: string, text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (thrown) {
    throw new MizzenError('MIZZEN_SETTINGS', `--${flag} must be JSON: ${errorMessage(thrown)}`, { cause: thrown });
  }
}
