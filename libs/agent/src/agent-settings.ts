import { type Clock, type Logger, MizzenError, type Random, type SettingsOf, settings, splitHostPort } from '@mizzen/core';
import { joinTokenFromFile, KEY_ALGORITHMS } from '@mizzen/identity';
import type { AgentOptions, IdentityOptions, InboundPort } from './options.ts';
import { type CaptureSettings, ownPortsOf, podOptionsOf, podSettings, readLabelsFile } from './pod-settings.ts';

/** The settings that every app with an agent has. Those that differ in their defaults are the app's own. */
export const agentSettings = {
  xdsAddress: settings.string('xds-address', {
    help: 'control plane: its mTLS port with a CA, its plaintext port without',
    fallback: '127.0.0.1:15012',
    placeholder: 'HOST:PORT',
  }),
  caAddress: settings.string<string | undefined>('ca-address', {
    help: 'CA that certifies the workload; without one everything is plaintext',
    fallback: undefined,
    placeholder: 'HOST:PORT',
  }),
  caRoot: settings.string('ca-root', {
    help: "file with the roots that the CA's own certificate must lead to",
    fallback: '.mizzen/ca/root-cert.pem',
    placeholder: 'FILE',
  }),
  caServerName: settings.string<string | undefined>('ca-server-name', {
    help: "name that the CA's certificate has to be for (default: the host of --ca-address)",
    fallback: undefined,
    placeholder: 'NAME',
  }),
  joinTokenFile: settings.string<string | undefined>('join-token-file', {
    help: 'file with the join token; read again whenever a new one is needed',
    fallback: undefined,
    placeholder: 'FILE',
  }),
  svidTtl: settings.durationMs('svid-ttl', { help: 'wished life of a certificate; 0s leaves it to the CA', fallback: 0 }),
  svidRotationRatio: settings.number('svid-rotation-ratio', {
    help: 'part of its life after which a certificate is renewed',
    fallback: 0.5,
    min: 0.01,
    max: 0.95,
  }),
  svidKeyAlgorithm: settings.oneOf('svid-key-algorithm', KEY_ALGORITHMS, { help: 'key of the certificate', fallback: 'ec-p256' }),
  svidDir: settings.string<string | undefined>('svid-dir', {
    help: 'folder where the certificate outlives a restart',
    fallback: undefined,
    placeholder: 'DIR',
  }),
  trustDomain: settings.string('trust-domain', { help: 'trust domain of the mesh', fallback: 'cluster.local', placeholder: 'NAME' }),
  telemetryAddress: settings.string('telemetry-address', {
    help: 'where metrics and spans are sent (OTLP over gRPC); it may be away',
    fallback: '127.0.0.1:4317',
    placeholder: 'HOST:PORT',
  }),
  labels: settings.list('labels', { help: 'label of the workload', placeholder: 'KEY=VALUE' }),
  adminPort: settings.port<number | undefined>('admin-port', {
    help: "the proxy's admin port; 0 chooses a free one (default: 15000 with --address, a free one without)",
    fallback: undefined,
  }),
  statusPort: settings.port<number | undefined>('status-port', {
    help: 'port of readiness and merged metrics; 0 chooses a free one (default: 15020 with --address, a free one without)',
    fallback: undefined,
  }),
  ...podSettings,
  appReadyTimeout: settings.durationMs('app-ready-timeout', { help: 'how long the program may take until it listens', fallback: 60_000 }),
  drainDelay: settings.durationMs('drain-delay', { help: 'between leaving the mesh and draining', fallback: 1000 }),
  terminationDrainDuration: settings.durationMs('termination-drain-duration', {
    help: 'longest time for requests under way to end',
    fallback: 5000,
  }),
  logLevel: settings.logLevel(),
};

export type AgentSettings = SettingsOf<typeof agentSettings>;

/**
 * What `AgentOptions` takes from the settings as they are; `capture` are those that only a sidecar has.
 * Throws MIZZEN_SETTINGS for what no single setting shows.
 */
export function agentOptionsOf(
  values: AgentSettings,
  context: { clock: Clock; random: Random; logger: Logger },
  capture?: CaptureSettings,
): Omit<AgentOptions, 'proxyType' | 'workload' | 'inbound' | 'httpProxyPort' | 'portMap' | 'createProxy'> {
  for (const [flag, address] of [
    ['xds-address', values.xdsAddress],
    ['ca-address', values.caAddress],
    ['telemetry-address', values.telemetryAddress],
  ] as const) {
    if (address !== undefined && !splitHostPort(address)?.host) throw wrong(flag, 'must be HOST:PORT', address);
  }
  const pod = podOptionsOf(values, capture);
  return {
    ...context,
    ...ownPortsOf(values, pod),
    pod,
    trustDomain: values.trustDomain,
    xdsAddress: values.xdsAddress,
    identity: identityOf(values),
    telemetryAddress: values.telemetryAddress,
    appReadyTimeoutMs: values.appReadyTimeout,
    drainDelayMs: values.drainDelay,
    terminationDrainDurationMs: values.terminationDrainDuration,
    onQuit: () => void process.kill(process.pid, 'SIGTERM'),
  };
}

function identityOf(values: AgentSettings): IdentityOptions | undefined {
  if (values.caAddress === undefined) return undefined;
  const { joinTokenFile } = values;
  return {
    caAddress: values.caAddress,
    caServerName: values.caServerName,
    caRootFile: values.caRoot,
    joinToken: joinTokenFile === undefined ? async () => undefined : joinTokenFromFile(joinTokenFile),
    ttlMs: values.svidTtl,
    rotationRatio: values.svidRotationRatio,
    keyAlgorithm: values.svidKeyAlgorithm,
    ...(values.svidDir === undefined ? {} : { stateFolder: values.svidDir }),
  };
}

/** The labels of --labels-file and, over them, those of --labels. Throws MIZZEN_SETTINGS. */
export function labelsOf(values: Pick<AgentSettings, 'labels' | 'labelsFile'>): Record<string, string> {
  return { ...readLabelsFile(values.labelsFile), ...parseLabels(values.labels) };
}

/** `KEY=VALUE` each. Throws MIZZEN_SETTINGS. */
export function parseLabels(items: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    items.map((item) => {
      const [, key, value] = /^([A-Za-z0-9][A-Za-z0-9._/-]*)=([A-Za-z0-9._-]*)$/.exec(item) ?? [];
      if (key === undefined || value === undefined) throw wrong('labels', 'must be KEY=VALUE', item);
      return [key, value];
    }),
  );
}

/** `9080=unix:/path` or `9080=127.0.0.1:5000` each. Throws MIZZEN_SETTINGS. */
export function parseInbound(items: readonly string[]): InboundPort[] {
  const ports = items.map((item): InboundPort => {
    const [, port, target = ''] = /^(\d{1,5})=(.+)$/.exec(item) ?? [];
    const path = /^unix:(?:\/\/)?(\/.+)$/.exec(target)?.[1];
    const endpoint = path === undefined ? target : `unix://${path}`;
    const isAddress = path !== undefined || Boolean(splitHostPort(target)?.host && splitHostPort(target)?.port);
    if (port === undefined || !isPort(Number(port)) || !isAddress)
      throw wrong('inbound', 'must be PORT=unix:/PATH or PORT=127.0.0.1:PORT', item);
    return { port: Number(port), endpoint };
  });
  const twice = ports.find(({ port }, index) => ports.findIndex((other) => other.port === port) !== index);
  if (twice) throw wrong('inbound', 'names a port twice', String(twice.port));
  return ports;
}

/** `80=8080` each. Throws MIZZEN_SETTINGS. */
export function parsePortMap(items: readonly string[]): Map<number, number> {
  return new Map(
    items.map((item): [number, number] => {
      const [, from, to] = /^(\d{1,5})=(\d{1,5})$/.exec(item) ?? [];
      if (!isPort(Number(from)) || !isPort(Number(to))) throw wrong('map-port', 'must be PORT=PORT', item);
      return [Number(from), Number(to)];
    }),
  );
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port > 0 && port <= 65_535;
}

function wrong(flag: string, rule: string, given: string): MizzenError {
  return new MizzenError('MIZZEN_SETTINGS', `--${flag} ${rule}, not "${given}"`);
}
